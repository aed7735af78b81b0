"""How large may a difference be? Intervals for paired and single proportions.

Tango's score interval is used for all drops, two-sided and one-sided. The cheaper Agresti-Min interval covers well
two-sided, but its one-sided bound does not: enumerated exactly, a class that truly lost 5 points by one-way flips would
pass a 5-point margin in 11.8 % of audits with 100 samples (Tango: 3.7 %; never above 5.1 % in the cases enumerated).
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

__all__ = ["paired_bounds", "wilson"]

Counts = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

# Halving [-1, 1] this often leaves an error far below the last digit that a report prints.
_BISECTIONS = 45


def paired_bounds(lost: Counts, gained: Counts, n: Counts, tail: float) -> tuple[Reals, Reals]:
    """Lower and upper bound of the net drop `(lost − gained) / n`, each missed with probability `tail`.

    `tail=0.025` gives the 95 % interval, `tail=0.05` the two one-sided 95 % bounds. Arrays of any one shape, `n ≥ 1`.
    The bounds are where Tango's score statistic crosses the normal quantile. Source: Tango, Statistics in Medicine 17
    (1998), eq. 6-8.
    """
    z = float(norm.isf(tail))
    b, c, size = lost.astype(np.float64), gained.astype(np.float64), n.astype(np.float64)
    estimate = (b - c) / size
    ends = np.full_like(estimate, -1.0), np.full_like(estimate, 1.0)
    lower = _bisect(lambda drop: _tango_score(b, c, size, drop) > z, ends[0], estimate)
    upper = _bisect(lambda drop: _tango_score(b, c, size, drop) > -z, estimate, ends[1])
    return lower, upper


def wilson(successes: int, n: int, tail: float = 0.025) -> tuple[float, float]:
    """Bounds of one proportion, each missed with probability `tail`. Source: Wilson, JASA 22 (1927)."""
    if n == 0:
        return 0.0, 1.0
    z = float(norm.isf(tail))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _tango_score(b: Reals, c: Reals, n: Reals, drop: Reals) -> Reals:
    """Distance of the observed drop from `drop` in standard errors under it; falls as `drop` rises.

    `gain` is the maximum-likelihood probability of a gain under the constraint `P(loss) − P(gain) = drop`.
    """
    linear = -b - c + (2 * n - b + c) * drop
    constant = -c * drop * (1 - drop)
    root = np.sqrt(np.maximum(linear * linear - 8 * n * constant, 0.0))
    gain = np.maximum((root - linear) / (4 * n), 0.0)
    variance = n * (2 * gain + drop * (1 - drop))
    # At drop = ±1 the variance vanishes together with the numerator; the floor keeps the quotient finite.
    return np.asarray((b - c - n * drop) / np.sqrt(np.maximum(variance, 1e-30)))


def _bisect(above: Callable[[Reals], npt.NDArray[np.bool_]], low: Reals, high: Reals) -> Reals:
    """Where the falling condition `above` turns false, element by element."""
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        go_up = above(middle)
        low, high = np.where(go_up, middle, low), np.where(go_up, high, middle)
    return (low + high) / 2
