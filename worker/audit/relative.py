"""Did one class lose more than the others? Class against rest, from counts alone.

Every sample contributes `d = +1` (lost), `−1` (gained) or `0`. The skew of a class is its mean of d minus the mean over
all other samples, tested with Welch's t. A variance of zero (nothing flipped, or everything) would make t undefined, so
the variance is smoothed as in Agresti & Min (Statistics in Medicine 24, 2005): half a sample is added to both
discordant cells. That is conservative when few samples are discordant, and gives p = 1 where there is no effect.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

__all__ = ["Skew", "class_against_rest"]

Counts = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Skew:
    """Per class, as fractions: excess drop, its standard error, degrees of freedom, unadjusted two-sided p."""

    estimate: Reals
    error: Reals
    freedom: Reals
    p: Reals

    def half_width(self, tail: float) -> Reals:
        """Half of the interval whose ends are each missed with probability `tail`."""
        return np.asarray(student.isf(tail, self.freedom) * self.error)


def class_against_rest(lost: Counts, gained: Counts, n: Counts) -> Skew:
    """Arrays over classes with `n ≥ 1`, at least two of them."""
    if len(n) < 2 or int(n.min()) < 1:
        raise ValueError(f"class against rest needs at least two classes with samples; got sizes {n.tolist()}")
    rest_lost, rest_gained, rest_n = lost.sum() - lost, gained.sum() - gained, n.sum() - n
    estimate = (lost - gained) / n - (rest_lost - rest_gained) / rest_n
    own, rest = _variance_of_mean(lost, gained, n), _variance_of_mean(rest_lost, rest_gained, rest_n)
    error = np.sqrt(own + rest)
    # Welch-Satterthwaite.
    freedom = (own + rest) ** 2 / (own**2 / np.maximum(n - 1, 1) + rest**2 / np.maximum(rest_n - 1, 1))
    p = np.minimum(1.0, 2.0 * student.sf(np.abs(estimate) / error, freedom))
    return Skew(estimate=estimate, error=error, freedom=freedom, p=p)


def _variance_of_mean(lost: Counts, gained: Counts, n: Counts) -> Reals:
    b, c, size = lost + 0.5, gained + 0.5, n + 2.0
    return np.asarray((b + c - (b - c) ** 2 / size) / size**2)
