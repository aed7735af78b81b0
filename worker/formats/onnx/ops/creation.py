"""Tensors made of sizes: what shape arithmetic (`host`) leaves over because it is as long as a free size, or large."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import HostArray, Value, as_tensor, scalar, sizes, tensor_op

__all__ = ["constant_of_shape", "one_hot", "range_", "trilu"]


@tensor_op("Range")
def range_(node: Node, start: Value, limit: Value, delta: Value) -> Tensor:
    return torch.arange(*(scalar(node, value) for value in (start, limit, delta)))


@tensor_op("ConstantOfShape")
def constant_of_shape(node: Node, shape: HostArray) -> Tensor:
    value = node.attributes.get("value")
    fill: Any = value.reshape(-1)[0].item() if isinstance(value, np.ndarray) and value.size else 0.0
    dtype = torch.float32 if isinstance(fill, float) else torch.bool if isinstance(fill, bool) else torch.int64
    return torch.full(sizes(node, shape), fill, dtype=dtype)


@tensor_op("Trilu")
def trilu(node: Node, x: Value, k: Value | None = None) -> Tensor:
    """The upper or the lower triangle of each matrix, from the diagonal number `k` on."""
    matrices, diagonal = as_tensor(x), scalar(node, k, 0)
    return matrices.triu(diagonal) if node.integer("upper", 1) else matrices.tril(diagonal)


@tensor_op("OneHot")
def one_hot(node: Node, indices: Tensor, depth: Value, values: Value) -> Tensor:
    count, (off, on) = int(scalar(node, depth)), as_tensor(values).unbind()
    axis = node.integer("axis", -1)
    places = torch.arange(count)
    places = places.reshape([count] + [1] * (-1 - axis if axis < 0 else indices.ndim - axis))
    return torch.where((indices % count).unsqueeze(axis) == places, on, off)
