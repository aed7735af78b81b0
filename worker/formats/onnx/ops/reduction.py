"""Reductions over axes, which are an attribute in older opsets and an input in newer ones."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import HostArray, sizes, tensor_op

__all__: list[str] = []

_REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "ReduceMean": torch.mean,
    "ReduceSum": torch.sum,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceProd": lambda x, dim, keepdim: _product(x, dim, keepdim),
    "ReduceL1": lambda x, dim, keepdim: x.abs().sum(dim, keepdim),
    "ReduceL2": lambda x, dim, keepdim: x.square().sum(dim, keepdim).sqrt(),
    "ReduceSumSquare": lambda x, dim, keepdim: x.square().sum(dim, keepdim),
    "ReduceLogSumExp": torch.logsumexp,
}


def _product(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    for axis in reversed(axes):  # torch multiplies along one axis at a time
        x = x.prod(axis, keepdim)
    return x


def _register(op_type: str, function: Callable[..., Tensor]) -> None:
    @tensor_op(op_type)
    def apply(node: Node, x: Tensor, axes: HostArray | None = None) -> Tensor:
        given: list[Any] | None = sizes(node, axes) if axes is not None else node.integers("axes", None)
        if not given and node.integer("noop_with_empty_axes", 0):
            return x
        where = sorted(axis % x.ndim for axis in given) if given else list(range(x.ndim))
        return function(x, dim=where, keepdim=bool(node.integer("keepdims", 1)))


for _op_type, _function in _REDUCTIONS.items():
    _register(_op_type, _function)


@tensor_op("ArgMax", "ArgMin")
def arg_extreme(node: Node, x: Tensor) -> Tensor:
    if node.integer("select_last_index", 0):
        raise node.refuse("picks the last of equal values")
    function = torch.argmax if node.op_type == "ArgMax" else torch.argmin
    return function(x, dim=node.integer("axis", 0), keepdim=bool(node.integer("keepdims", 1)))
