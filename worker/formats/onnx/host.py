"""Shape arithmetic: ONNX ops on host arrays (see `values`), as exporters write it around Reshape, Expand and Pad."""

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from onnx import TensorProto

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import HostArray, NotOnHost, host_op, scalar, sizes

__all__ = ["MAX_HOST_SIZE", "host_array", "shape_of"]

MAX_HOST_SIZE = 4096
"""Most values of a host array. Shapes have a handful; what is larger is data."""
_LARGEST = 2**31
"""Most values that a constant can sensibly have."""


def host_array(value: Any) -> HostArray:
    return np.asarray(value, dtype=object)


def shape_of(node: Node, shape: Sequence[Any]) -> HostArray:
    """What Shape and Size answer for a tensor of `shape`."""
    if node.op_type == "Size":
        return host_array(math.prod(shape))
    return host_array(list(shape))[node.integer("start", 0) : node.integer("end", len(shape))]


def _bounded(node: Node, count: Any) -> None:
    if isinstance(count, int) and count > _LARGEST:
        raise node.refuse(f"makes a constant of {count} values")
    if not isinstance(count, int) or count > MAX_HOST_SIZE:
        raise NotOnHost


def _settled(numbers: Iterable[Any]) -> None:
    """numpy would take a free size for the number that it was traced with."""
    if any(isinstance(number, torch.SymInt) for number in numbers):
        raise NotOnHost


def _elementwise(function: Callable[..., Any]) -> Callable[..., HostArray]:
    def apply(node: Node, *arrays: HostArray) -> HostArray:
        shapes = np.broadcast_shapes(*(array.shape for array in arrays))
        _bounded(node, math.prod(shapes))
        return host_array(np.frompyfunc(function, len(arrays), 1)(*arrays))

    return apply


def _divide(a: Any, b: Any) -> Any:
    """ONNX divides integers towards zero; sizes are never negative, so that floor and truncation agree on them."""
    if isinstance(a, int) and isinstance(b, int):
        quotient = abs(a) // abs(b)
        return quotient if (a < 0) == (b < 0) else -quotient
    return a // b if _is_integer(a) and _is_integer(b) else a / b


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | torch.SymInt)


_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": _divide,
    "Mod": operator.mod,
    "Neg": operator.neg,
    "Abs": abs,
    "Floor": math.floor,
    "Ceil": math.ceil,
    "Sqrt": math.sqrt,
    "Equal": operator.eq,
    "Less": operator.lt,
    "LessOrEqual": operator.le,
    "Greater": operator.gt,
    "GreaterOrEqual": operator.ge,
    "Not": operator.not_,
    "And": lambda a, b: bool(a) and bool(b),
    "Or": lambda a, b: bool(a) or bool(b),
    "Where": lambda condition, a, b: a if condition else b,
    "Identity": lambda a: a,
}
for _op_type, _function in _ELEMENTWISE.items():
    host_op(_op_type)(_elementwise(_function))


@host_op("Min", "Max")
def extreme(node: Node, *arrays: HostArray) -> HostArray:
    pick = min if node.op_type == "Min" else max
    return reduce(lambda a, b: _elementwise(pick)(node, a, b), arrays)


@host_op("Cast")
def cast(node: Node, array: HostArray) -> HostArray:
    to = node.integer("to")
    if to in (TensorProto.INT64, TensorProto.INT32):
        return _elementwise(lambda a: a if _is_integer(a) and not isinstance(a, bool) else int(a))(node, array)
    if to in (TensorProto.FLOAT, TensorProto.DOUBLE):
        return _elementwise(lambda a: 1.0 * a if isinstance(a, torch.SymInt) else float(a))(node, array)
    if to == TensorProto.BOOL:
        return _elementwise(bool)(node, array)
    raise node.refuse(f"casts sizes to dtype number {to}")


@host_op("Concat")
def concat(node: Node, *arrays: HostArray) -> HostArray:
    _bounded(node, sum(array.size for array in arrays))
    return np.concatenate(arrays, axis=node.integer("axis"))


@host_op("Gather")
def gather(node: Node, array: HostArray, indices: HostArray) -> HostArray:
    _bounded(node, array.size * indices.size)
    _settled(indices.reshape(-1))
    return host_array(np.take(array, indices.astype(np.int64), axis=node.integer("axis", 0)))


@host_op("Slice")
def slice_(
    node: Node,
    array: HostArray,
    starts: HostArray | None = None,
    ends: HostArray | None = None,
    axes: HostArray | None = None,
    steps: HostArray | None = None,
) -> HostArray:
    firsts = sizes(node, starts) if starts is not None else node.integers("starts")
    lasts = sizes(node, ends) if ends is not None else node.integers("ends")
    assert firsts is not None
    assert lasts is not None
    where = sizes(node, axes) if axes is not None else node.integers("axes", range(len(firsts)))
    strides = sizes(node, steps) if steps is not None else [1] * len(firsts)
    _settled([*firsts, *lasts])
    cut = [slice(None)] * array.ndim
    for axis, first, last, stride in zip(where or [], firsts, lasts, strides, strict=True):
        # Going down, an end before the first element is written as a large negative number; Python says None.
        cut[axis] = slice(first, None if stride < 0 and last < -array.shape[axis] else last, stride)
    return host_array(array[tuple(cut)])


@host_op("Squeeze")
def squeeze(node: Node, array: HostArray, axes: HostArray | None = None) -> HostArray:
    where = sizes(node, axes) if axes is not None else node.integers("axes", None)
    return np.squeeze(array, axis=None if where is None else tuple(where))


@host_op("Unsqueeze")
def unsqueeze(node: Node, array: HostArray, axes: HostArray | None = None) -> HostArray:
    where = sizes(node, axes) if axes is not None else node.integers("axes")
    assert where is not None
    return np.expand_dims(array, tuple(where))


@host_op("Reshape")
def reshape(node: Node, array: HostArray, shape: HostArray) -> HostArray:
    wanted = sizes(node, shape)
    _settled(wanted)
    kept = [array.shape[i] if size == 0 and not node.integer("allowzero", 0) else size for i, size in enumerate(wanted)]
    return array.reshape(kept)


@host_op("Transpose")
def transpose(node: Node, array: HostArray) -> HostArray:
    return np.transpose(array, node.integers("perm", None))


@host_op("Expand")
def expand(node: Node, array: HostArray, shape: HostArray) -> HostArray:
    asked = sizes(node, shape)
    _bounded(node, math.prod(asked))
    wanted = np.broadcast_shapes(array.shape, tuple(asked))
    return np.broadcast_to(array, wanted)


@host_op("Tile")
def tile(node: Node, array: HostArray, repeats: HostArray) -> HostArray:
    times = sizes(node, repeats)
    _bounded(node, array.size * math.prod(times))
    return np.tile(array, times)


@host_op("ConstantOfShape")
def constant_of_shape(node: Node, shape: HostArray) -> HostArray:
    wanted = sizes(node, shape)
    _bounded(node, math.prod(wanted))
    if any(size < 0 for size in wanted):
        raise node.broken(f"makes a constant of shape {wanted}")
    value = node.attributes.get("value")
    filled = np.empty(wanted, dtype=object)
    filled[...] = value.reshape(-1)[0].item() if isinstance(value, np.ndarray) and value.size else 0.0
    return filled


@host_op("Range")
def range_(node: Node, start: HostArray, limit: HostArray, delta: HostArray) -> HostArray:
    first, last, step = (scalar(node, value) for value in (start, limit, delta))
    if not all(isinstance(value, int | float) for value in (first, last, step)):
        raise NotOnHost
    _bounded(node, math.ceil((last - first) / step))
    return host_array(np.arange(first, last, step).tolist())


@host_op("ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin")
def reduce_all(node: Node, array: HostArray, _axes: HostArray | None = None) -> HostArray:
    if array.ndim > 1:
        raise node.refuse("reduces a constant of more than one dimension")
    functions: dict[str, Callable[[list[Any]], Any]] = {
        "ReduceProd": math.prod,
        "ReduceSum": sum,
        "ReduceMax": max,
        "ReduceMin": min,
    }
    result = host_array(functions[node.op_type](array.reshape(-1).tolist()))
    return result.reshape((1,) * array.ndim if node.integer("keepdims", 1) else ())
