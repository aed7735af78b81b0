"""Losses in points, with their intervals."""

import numpy as np
import numpy.typing as npt

from service.contract.report import Drop
from worker.audit.intervals import paired_bounds

__all__ = ["paired_drops", "unknown_drop"]

Counts = npt.NDArray[np.int64]


def paired_drops(lost: Counts, gained: Counts, n: Counts, alpha: float) -> list[Drop]:
    """Net drop of each row of counts, in points. One-sided bounds hold at `1 − alpha`."""
    two_sided, one_sided = paired_bounds(lost, gained, n, 0.025), paired_bounds(lost, gained, n, alpha)
    estimate = (lost - gained) / n
    return [
        Drop(
            est=100 * float(point),
            ci95=[100 * float(low), 100 * float(high)],
            lower_one_sided=100 * float(lower),
            upper_one_sided=100 * float(upper),
            method="tango_score",
        )
        for point, low, high, lower, upper in zip(estimate, *two_sided, *one_sided, strict=True)
    ]


def unknown_drop() -> Drop:
    """Nothing was seen, so everything is possible."""
    return Drop(est=0.0, ci95=[-100.0, 100.0], lower_one_sided=-100.0, upper_one_sided=100.0, method="none")
