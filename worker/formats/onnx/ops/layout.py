"""Ops that rearrange values: reshape, transpose, concatenate, split, pad."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import HostArray, Value, as_tensor, scalar, sizes, tensor_op

__all__: list[str] = []

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


def _same(a: Any, b: Any) -> bool:
    """Equal for sure, found out without letting torch fix a symbolic size."""
    if isinstance(a, int) or isinstance(b, int):
        return isinstance(a, int) and isinstance(b, int) and a == b
    return bool(a.node.expr == b.node.expr)


def _reshaped(x: Tensor, shape: list[Any]) -> Tensor:
    """`x` in `shape`. The batch is left to torch as -1, so that the graph holds numbers and no arithmetic on sizes."""
    if any(_same(size, -1) for size in shape):
        shape = _solved(x.shape, shape)
    symbolic = [axis for axis, size in enumerate(shape) if not isinstance(size, int)]
    if symbolic and not any(_same(size, -1) for size in shape):
        shape = [-1 if axis == symbolic[0] else size for axis, size in enumerate(shape)]
    return x.reshape(shape)


def _solved(before: Sequence[Any], after: list[Any]) -> list[Any]:
    """`after` with its -1 worked out, where free sizes stand on both sides and what is left are numbers."""
    left = list(before)
    for size in [size for size in after if not isinstance(size, int)]:
        twin = next((position for position, other in enumerate(left) if _same(other, size)), None)
        if twin is None:
            return after
        left.pop(twin)
    rest = math.prod(left)
    known = math.prod(size for size in after if isinstance(size, int) and size != -1)
    if not isinstance(rest, int) or known <= 0 or rest % known:
        return after
    return [rest // known if _same(size, -1) else size for size in after]


@tensor_op("Reshape")
def reshape(node: Node, x: Tensor, shape: HostArray) -> Tensor:
    wanted = sizes(node, shape)
    if not node.integer("allowzero", 0):
        if any(_same(size, 0) for size in wanted[x.ndim :]):
            raise node.broken(f"copies a dimension that its input does not have: {wanted}")
        wanted = [x.shape[axis] if _same(size, 0) else size for axis, size in enumerate(wanted)]
    return _reshaped(x, wanted)


@tensor_op("Flatten")
def flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.integer("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 0:
        raise node.refuse("flattens the batch together with the values")
    return torch.flatten(torch.flatten(x, axis) if axis < x.ndim else x.unsqueeze(-1), 0, axis - 1)


@tensor_op("Transpose")
def transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.integers("perm", range(x.ndim - 1, -1, -1)) or [])


@tensor_op("Squeeze")
def squeeze(node: Node, x: Tensor, axes: HostArray | None = None) -> Tensor:
    where = sizes(node, axes) if axes is not None else node.integers("axes", None)
    if where is None:
        raise node.refuse("drops every dimension of size one; name the axes")
    for axis in sorted((axis % x.ndim for axis in where), reverse=True):
        x = x.squeeze(axis)
    return x


@tensor_op("Unsqueeze")
def unsqueeze(node: Node, x: Tensor, axes: HostArray | None = None) -> Tensor:
    where = (sizes(node, axes) if axes is not None else node.integers("axes")) or []
    for axis in sorted(axis % (x.ndim + len(where)) for axis in where):
        x = x.unsqueeze(axis)
    return x


@tensor_op("Expand")
def expand(node: Node, x: Value, shape: HostArray) -> Tensor:
    """Broadcasts both ways: a 1 in `shape` keeps the size of `x`."""
    wanted = sizes(node, shape)
    if not isinstance(x, Tensor):
        filled = x.size == 1 and x.ndim <= len(wanted)
        if filled:
            return torch.full(wanted, scalar(node, x))
        x = as_tensor(x)
    missing = max(x.ndim - len(wanted), 0)
    wanted = [-1] * missing + [
        -1 if axis >= len(wanted) - x.ndim and (_same(size, 1) or _same(size, x.shape[axis - len(wanted)])) else size
        for axis, size in enumerate(wanted)
    ]
    return x if len(wanted) == x.ndim and all(_same(size, -1) for size in wanted) else x.expand(wanted)


@tensor_op("Tile")
def tile(node: Node, x: Tensor, repeats: HostArray) -> Tensor:
    times = sizes(node, repeats)
    return x if all(_same(count, 1) for count in times) else x.repeat(times)


@tensor_op("Concat")
def concat(node: Node, *tensors: Value) -> Tensor:
    return torch.cat([as_tensor(tensor) for tensor in tensors], dim=node.integer("axis"))


@tensor_op("Split")
def split(node: Node, x: Tensor, parts: HostArray | None = None) -> tuple[Tensor, ...]:
    axis, count = node.integer("axis", 0), len(node.outputs)
    given = sizes(node, parts) if parts is not None else node.integers("split", None)
    if given is None:
        chunk = math.ceil(x.shape[axis] / count)  # the last part may be smaller
        given = [chunk] * (count - 1) + [x.shape[axis] - chunk * (count - 1)]
    return torch.split(x, given, dim=axis)


@tensor_op("Pad")
def pad(
    node: Node, x: Tensor, pads: HostArray | None = None, value: Value | None = None, axes: HostArray | None = None
) -> Tensor:
    amounts = sizes(node, pads) if pads is not None else node.integers("pads")
    where = sizes(node, axes) if axes is not None else list(range(x.ndim))
    if amounts is None or len(amounts) != 2 * len(where):
        raise node.broken(f"has {len(amounts or [])} pads for {len(where)} axes")
    mode = _PAD_MODES.get(node.text("mode", "constant"))
    if mode is None:
        raise node.refuse(f"pads in the mode {node.text('mode')!r}")
    sides = {axis % x.ndim: (amounts[i], amounts[i + len(where)]) for i, axis in enumerate(where)}
    pairs = [sides.get(axis, (0, 0)) for axis in range(x.ndim - 1, -1, -1)]
    while pairs and pairs[-1] == (0, 0):  # torch counts from the last axis and needs no zeros for the first ones
        pairs.pop()
    if not pairs:
        return x
    flat = list(chain.from_iterable(pairs))
    if mode != "constant":
        return functional.pad(x, flat, mode=mode)
    return functional.pad(x, flat, value=float(scalar(node, value, node.real("value", 0.0))))


@tensor_op("DepthToSpace")
def depth_to_space(node: Node, x: Tensor) -> Tensor:
    block = node.integer("blocksize")
    if node.text("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, block)
    _, channels, height, width = x.shape
    depth = channels // (block * block)
    blocks = x.reshape(-1, block, block, depth, height, width).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(-1, depth, height * block, width * block)


@tensor_op("SpaceToDepth")
def space_to_depth(node: Node, x: Tensor) -> Tensor:
    block = node.integer("blocksize")
    _, channels, height, width = x.shape
    blocks = x.reshape(-1, channels, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(-1, channels * block * block, height // block, width // block)
