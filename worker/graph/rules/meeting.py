"""What happens where values are combined entry by entry."""

from dataclasses import replace

import numpy as np

from worker.graph.propagation import Propagation
from worker.graph.values import Origins, Value, Weight

__all__ = ["adopt", "meet"]


def meet(ledger: Propagation, values: list[Value], shape: tuple[int, ...]) -> Value:
    """Labels of values that are combined entry by entry, after broadcasting to `shape`."""
    aligned = [_align(value, len(shape)) for value in values]
    tracked = [value for value in aligned if not value.is_plain]
    if not tracked:
        return replace(Value.plain(shape), elastic=_common(aligned, shape))
    merged = tracked[0].labels
    for value in tracked[1:]:
        ledger.tie(merged, value.labels)
        first, second = np.broadcast_arrays(merged, value.labels)
        merged = np.minimum(first, second)
    result = Value(shape, merged)
    for value in aligned:
        if value.is_plain:
            result = _withstand(ledger, result, value)
    return Value.of(shape, result.labels)


def _align(value: Value, rank: int) -> Value:
    missing = rank - len(value.shape)
    elastic = {axis + missing: origins for axis, origins in value.elastic.items()}
    return Value((1,) * missing + value.shape, value.labels.reshape((1,) * missing + value.labels.shape), elastic)


def _withstand(ledger: Propagation, result: Value, value: Value) -> Value:
    """What is left of `result` once it met a value without labels: real axes stay, elastic ones follow."""
    for axis in result.tracked:
        if value.shape[axis] == 1:
            continue
        if axis in value.elastic and result.tracked == [axis]:
            ledger.stretch(value, axis, result.labels.reshape(-1))
        else:
            result = ledger.freeze(result, axis)
    return result


def _common(values: list[Value], shape: tuple[int, ...]) -> dict[int, Origins]:
    """Axes along which every value that has them is elastic."""
    common = {}
    for axis, size in enumerate(shape):
        long = [value for value in values if value.shape[axis] > 1]
        if size > 1 and all(axis in value.elastic for value in long):
            common[axis] = frozenset[tuple[str, int]]().union(*(value.elastic[axis] for value in long))
    return common


def adopt(ledger: Propagation, weight: Weight, value: Value) -> Value:
    """A parameter that is broadcast against `value` shrinks with it; where the value cannot shrink it stays. The value,
    with the labels that it still has then.

    Where it lacks an outer one of several tracked axes (one scale for the width of all heads), it stays whole, and so
    does the value along the inner ones.
    """
    rank = len(value.shape)
    if len(weight.shape) > rank:
        ledger.pin(value.labels)
        ledger.pin_weight(weight)
        return Value.plain(value.shape)
    sizes = (1,) * (rank - len(weight.shape)) + weight.shape
    if len(value.tracked) > 1 and any(sizes[axis] == 1 for axis in value.tracked):
        for axis in value.tracked[1:]:
            value = ledger.tie_along(value, axis)
    labels = value.labels
    for axis in value.tracked:
        if sizes[axis] == 1:
            labels = np.zeros(1, dtype=np.int64).reshape((1,) * rank)
    labels = labels.reshape(labels.shape[rank - len(weight.shape) :])
    for position, size in enumerate(weight.shape):
        if size > 1 and labels.shape[position] == 1:
            ledger.hold(weight, position)
    ledger.claim(weight, labels)
    return value
