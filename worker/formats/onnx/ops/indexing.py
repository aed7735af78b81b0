"""Ops that pick values: slices and gathers."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import HostArray, Value, as_tensor, scalar, sizes, tensor_op

__all__ = ["gather", "slice_"]

_BEFORE_ALL = -(2**63)
"""How exporters write "to the very first" where a slice goes backwards."""


@tensor_op("Slice")
def slice_(
    node: Node,
    x: Tensor,
    starts: HostArray | None = None,
    ends: HostArray | None = None,
    axes: HostArray | None = None,
    steps: HostArray | None = None,
) -> Tensor:
    firsts = (sizes(node, starts) if starts is not None else node.integers("starts")) or []
    lasts = (sizes(node, ends) if ends is not None else node.integers("ends")) or []
    where = (sizes(node, axes) if axes is not None else node.integers("axes", range(len(firsts)))) or []
    strides = sizes(node, steps) if steps is not None else [1] * len(firsts)
    for axis, first, last, stride in zip(where, firsts, lasts, strides, strict=True):
        if stride < 1:
            if (stride, first, last) != (-1, -1, _BEFORE_ALL):
                raise node.refuse(f"goes backwards through axis {axis} from {first} to {last}")
            x = x.flip(axis)
            continue
        x = torch.ops.aten.slice.Tensor(x, axis, first, last, stride)
    return x


@tensor_op("Gather")
def gather(node: Node, data: Value, indices: Value) -> Tensor:
    """Constant indices become selects and slices, which show what is picked; computed ones an embedding or an index."""
    x = as_tensor(data)
    axis = node.integer("axis", 0) % x.ndim
    if isinstance(indices, Tensor):
        if axis == 0 and x.ndim == 2:
            return functional.embedding(indices, x)
        if indices.ndim == 1:
            return x.index_select(axis, indices)
        return x[(slice(None),) * axis + (indices,)]
    if indices.ndim > 1:
        return x[(slice(None),) * axis + (as_tensor(indices),)]
    if not isinstance(x.shape[axis], int):
        return _picked_of_many(node, x, axis, indices)
    picked = [_position(node, index, x.shape[axis]) for index in indices.reshape(-1).tolist()]
    if indices.ndim == 0:
        return x.select(axis, picked[0])
    runs = [x.narrow(axis, start, length) for start, length in _runs(picked)]
    return runs[0] if len(runs) == 1 else torch.cat(runs, dim=axis)


@tensor_op("GatherElements")
def gather_elements(node: Node, x: Value, indices: Value) -> Tensor:
    axis, data, places = node.integer("axis", 0), as_tensor(x), as_tensor(indices)
    return data.gather(axis, places % data.shape[axis])


@tensor_op("GatherND")
def gather_nd(node: Node, data: Value, indices: Value) -> Tensor:
    """The last axis of `indices` holds one position for each of the first axes of `data`."""
    x, places, leading = as_tensor(data), as_tensor(indices), node.integer("batch_dims", 0)
    if leading:
        count = places.shape[:leading]
        grid = [
            torch.arange(size).reshape([-1 if at == axis else 1 for at in range(places.ndim - 1)])
            for axis, size in enumerate(count)
        ]
        return x[(*grid, *places.unbind(-1))]
    return x[places.unbind(-1)]


@tensor_op("TopK")
def top_k(node: Node, x: Tensor, k: Value) -> tuple[Tensor, Tensor]:
    return torch.topk(
        x, int(scalar(node, k)), node.integer("axis", -1), bool(node.integer("largest", 1)),
        bool(node.integer("sorted", 1)),
    )  # fmt: skip


@tensor_op("CumSum")
def cumsum(node: Node, x: Value, axis: Value) -> Tensor:
    if node.integer("exclusive", 0) or node.integer("reverse", 0):
        raise node.refuse("sums up without the value itself, or from the end")
    return torch.cumsum(as_tensor(x), int(scalar(node, axis)))


def _picked_of_many(node: Node, x: Tensor, axis: int, indices: HostArray) -> Tensor:
    """Of an axis of free size, the first value or the last or any, counted from either end."""
    places = indices.reshape(-1).tolist()
    if not all(isinstance(place, int) for place in places):
        raise node.refuse("picks at a place that depends on a free size")
    if indices.ndim == 0:
        return x.select(axis, places[0])
    return torch.stack([x.select(axis, place) for place in places], dim=axis)


def _position(node: Node, index: Any, size: int) -> int:
    if not isinstance(index, int):
        raise node.refuse("picks at a place that depends on a free size")
    if not -size <= index < size:
        raise node.broken(f"picks value {index} of {size}")
    return index % size


def _runs(positions: list[int]) -> list[tuple[int, int]]:
    """Neighbours taken together: [0, 1, 2, 7] is the run of 3 at 0 and the run of 1 at 7."""
    runs: list[tuple[int, int]] = []
    for position in positions:
        if runs and position == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((position, 1))
    return runs
