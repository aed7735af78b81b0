"""How sure is a difference that has no closed form? Resample the samples, both networks together."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["paired_bootstrap"]

ROUNDS = 2000

Reals = npt.NDArray[np.float64]


def paired_bootstrap(
    n: int, statistic: Callable[[Reals], float], tails: tuple[float, ...], seed: int, rounds: int = ROUNDS
) -> list[tuple[float, float]]:
    """Lower and upper bound of `statistic` for each of `tails`, each bound missed with about that probability.

    `statistic` gets the weights of the n samples (how often each was drawn, float64 (n,)). Percentiles are centred on
    the estimate of the whole sample: resampling alone shifts biased statistics such as the calibration error. Source:
    Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 10 and 13.
    """
    random = np.random.default_rng(seed)
    estimate = statistic(np.ones(n))
    draws = np.array(
        [statistic(np.bincount(random.integers(n, size=n), minlength=n).astype(np.float64)) for _ in range(rounds)]
    )
    centred = draws - draws.mean() + estimate
    return [(float(np.quantile(centred, tail)), float(np.quantile(centred, 1 - tail))) for tail in tails]
