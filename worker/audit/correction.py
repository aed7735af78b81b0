"""Many classes, one error rate."""

from collections.abc import Sequence

__all__ = ["holm"]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given; compare them with alpha directly.

    Controls the chance of naming even one innocent class, under any dependence. Source: Holm, Scand. J. Statist. 6
    (1979). A NaN would silently become "significant" in the running maximum, so it is refused.
    """
    if any(not 0.0 <= p <= 1.0 for p in p_values):
        raise ValueError(f"p values must lie in [0, 1]; got {list(p_values)}")
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
