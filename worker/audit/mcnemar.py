"""Is a difference between two networks on the same samples real? McNemar's test, exact.

Only *discordant* samples speak: `lost` (the reference is right, the pruned network wrong) and `gained` (the reverse).
Under no net change each of them is lost with probability 1/2.
"""

import math

from scipy.stats import binom

__all__ = ["exact_mcnemar", "minimum_flips"]


def exact_mcnemar(lost: int, gained: int) -> float:
    """Two-sided p value: `min(1, 2 · P[Bin(lost + gained, 1/2) ≥ max(lost, gained)])`, 1 if none is discordant.

    Source: McNemar, Psychometrika 12 (1947), in the exact binomial form.
    """
    discordant = lost + gained
    if discordant == 0:
        return 1.0
    return min(1.0, 2.0 * float(binom.sf(max(lost, gained) - 1, discordant, 0.5)))


def minimum_flips(alpha: float) -> int:
    """Fewest flips, all in one direction, whose two-sided p value is below `alpha`: the test is mute under that."""
    return max(1, math.floor(math.log2(2.0 / alpha)) + 1)
