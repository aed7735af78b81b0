"""Ops that rearrange entries: the labels are rearranged in the same way."""

from math import prod

import numpy as np

from worker.graph.rules.meeting import meet
from worker.graph.rules.registry import Op, Removal, rewrite, rule
from worker.graph.values import Flow, Labels, Value, Weight

__all__ = ["regroup", "resize_result"]


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
    *(
        "view.default",
        "_unsafe_view.default",
        "reshape.default",
        "flatten.using_ints",
        "unflatten.int",
        "ravel.default",
    ),
    *("squeeze.default", "squeeze.dim", "squeeze.dims", "unsqueeze.default", "view_as.default", "reshape_as.default"),
    *("atleast_1d.default", "atleast_2d.default", "atleast_3d.default"),
)


@rule(*_VIEWS)
def _view(op: Op) -> Flow:
    flow, shape = op.flow("self"), op.shape
    if isinstance(flow, Weight):
        axes = _regroup_axes(flow, shape)
        return op.unknown("a parameter is reshaped") if axes is None else flow.viewed(shape, axes)
    value = op.value("self")
    if prod(value.shape) == 0:
        return op.unknown("an empty tensor is reshaped")
    viewed = Value.of(shape, regroup(value.labels, value.shape, shape))
    if value.elastic and "squeeze" in op.name:
        axes = _regroup_axes(Weight("", value.shape, tuple(range(len(value.shape)))), shape) or []
        places = {axis: at for at, axis in enumerate(axes) if axis is not None}
        elastic = {places[axis]: origins for axis, origins in value.elastic.items() if axis in places}
        viewed = Value(shape, viewed.labels, elastic)
    return viewed


def _regroup_axes(weight: Weight, after: tuple[int, ...]) -> list[int | None] | None:
    """Axes of the parameter behind the axes of `after`; None where some are merged or split."""
    source = [-1 if axis is None else axis + 1 for axis in weight.axes]
    # Each axis carries its number as if it were a label; an axis that is merged or split shows more or fewer of them.
    axes: list[int | None] = [None] * len(after)
    for position, number in enumerate(source):
        size = weight.shape[position]
        if number < 0 or size == 1:
            continue
        shape = [1] * len(weight.shape)
        shape[position] = size
        numbered = Value.of(after, regroup(np.arange(1, size + 1).reshape(shape), weight.shape, after))
        if len(numbered.tracked) != 1 or numbered.labels.size != size:
            return None
        axes[numbered.tracked[0]] = number - 1
    return axes


@rewrite("view.default", "_unsafe_view.default", "reshape.default", "expand.default", "broadcast_to.default")
def resize_result(removal: Removal) -> None:
    """Sizes of the result, given as `shape` or `size`, follow what of it is kept."""
    name = "shape" if "shape" in removal.arguments else "size"
    sizes = list(removal.arguments[name])
    for axis, kept in removal.sizes().items():
        if sizes[axis] != -1:
            sizes[axis] = removal.resize(sizes[axis], kept)
    removal.set(name, sizes)


@rewrite("unflatten.int")
def _resize_run(removal: Removal) -> None:
    result = removal.result
    if not isinstance(result, Value | Weight):
        return
    sizes = list(removal.arguments["sizes"])
    start = removal.arguments["dim"] % (len(result.shape) - len(sizes) + 1)
    for axis, kept in removal.sizes().items():
        if start <= axis < start + len(sizes) and sizes[axis - start] != -1:
            sizes[axis - start] = removal.resize(sizes[axis - start], kept)
    removal.set("sizes", sizes)


@rule("permute.default", "transpose.int", "t.default", "numpy_T.default", "mT.default", "swapaxes.default")
@rule("swapdims.default", "movedim.int", "movedim.intlist", "moveaxis.int", "moveaxis.intlist")
def _permute(op: Op) -> Flow:
    flow = op.flow("self")
    assert isinstance(flow, Weight | Value)
    order = _order(op, len(flow.shape))
    if isinstance(flow, Weight):
        return flow.viewed(op.shape, [flow.axes[axis] for axis in order])
    elastic = {order.index(axis): origins for axis, origins in flow.elastic.items()}
    return Value(op.shape, flow.labels.transpose(order), elastic)


def _order(op: Op, rank: int) -> list[int]:
    name = op.name.split(".")[1]
    order = list(range(rank))
    if name == "permute":
        return [axis % rank for axis in op.constant("dims")]
    if name in {"t", "numpy_T"}:
        return order[::-1]
    if name == "mT":
        return [*order[:-2], order[-1], order[-2]]
    if name in {"movedim", "moveaxis"}:
        source, destination = ([axis % rank for axis in _listed(op.constant(end))] for end in ("source", "destination"))
        left = iter(axis for axis in order if axis not in source)
        moved = dict(zip(destination, source, strict=True))
        return [moved[axis] if axis in moved else next(left) for axis in order]
    names = {"transpose": ("dim0", "dim1"), "swapaxes": ("axis0", "axis1"), "swapdims": ("dim0", "dim1")}[name]
    first, second = (op.constant(axis) % rank for axis in names)
    order[first], order[second] = order[second], order[first]
    return order


def _listed(axes: int | list[int]) -> list[int]:
    return [axes] if isinstance(axes, int) else axes


@rule("expand.default", "broadcast_to.default")
def _expand(op: Op) -> Flow:
    flow, shape = op.flow("self"), op.shape
    assert isinstance(flow, Weight | Value)
    missing = len(shape) - len(flow.shape)
    old = (1,) * missing + flow.shape
    longer = [axis for axis, size in enumerate(shape) if size != old[axis]]
    if isinstance(flow, Weight):
        axes: tuple[int | None, ...] = (None,) * missing + flow.axes
        return flow.viewed(shape, [None if position in longer else axis for position, axis in enumerate(axes)])
    elastic = {axis + missing: origins for axis, origins in flow.elastic.items()} if flow.is_plain else {}
    if flow.is_plain:
        sizes = op.arguments["size" if "size" in op.arguments else "shape"]
        elastic |= {axis: frozenset({(op.node.name, axis)}) for axis in longer if isinstance(sizes[axis], int)}
    return Value(shape, flow.labels.reshape((1,) * missing + flow.labels.shape), elastic)


@rule("expand_as.default")
def _expand_as(op: Op) -> Flow:
    # The sizes are those of the other tensor, whatever they become.
    return meet(op.ledger, [op.value("self"), op.value("other")], op.shape)


@rule("repeat.default", "tile.default")
def _repeat(op: Op) -> Flow:
    flow, repeats = op.flow("self"), op.constant("repeats", op.constant("dims"))
    assert isinstance(flow, Weight | Value)
    repeats = [1] * (len(op.shape) - len(repeats)) + repeats
    missing = len(op.shape) - len(flow.shape)
    if isinstance(flow, Weight):
        axes = [None] * missing + list(flow.axes)
        for position, times in enumerate(repeats):
            if times > 1 and position >= missing:
                op.ledger.hold(flow, position - missing)
        return flow.viewed(op.shape, [axis if times == 1 else None for axis, times in zip(axes, repeats, strict=True)])
    labels = flow.labels.reshape((1,) * missing + flow.labels.shape)
    if flow.is_plain:
        copied = [axis for axis, size in enumerate((1,) * missing + flow.shape) if size == 1 and repeats[axis] > 1]
        given = len(op.shape) == len(op.arguments["repeats" if "repeats" in op.arguments else "dims"])
        return Value(op.shape, labels, {axis: frozenset({(op.node.name, axis)}) for axis in copied if given})
    times = [repeat if size > 1 else 1 for repeat, size in zip(repeats, labels.shape, strict=True)]
    return Value.of(op.shape, np.tile(labels, times))


@rewrite("repeat.default", "tile.default")
def _repeat_less(removal: Removal) -> None:
    """Copies of one entry: as many as are kept of what they met."""
    value, name = removal.value("self"), "repeats" if "repeats" in removal.arguments else "dims"
    repeats = list(removal.arguments[name])
    if value is not None:
        for axis, kept in removal.sizes().items():
            position = axis - (len(repeats) - len(value.shape))
            if position < 0 or value.shape[position] == 1:
                repeats[axis] = kept
        removal.set(name, repeats)


@rule("repeat_interleave.self_int")
def _repeat_each(op: Op) -> Flow:
    value, times = op.value("self"), op.constant("repeats")
    if op.constant("dim") is None:
        return op.unknown("a tensor is flattened and repeated")
    axis = op.constant("dim") % len(value.shape)
    labels = value.labels
    return Value.of(op.shape, labels.repeat(times, axis) if labels.shape[axis] > 1 else labels)
