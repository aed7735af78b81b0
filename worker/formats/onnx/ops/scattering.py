"""Ops that overwrite entries at given places."""

import torch
from torch import Tensor

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import Value, as_tensor, tensor_op

__all__ = ["scatter_elements", "scatter_nd"]


@tensor_op("ScatterElements", "Scatter")
def scatter_elements(node: Node, data: Tensor, indices: Value, updates: Value) -> Tensor:
    axis, places, new = node.integer("axis", 0), as_tensor(indices), as_tensor(updates)
    match node.text("reduction", "none"):
        case "none":
            return data.scatter(axis, places % data.shape[axis], new)
        case "add":
            return data.scatter_add(axis, places % data.shape[axis], new)
    raise node.refuse(f"combines what meets by {node.text('reduction')!r}; only 'none' and 'add' are supported")


@tensor_op("ScatterND")
def scatter_nd(node: Node, data: Value, indices: Value, updates: Value) -> Tensor:
    reduction = node.text("reduction", "none")
    if reduction not in ("none", "add"):
        raise node.refuse(f"combines what meets by {reduction!r}; only 'none' and 'add' are supported")
    places = as_tensor(indices).unbind(-1)
    return torch.index_put(as_tensor(data), places, as_tensor(updates), accumulate=reduction == "add")
