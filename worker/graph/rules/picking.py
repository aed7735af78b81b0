"""Ops that pick entries by their position: along the axis they stay, along the others labels pass."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import fx

from worker.graph.rules.meeting import meet
from worker.graph.rules.registry import Op, Removal, rewrite, rule
from worker.graph.values import Flow, Value, Weight, kept_along


@rule("select.int")
def _select(op: Op) -> Flow:
    weight = op.weight("self")
    if weight is not None:
        axis = op.constant("dim") % len(weight.shape)
        op.ledger.hold(weight, axis)
        return weight.viewed(op.shape, weight.axes[:axis] + weight.axes[axis + 1 :])
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
    weight = op.weight("self")
    if weight is not None:
        return op.without_axis(weight, op.constant("dim", 0) % len(weight.shape))
    value = op.value("self")
    axis = op.constant("dim", 0) % len(value.shape)
    if value.labels.shape[axis] == 1:
        return Value(op.shape, value.labels, {other: value.elastic[other] for other in value.elastic if other != axis})
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


@rule("index.Tensor")
def _index(op: Op) -> Flow:
    """Positions along some axes are looked up in tables of whole numbers, which replace these axes by their own."""
    flow, indices = op.flow("self"), op.arguments["indices"]
    assert isinstance(flow, Weight | Value)
    rank = len(flow.shape)
    at = [axis for axis, index in enumerate(indices) if index is not None]
    tables = [op.plain(op.flows.get(indices[axis])) for axis in at]
    looked_up = np.broadcast_shapes(*(table.shape for table in tables))
    start = at[0] if at == list(range(at[0], at[-1] + 1)) else 0
    others = [axis for axis in range(rank) if axis not in at]
    order: list[int | None] = [*others[:start], *([None] * len(looked_up)), *others[start:]]
    sizes = iter(looked_up)
    if op.shape != tuple(flow.shape[axis] if axis is not None else next(sizes) for axis in order):
        return op.unknown("entries are picked by a mask")
    if isinstance(flow, Weight):
        for axis in at:
            op.ledger.hold(flow, axis)
        return flow.viewed(op.shape, [None if axis is None else flow.axes[axis] for axis in order])
    value = op.kept(flow, at)
    labels = value.labels.squeeze(tuple(at))
    return Value(op.shape, np.expand_dims(labels, tuple(range(start, start + len(looked_up)))))


@rule("index_select.default")
def _index_select(op: Op) -> Flow:
    flow = op.flow("self")
    assert isinstance(flow, Weight | Value)
    axis = op.constant("dim") % len(flow.shape)
    op.plain(op.flow("index"))
    if isinstance(flow, Weight):
        return op.without_axis(flow, axis)
    return Value(op.shape, op.kept(flow, [axis]).labels)


@rule("gather.default", "take_along_dim.default")
def _gather(op: Op) -> Flow:
    """The index has the shape of the result: where it was expanded to it, it follows."""
    value, index = op.value("self"), op.value("index" if "index" in op.arguments else "indices")
    if op.constant("dim") is None:
        return op.unknown("entries of a flattened tensor are picked")
    axis = op.constant("dim") % len(value.shape)
    shorter = [other for other in value.tracked if index.shape[other] != value.shape[other]]
    value = op.kept(value, [axis, *shorter])
    return meet(op.ledger, [Value((*value.shape[:axis], 1, *value.shape[axis + 1 :]), value.labels), index], op.shape)


@rule("slice_scatter.default", "select_scatter.default", "index_fill.int_Scalar", "index_copy.default")
@rule("index_add.default")
def _overwrite(op: Op) -> Flow:
    """A part along one axis is overwritten; along the others it meets what it replaces."""
    value = op.value("self")
    axis = op.constant("dim", 0) % len(value.shape)
    value = op.kept(value, [axis])
    if op.flow("index") is not None:
        op.plain(op.flow("index"))
    source = "src" if "src" in op.arguments else "source"
    if source not in op.arguments:
        return value
    part = op.value(source)
    if len(part.shape) < len(value.shape):
        part = Value((*part.shape[:axis], 1, *part.shape[axis:]), np.expand_dims(part.labels, axis))
    part = op.kept(part, [axis])
    one = (*part.shape[:axis], 1, *part.shape[axis + 1 :])
    return meet(op.ledger, [value, Value(one, part.labels)], op.shape)


@rule("topk.default", "sort.default", "sort.stable", "argsort.default", "argsort.stable", "kthvalue.default")
@rule("median.dim", "mode.default", "cummax.default", "cummin.default", "logcumsumexp.default", "cumprod.default")
@rule("diff.default")
def _ordered(op: Op) -> Flow:
    """What compares entries along an axis keeps them all."""
    value = op.value("self")
    for name in ("prepend", "append"):
        if op.flow(name) is not None:
            op.plain(op.flow(name))
    rank = len(value.shape)
    axis = op.constant("dim", -1) % rank if rank else 0
    labels = op.kept(value, [axis] if rank else []).labels
    results = op.shapes if op.makes_several else [op.shape]
    if len(results[0]) < rank:
        labels = labels.squeeze(axis)
    flows = tuple(Value(shape, labels) for shape in results)
    return flows if op.makes_several else flows[0]
