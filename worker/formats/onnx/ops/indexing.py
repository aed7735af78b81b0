"""Ops that pick values: slices and gathers."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import HostArray, Value, sizes, tensor_op

__all__ = ["gather", "slice_"]


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
            raise node.refuse(f"goes backwards through axis {axis}")
        x = torch.ops.aten.slice.Tensor(x, axis, first, last, stride)
    return x


@tensor_op("Gather")
def gather(node: Node, x: Tensor, indices: Value) -> Tensor:
    """Constant indices become selects and slices, which show what is picked; computed ones an embedding or an index."""
    axis = node.integer("axis", 0) % x.ndim
    if isinstance(indices, Tensor):
        if axis == 0 and x.ndim == 2:
            return functional.embedding(indices, x)
        if indices.ndim == 1:
            return x.index_select(axis, indices)
        return x[(slice(None),) * axis + (indices,)]
    picked = [_position(node, index, x.shape[axis]) for index in indices.reshape(-1).tolist()]
    if indices.ndim == 0:
        return x.select(axis, picked[0])
    if indices.ndim > 1:
        raise node.refuse("picks with constant indices of more than one dimension")
    runs = [x.narrow(axis, start, length) for start, length in _runs(picked)]
    return runs[0] if len(runs) == 1 else torch.cat(runs, dim=axis)


def _position(node: Node, index: Any, size: Any) -> int:
    if not isinstance(index, int) or not isinstance(size, int):
        raise node.refuse("picks along the batch, or at a place that depends on the batch size")
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
