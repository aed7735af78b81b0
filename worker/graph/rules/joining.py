"""Ops that put values together and take them apart, and padding."""

import numpy as np
import torch

from worker.graph.rules.constant import with_own_channels
from worker.graph.rules.meeting import adopt, meet
from worker.graph.rules.registry import Op, Removal, rewrite, rule
from worker.graph.values import Flow, Value, Weight, kept_along

__all__ = ["take_item"]


@rule("cat.default", "concat.default", "concatenate.default")
def _concatenate(op: Op) -> Flow:
    return _joined(op, op.constant("dim", 0) % len(op.shape))


@rule("hstack.default", "vstack.default")
def _joined_by_rank(op: Op) -> Flow:
    if any(len(flow.shape) < 2 for flow in op.operands() if isinstance(flow, Value | Weight)):
        return op.unknown("vectors are stacked")
    return _joined(op, 1 if "hstack" in op.name else 0)


def _joined(op: Op, axis: int) -> Flow:
    parts, shape = [op.flows.get(node) for node in op.arguments["tensors"]], op.shape
    values = [flow for flow in parts if isinstance(flow, Value)]
    if not any(value.labels.shape[axis] > 1 for value in values):
        joined = meet(op.ledger, [_of_size_one(value, axis) for value in values], _with_size(shape, axis, 1))
        for weight in (flow for flow in parts if isinstance(flow, Weight)):
            joined = adopt(op.ledger, weight, joined)
        return Value(shape, joined.labels)
    arrays = []
    for value in map(op.as_value, parts):
        if axis in value.elastic and all(part.tracked in ([], [axis]) for part in values):
            value = with_own_channels(op.ledger, value, axis)
        filled = np.broadcast_shapes(value.labels.shape, _with_size((1,) * len(shape), axis, value.shape[axis]))
        arrays.append(np.broadcast_to(value.labels, filled))
    width = np.broadcast_shapes(*(_with_size(labels.shape, axis, 1) for labels in arrays))
    pieces = [np.broadcast_to(labels, _with_size(width, axis, labels.shape[axis])) for labels in arrays]
    op.ledger.pieces.extend(pieces)
    return Value.of(shape, np.concatenate(pieces, axis))


def _of_size_one(value: Value, axis: int) -> Value:
    elastic = {other: origins for other, origins in value.elastic.items() if other != axis}
    return Value(_with_size(value.shape, axis, 1), value.labels, elastic)


def _with_size(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


@rule("stack.default")
def _stack(op: Op) -> Flow:
    shape = op.shape
    axis = op.constant("dim", 0) % len(shape)
    values = [op.as_value(flow) for flow in op.operands()]
    inner = meet(op.ledger, values, shape[:axis] + shape[axis + 1 :])
    return Value(shape, np.expand_dims(inner.labels, axis))


_SPLITS = (
    *("split.Tensor", "split.sizes", "split_with_sizes.default", "chunk.default", "tensor_split.sections"),
    *("tensor_split.indices", "unsafe_chunk.default", "unsafe_split.Tensor"),
)


@rule(*_SPLITS)
def _split(op: Op) -> Flow:
    value, shapes = op.value("self"), op.shapes
    axis = op.constant("dim", 0) % len(value.shape)
    if value.labels.shape[axis] == 1:
        return tuple(Value(shape, value.labels) for shape in shapes)
    pieces = np.split(value.labels, np.cumsum([shape[axis] for shape in shapes])[:-1], axis)
    for position, piece in enumerate(pieces):
        if piece.size == 1:
            op.block(piece, "one channel is picked by its position")
            pieces[position] = np.zeros_like(piece)
    op.ledger.pieces.extend(piece for piece in pieces if piece.size > 1)
    return tuple(Value.of(shape, piece) for shape, piece in zip(shapes, pieces, strict=True))


@rewrite(*_SPLITS)
def _split_anew(removal: Removal) -> None:
    value, result = removal.value("self"), removal.result
    if value is None or not isinstance(result, tuple):
        return
    axis = removal.arguments.get("dim", 0) % len(value.shape)
    if value.labels.shape[axis] > 1:
        start, sizes = 0, []
        for piece in result:
            stop = start + piece.shape[axis]
            part = value.labels.take(range(start, stop), axis)
            sizes.append(len(kept_along(part, axis, removal.keep)))
            start = stop
        removal.node.target = torch.ops.aten.split_with_sizes.default
        removal.node.args = (removal.arguments["self"], sizes, axis)
        removal.node.kwargs = {}


@rule("unbind.int")
def _unbind(op: Op) -> Flow:
    value = op.value("self")
    axis = op.constant("dim", 0) % len(value.shape)
    value = op.kept(value, [axis])
    return tuple(Value(shape, value.labels.take([0], axis).squeeze(axis)) for shape in op.shapes)


def take_item(op: Op) -> Flow:
    """`operator.getitem` on the results of an op that makes several."""
    source, index = op.node.args[0], op.node.args[1]
    flow = op.flows.get(source) if isinstance(source, torch.fx.Node) else None
    return flow[index] if isinstance(flow, tuple) and isinstance(index, int) else None


@rule("pad.default", "constant_pad_nd.default")
def _pad(op: Op) -> Flow:
    value = op.value("self")
    labels, shape = value.labels, list(value.shape)
    for axis, (before, after) in enumerate(_amounts(op.constant("pad"), len(shape))):
        if labels.shape[axis] == 1 and value.tracked:
            # Positions of an image: padded in every channel alike.
            continue
        if (before or after) and (
            op.constant("mode", "constant") != "constant" or min(before, after) < 0 or value.tracked != [axis]
        ):
            op.block(labels, "channels are padded with other channels, or cut by a negative padding")
            return Value.plain(op.shape)
        if before or after:
            # Channels of a constant: free to go with whatever they meet.
            view = [-1 if other == axis else 1 for other in range(len(shape))]
            fresh = [op.ledger.mint(amount).reshape(view) for amount in (before, after)]
            labels = np.concatenate([fresh[0], labels, fresh[1]], axis)
    return Value.of(op.shape, labels)


@rewrite("pad.default", "constant_pad_nd.default")
def _pad_less(removal: Removal) -> None:
    result = removal.result
    if not isinstance(result, Value):
        return
    pad = list(removal.arguments["pad"])
    rank = len(result.shape)
    for axis, (before, after) in enumerate(_amounts(pad, rank)):
        if result.labels.shape[axis] > 1 and (before or after):
            kept = kept_along(result.labels, axis, removal.keep)
            place = 2 * (rank - 1 - axis)
            pad[place] = int((kept < before).sum())
            pad[place + 1] = int((kept >= result.shape[axis] - after).sum())
    removal.set("pad", pad)


def _amounts(pad: list[int], rank: int) -> list[tuple[int, int]]:
    """(before, after) per axis. PyTorch lists them from the last axis on."""
    pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    return [(0, 0)] * (rank - len(pairs)) + pairs
