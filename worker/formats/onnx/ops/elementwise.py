"""Arithmetic, comparisons and activations: ops on one element of each input at a time."""

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor
from torch.nn import functional

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import Value, as_tensor, scalar, tensor_op

__all__: list[str] = []

_DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.BOOL: torch.bool,
}

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": functional.hardswish,
    "IsNaN": torch.isnan,
    "IsInf": torch.isinf,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": functional.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Softplus": functional.softplus,
    "Softsign": lambda x: x / (1 + x.abs()),
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}


def _divide(a: Any, b: Any) -> Any:
    whole = not torch.is_floating_point(a if isinstance(a, Tensor) else b)
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def _boolean(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(bool(value))


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": _divide,
    "Mod": torch.remainder,
    "Pow": operator.pow,
    "Equal": operator.eq,
    "Less": operator.lt,
    "LessOrEqual": operator.le,
    "Greater": operator.gt,
    "GreaterOrEqual": operator.ge,
    "And": lambda a, b: torch.logical_and(_boolean(a), _boolean(b)),
    "Or": lambda a, b: torch.logical_or(_boolean(a), _boolean(b)),
    "Xor": lambda a, b: torch.logical_xor(_boolean(a), _boolean(b)),
}


def operand(node: Node, value: Value, partner: Tensor) -> Any:
    """A host array as the plain number that it holds, where it holds one; tensors as they are."""
    if isinstance(value, Tensor):
        return value
    if value.size != 1:
        return as_tensor(value)
    if value.ndim > partner.ndim:
        raise node.refuse(f"broadcasts a number of shape {list(value.shape)} over {partner.ndim} dimensions")
    return scalar(node, value)


def _operands(node: Node, *values: Value) -> list[Any]:
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors:  # constants, by an op that shape arithmetic does not have
        return [as_tensor(value) for value in values]
    partner = max(tensors, key=lambda tensor: tensor.ndim)
    return [operand(node, value, partner) for value in values]


def _register_unary(op_type: str, function: Callable[[Tensor], Tensor]) -> None:
    @tensor_op(op_type)
    def apply(_: Node, x: Value) -> Tensor:
        return function(as_tensor(x))


def _register_binary(op_type: str, function: Callable[[Any, Any], Any]) -> None:
    @tensor_op(op_type)
    def apply(node: Node, a: Value, b: Value) -> Tensor:
        result: Tensor = function(*_operands(node, a, b))
        return result


for _op_type, _unary in _UNARY.items():
    _register_unary(_op_type, _unary)
for _op_type, _binary in _BINARY.items():
    _register_binary(_op_type, _binary)


@tensor_op("Min", "Max")
def extreme(node: Node, *values: Value) -> Tensor:
    lower = node.op_type == "Min"

    def pick(a: Any, b: Any) -> Any:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return torch.minimum(a, b) if lower else torch.maximum(a, b)
        tensor, bound = (a, b) if isinstance(a, Tensor) else (b, a)
        return torch.clamp(tensor, max=bound) if lower else torch.clamp(tensor, min=bound)

    tensors_first = sorted(_operands(node, *values), key=lambda value: not isinstance(value, Tensor))
    result: Tensor = reduce(pick, tensors_first)
    return result


@tensor_op("Sum")
def sum_(_: Node, *values: Tensor) -> Tensor:
    total: Tensor = reduce(operator.add, values)
    return total


@tensor_op("Where")
def where(node: Node, condition: Value, a: Value, b: Value) -> Tensor:
    chosen: Tensor = torch.where(*_operands(node, as_tensor(condition), a, b))
    return chosen


@tensor_op("Cast")
def cast(node: Node, x: Tensor) -> Tensor:
    dtype = _DTYPES.get(node.integer("to"))
    if dtype is None:
        raise node.refuse(f"casts to dtype number {node.integer('to')}; export the model in float32")
    return x if x.dtype == dtype else x.to(dtype)


@tensor_op("CastLike")
def cast_like(_: Node, x: Tensor, like: Tensor) -> Tensor:
    return x if x.dtype == like.dtype else x.to(like.dtype)


@tensor_op("Identity")
def identity(_: Node, x: Tensor) -> Tensor:
    return x


@tensor_op("Dropout")
def dropout(node: Node, x: Tensor, ratio: Value | None = None, training_mode: Value | None = None) -> Tensor:
    if scalar(node, training_mode, False) or any(node.outputs[1:]):
        raise node.refuse("was exported in training mode; export after model.eval()")
    probability = scalar(node, ratio, node.real("ratio", 0.5))
    if not 0 <= probability < 1:
        raise node.broken(f"has the ratio {probability}")
    return functional.dropout(x, probability, training=False)


@tensor_op("Clip")
def clip(node: Node, x: Tensor, low: Value | None = None, high: Value | None = None) -> Tensor:
    # Before opset 11 the bounds are attributes whose defaults are the ends of float32: no bounds at all.
    bounds = [
        scalar(node, value, node.real(name) if name in node.attributes else None)
        for value, name in ((low, "min"), (high, "max"))
    ]
    return x if bounds == [None, None] else torch.clamp(x, *bounds)


@tensor_op("LeakyRelu")
def leaky_relu(node: Node, x: Tensor) -> Tensor:
    return functional.leaky_relu(x, node.real("alpha", 0.01))


@tensor_op("PRelu")
def prelu(_: Node, x: Tensor, slope: Tensor) -> Tensor:
    return functional.prelu(x, slope)


@tensor_op("Elu")
def elu(node: Node, x: Tensor) -> Tensor:
    return functional.elu(x, node.real("alpha", 1.0))


@tensor_op("Celu")
def celu(node: Node, x: Tensor) -> Tensor:
    return functional.celu(x, node.real("alpha", 1.0))


@tensor_op("Selu")
def selu(node: Node, x: Tensor) -> Tensor:
    alpha, gamma = node.real("alpha", 1.67326319217681884765625), node.real("gamma", 1.05070102214813232421875)
    return gamma * functional.elu(x, alpha)


@tensor_op("Gelu")
def gelu(node: Node, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=node.text("approximate", "none"))


@tensor_op("HardSigmoid")
def hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    alpha, beta = node.real("alpha", 0.2), node.real("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return functional.hardsigmoid(x)
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


@tensor_op("Swish")
def swish(node: Node, x: Tensor) -> Tensor:
    alpha = node.real("alpha", 1.0)
    return functional.silu(x) if alpha == 1.0 else x * torch.sigmoid(alpha * x)
