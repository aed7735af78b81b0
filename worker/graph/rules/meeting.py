"""What happens where values are combined entry by entry."""

import numpy as np

from worker.graph.propagation import Propagation
from worker.graph.values import Value, Weight

__all__ = ["adopt", "meet"]


def meet(ledger: Propagation, values: list[Value], shape: tuple[int, ...]) -> Value:
    """Labels of values that are combined entry by entry, after broadcasting to `shape`."""
    aligned = [_align(value, len(shape)) for value in values]
    tracked = [value for value in aligned if not value.is_plain]
    if not tracked:
        return Value.plain(shape)
    merged = tracked[0].labels
    for value in tracked[1:]:
        ledger.tie(merged, value.labels)
        first, second = np.broadcast_arrays(merged, value.labels)
        merged = np.minimum(first, second)
    result = Value(shape, merged)
    for value in aligned:
        if value.is_plain:
            for axis in result.tracked:
                if value.shape[axis] > 1:
                    result = ledger.freeze(result, axis)
    return Value.of(shape, result.labels)


def _align(value: Value, rank: int) -> Value:
    missing = (1,) * (rank - len(value.shape))
    return Value((*missing, *value.shape), value.labels.reshape(missing + value.labels.shape))


def adopt(ledger: Propagation, weight: Weight, value: Value) -> None:
    """A parameter that is broadcast against `value` shrinks with it; where the value cannot shrink it stays."""
    rank = len(value.shape)
    labels = value.labels
    if len(weight.shape) > rank:
        ledger.pin(labels)
        ledger.pin_weight(weight)
        return
    sizes = (1,) * (rank - len(weight.shape)) + weight.shape
    for axis, size in enumerate(sizes):
        if size == 1 and labels.shape[axis] > 1:
            first = labels.take([0], axis)
            if any(sizes[other] > 1 for other in value.tracked):
                ledger.tie(labels, first)
                labels = first
            else:
                return
    labels = labels.reshape(labels.shape[rank - len(weight.shape) :])
    # Axes that are not tracked keep their size: for the parameter that is a claim too.
    ledger.claim(weight, np.broadcast_to(labels, weight.shape) if not labels.any() else labels)
