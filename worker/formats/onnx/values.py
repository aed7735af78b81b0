"""The two kinds of values an ONNX graph computes with, and the tables of ops that work on each.

A *tensor* is data: torch traces what is done to it. A *host array* is shape arithmetic (the target of a Reshape, the
axes of a ReduceMean): a numpy array of Python objects, each an int, float, bool or a symbolic size of torch. Working it
out in Python keeps shape arithmetic out of the traced graph, where it would hide what a reshape does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.formats.onnx.node import Node

__all__ = [
    "HOST_OPS", "TENSOR_OPS", "HostArray", "NotOnHost", "Value", "as_tensor", "computing", "host_op", "scalar", "sizes",
    "tensor_op",
]  # fmt: skip

HostArray: TypeAlias = npt.NDArray[np.object_]
Value: TypeAlias = Tensor | HostArray
TensorOp: TypeAlias = Callable[..., Tensor | tuple[Tensor, ...]]
HostOp: TypeAlias = Callable[..., HostArray]


class NotOnHost(Exception):
    """What a host op would make is data: too large for shape arithmetic, or of a free size."""


TENSOR_OPS: dict[str, TensorOp] = {}
HOST_OPS: dict[str, HostOp] = {}


def tensor_op(*op_types: str) -> Callable[[TensorOp], TensorOp]:
    """Registers `function(node, *inputs)`, where omitted inputs are None and `HOST_INPUTS` come as host arrays."""

    def register(function: TensorOp) -> TensorOp:
        TENSOR_OPS.update(dict.fromkeys(op_types, function))
        return function

    return register


def host_op(*op_types: str) -> Callable[[HostOp], HostOp]:
    """Registers `function(node, *inputs)` on host arrays alone."""

    def register(function: HostOp) -> HostOp:
        HOST_OPS.update(dict.fromkeys(op_types, function))
        return function

    return register


@contextmanager
def computing(node: Node) -> Iterator[None]:
    """Turns what Python, numpy and torch raise for arguments that do not fit into an error of the file."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip() or type(error).__name__
        raise node.broken(f"cannot be computed: {reason.splitlines()[0]}") from error


def as_tensor(value: Value) -> Tensor:
    """Data as it is, and a host array as data of int64, float32 or bool."""
    if isinstance(value, Tensor):
        return value
    items = value.reshape(-1).tolist()
    if all(isinstance(item, bool | int | float) for item in items):
        dtype = torch.float32 if any(isinstance(item, float) for item in items) else None
        return torch.tensor(value.tolist(), dtype=dtype)
    return torch.stack([torch.scalar_tensor(item, dtype=torch.int64) for item in items]).reshape(value.shape)


def scalar(node: Node, value: Value | None, default: Any = None) -> Any:
    """The single number in a host array, or `default` where the input is omitted."""
    if value is None:
        return default
    if isinstance(value, Tensor) or value.size != 1:
        raise node.refuse("needs a constant number where this graph computes a tensor")
    return value.reshape(()).item()


def sizes(node: Node, value: Value) -> list[Any]:
    """The numbers in a host array of at most one dimension: axes, shapes, pads."""
    if isinstance(value, Tensor) or value.ndim > 1:
        raise node.refuse("needs constant sizes where this graph computes them from data")
    return value.reshape(-1).tolist()
