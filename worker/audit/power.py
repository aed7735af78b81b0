"""What a number of samples can show, said before anyone reads a p value.

All drops, margins and rates are fractions here (0.05 is five points).
"""

import math
from functools import lru_cache

import numpy as np
from scipy.special import bdtrc, gammaln, xlogy
from scipy.stats import binom, norm

from worker.audit.mcnemar import minimum_flips

__all__ = ["detectable_drop", "minimum_samples_to_pass", "samples_to_detect", "samples_to_narrow", "samples_to_pass"]

POWER = 0.8
# Share of samples that even a harmed class wins back; pruned networks measured 0.5 to 2 %.
BACKWARD_FLIPS = 0.01
# Halving [0, 0.99] this often finds a drop to a thousandth of a point.
_BISECTIONS = 20


@lru_cache(maxsize=4096)
def detectable_drop(n: int, alpha: float, tests: int, backward: float = BACKWARD_FLIPS) -> float | None:
    """Smallest net drop that exact McNemar finds with 80 % power at Holm's first step (`alpha / tests`).

    `n` samples of which a share `backward` flips from wrong to right. None when no drop is large enough.
    """
    level = alpha / tests
    if n < minimum_flips(level):
        return None
    discordant = np.arange(n + 1)
    # The fewest losses among m discordant samples that are significant; more than m means that none are.
    critical = binom.isf(level / 2, discordant, 0.5) + 1

    def power(drop: float) -> float:
        loss = drop + backward
        rate = loss + backward
        mean, spread = n * rate, 9 * math.sqrt(n * rate * (1 - rate)) + 1
        window = slice(max(0, int(mean - spread)), min(n, int(mean + spread)) + 1)
        m, needed = discordant[window], critical[window]
        log_chance = gammaln(n + 1) - gammaln(m + 1) - gammaln(n - m + 1) + xlogy(m, rate) + xlogy(n - m, 1 - rate)
        found = np.where(needed <= m, bdtrc(np.minimum(needed, m + 1.0) - 1, m, loss / rate), 0.0)
        return float(np.sum(np.exp(log_chance) * found))

    low, high = 0.0, 1.0 - 2 * backward
    if power(high) < POWER:
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


def minimum_samples_to_pass(margin: float, alpha: float) -> int:
    """Fewest samples that can rule out a loss of `margin`: with none lost, `(1 − margin)^n ≤ alpha`.

    59 for five points, 299 for one.
    """
    if margin >= 1.0:
        return 1
    return math.ceil(math.log(alpha) / math.log1p(-margin))


def samples_to_pass(margin: float, alpha: float, discordance: float, drop: float = 0.0) -> int | None:
    """Samples that show a true `drop` to be below `margin` with 80 % power, when a share `discordance` changes sides.

    None when the drop is not below the margin. The score interval looks at the variance as it would be *at* the margin,
    which is larger than the one observed: with 2 % discordance, five points take 107 samples, where the plain
    `(z_α + z_β)² · var / margin²` asks for 50 and is right in 59 % of audits. Source: Nam, Biometrics 53 (1997), the
    sample size that belongs to the score test.
    """
    if drop >= margin:
        return None
    rate = max(discordance, abs(drop))
    loss, gain = (rate + drop) / 2, (rate - drop) / 2
    linear = -rate + (2 - loss + gain) * margin
    constrained_gain = (math.sqrt(linear * linear + 8 * gain * margin * (1 - margin)) - linear) / 4
    at_margin = 2 * constrained_gain + margin - margin * margin
    root = float(norm.isf(alpha)) * math.sqrt(at_margin) + float(norm.isf(1 - POWER)) * math.sqrt(rate - drop * drop)
    return max(1, math.ceil((root / (margin - drop)) ** 2))


def samples_to_detect(drop: float, alpha: float, tests: int, discordance: float) -> int | None:
    """Samples that make a true `drop` significant with 80 % power at Holm's first step. None without a drop.

    Source: Miettinen, Biometrics 24 (1968), the normal approximation for McNemar's test.
    """
    if drop <= 0:
        return None
    level = alpha / tests
    rate = max(discordance, drop)
    root = float(norm.isf(level / 2)) * math.sqrt(rate) + float(norm.isf(1 - POWER)) * math.sqrt(rate - drop * drop)
    return max(minimum_flips(level), math.ceil((root / drop) ** 2))


def samples_to_narrow(n: int, half_width: float, distance: float, tail: float) -> int:
    """Samples whose interval excludes a bound at `distance` from the estimate with 80 % power.

    From the half width of the 95 % interval at n samples, which shrinks with the root of n; each end of the interval
    that is wanted is missed with probability `tail`.
    """
    quantiles = float(norm.isf(tail) + norm.isf(1 - POWER)) / float(norm.isf(0.025))
    return math.ceil(n * (quantiles * half_width / distance) ** 2)
