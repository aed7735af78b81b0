"""Ops that rearrange entries: the labels are rearranged in the same way."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from torch import fx

from worker.graph.rules.registry import Op, Removal, rewrite, rule
from worker.graph.values import Flow, Labels, Value, Weight, count_kept, kept_along

__all__ = ["regroup"]


def regroup(labels: Labels, before: tuple[int, ...], after: tuple[int, ...]) -> Labels:
    """Labels of a tensor of shape `before` once it is viewed as `after`.

    Axes are matched in runs of equal product; only runs with something tracked are written out in full.
    """
    inner: list[int] = []
    outer: list[int] = []
    start = stop = first = last = 0
    while start < len(before) or first < len(after):
        stop, last = start, first
        left, right = 1, 1
        if stop < len(before):
            left, stop = before[stop], stop + 1
        if last < len(after):
            right, last = after[last], last + 1
        while left != right:
            if left < right:
                left, stop = left * before[stop], stop + 1
            else:
                right, last = right * after[last], last + 1
        if max(labels.shape[start:stop], default=1) > 1:
            inner += before[start:stop]
            outer += after[first:last]
        else:
            inner += [1] * (stop - start)
            outer += [1] * (last - first)
        start, first = stop, last
    return np.broadcast_to(labels, inner).reshape(outer)


_VIEWS = (
    *("view.default", "_unsafe_view.default", "reshape.default", "flatten.using_ints", "unflatten.int"),
    *("squeeze.default", "squeeze.dim", "squeeze.dims", "unsqueeze.default", "view_as.default", "reshape_as.default"),
)


@rule(*_VIEWS)
def _view(op: Op) -> Flow:
    flow, shape = op.flow("self"), op.shape
    if isinstance(flow, Weight):
        if _without_ones(flow.shape) != _without_ones(shape):
            return op.unknown("a parameter is reshaped")
        axes = iter([axis for axis, size in zip(flow.axes, flow.shape, strict=True) if size > 1])
        return Weight(flow.name, shape, tuple(next(axes) if size > 1 else None for size in shape))
    value = op.value("self")
    if prod(value.shape) == 0:
        return op.unknown("an empty tensor is reshaped")
    return Value.of(shape, regroup(value.labels, value.shape, shape))


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size > 1]


@rewrite("view.default", "_unsafe_view.default", "reshape.default", "expand.default", "broadcast_to.default")
def _resize(removal: Removal) -> None:
    result = removal.result
    if not isinstance(result, Value):
        return
    name = "shape" if "shape" in removal.arguments else "size"
    sizes = list(removal.arguments[name])
    for axis in result.tracked:
        if sizes[axis] != -1:
            sizes[axis] = removal.resize(sizes[axis], count_kept(result, axis, removal.keep))
    removal.set(name, sizes)


@rewrite("unflatten.int")
def _resize_run(removal: Removal) -> None:
    result = removal.result
    if not isinstance(result, Value):
        return
    sizes = list(removal.arguments["sizes"])
    start = removal.arguments["dim"] % (len(result.shape) - len(sizes) + 1)
    for position in range(len(sizes)):
        if start + position in result.tracked and sizes[position] != -1:
            kept = count_kept(result, start + position, removal.keep)
            sizes[position] = removal.resize(sizes[position], kept)
    removal.set("sizes", sizes)


@rule("permute.default", "transpose.int", "t.default", "numpy_T.default", "movedim.int", "swapaxes.default")
@rule("swapdims.default")
def _permute(op: Op) -> Flow:
    flow = op.flow("self")
    assert isinstance(flow, Weight | Value)
    rank = len(flow.shape)
    order = _order(op, rank)
    if isinstance(flow, Weight):
        return Weight(flow.name, op.shape, tuple(flow.axes[axis] for axis in order))
    return Value(op.shape, flow.labels.transpose(order))


def _order(op: Op, rank: int) -> list[int]:
    name = op.name.split(".")[1]
    order = list(range(rank))
    if name == "permute":
        return [axis % rank for axis in op.constant("dims")]
    if name in {"t", "numpy_T"}:
        return order[::-1]
    if name == "movedim":
        source, destination = op.constant("source") % rank, op.constant("destination") % rank
        order.insert(destination, order.pop(source))
        return order
    names = {"transpose": ("dim0", "dim1"), "swapaxes": ("axis0", "axis1"), "swapdims": ("dim0", "dim1")}[name]
    first, second = (op.constant(axis) % rank for axis in names)
    order[first], order[second] = order[second], order[first]
    return order


@rule("expand.default", "broadcast_to.default", "expand_as.default")
def _expand(op: Op) -> Flow:
    flow, shape = op.flow("self"), op.shape
    missing = len(shape) - len(flow.shape) if isinstance(flow, Weight | Value) else 0
    if isinstance(flow, Weight):
        axes: tuple[int | None, ...] = (None,) * missing + flow.axes
        old = (1,) * missing + flow.shape
        return Weight(flow.name, shape, tuple(a if o == n else None for a, o, n in zip(axes, old, shape, strict=True)))
    value = op.value("self")
    return Value(shape, value.labels.reshape((1,) * missing + value.labels.shape))


@rule("repeat.default")
def _repeat(op: Op) -> Flow:
    value, repeats = op.value("self"), op.constant("repeats")
    labels = value.labels.reshape((1,) * (len(repeats) - len(value.shape)) + value.labels.shape)
    return Value.of(
        op.shape, np.tile(labels, [r if size > 1 else 1 for r, size in zip(repeats, labels.shape, strict=True)])
    )


@rule("new_zeros.default", "new_ones.default", "new_full.default")
def _constant(op: Op) -> Flow:
    # Only the type is taken from the argument; the sizes are the op's own.
    return Value.plain(op.shape)


@rule("select.int")
def _select(op: Op) -> Flow:
    value = op.value("self")
    axis = op.constant("dim") % len(value.shape)
    index = op.constant("index") % value.shape[axis]
    if value.tracked == [axis]:
        # One channel is looked at: it has to stay, the others are free.
        op.block(value.labels.take([index], axis), "one channel is picked by its position")
        return Value.plain(op.shape)
    value = op.ledger.tie_along(value, axis)
    return Value(op.shape, value.labels.squeeze(axis))


@rewrite("select.int")
def _reindex(removal: Removal) -> None:
    value = removal.value("self")
    if value is None:
        return
    axis = removal.arguments["dim"] % len(value.shape)
    index = removal.arguments["index"]
    if value.tracked == [axis] and isinstance(index, int):
        removal.set("index", _kept_before(value, axis, index % value.shape[axis], removal))


@rule("slice.Tensor", "narrow.default")
def _slice(op: Op) -> Flow:
    value = op.value("self")
    axis = op.constant("dim", 0) % len(value.shape)
    if value.labels.shape[axis] == 1:
        return Value(op.shape, value.labels)
    constants = [op.arguments.get(name) for name in ("start", "end", "length")]
    if op.constant("step", 1) != 1 or not all(position is None or isinstance(position, int) for position in constants):
        op.block(value.labels, "channels are picked with a stride or at computed positions")
        return Value.plain(op.shape)
    start, stop, _ = _bounds(op.arguments, value.shape[axis])
    piece = value.labels.take(range(start, stop), axis)
    if piece.size == 1:
        op.block(piece, "one channel is picked by its position")
        return Value.plain(op.shape)
    op.ledger.pieces.append(piece)
    return Value.of(op.shape, piece)


@rewrite("slice.Tensor", "narrow.default")
def _move_bounds(removal: Removal) -> None:
    value, arguments = removal.value("self"), removal.arguments
    if value is None:
        return
    axis = arguments.get("dim", 0) % len(value.shape)
    computed = any(isinstance(arguments.get(name), fx.Node) for name in ("start", "end", "length"))
    if value.labels.shape[axis] == 1 or computed:
        # Nothing is tracked, or all of it was pinned.
        return
    start, stop, _ = _bounds(arguments, value.shape[axis])
    first, last = _kept_before(value, axis, start, removal), _kept_before(value, axis, stop, removal)
    removal.set("start", first)
    if "length" in arguments:
        removal.set("length", last - first)
    else:
        removal.set("end", last)


def _bounds(arguments: Mapping[str, Any], size: int) -> tuple[int, int, int]:
    """First position, position after the last, and step of a `slice` or a `narrow` with constant arguments."""
    start = arguments.get("start")
    if "length" in arguments:
        first = start % size if start else 0
        return first, first + arguments["length"], 1
    return slice(start, arguments.get("end"), arguments.get("step", 1)).indices(size)


def _kept_before(value: Value, axis: int, position: int, removal: Removal) -> int:
    return int((kept_along(value.labels, axis, removal.keep) < position).sum())
