"""Bytes of an ONNX tensor to a numpy array: inline data only, every size checked against its payload first."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, numpy_helper

from worker.errors import MalformedModel, UnsafeModel, UnsupportedModel

__all__ = ["read_tensor"]

_DTYPES: dict[int, npt.DTypeLike] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.INT64: np.int64,
    TensorProto.INT32: np.int32,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
    TensorProto.BOOL: np.bool_,
}
_TYPED_FIELDS: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
}
_INLINE = "save it with its weights inside: onnx.save(model, path, save_as_external_data=False)"


def read_tensor(tensor: TensorProto, where: str) -> npt.NDArray[Any]:
    """The array of `tensor`. `where` names it in messages.

    Raises UnsafeModel for data outside the file, UnsupportedModel for a dtype without support, MalformedModel for
    a payload that is not as long as the shape says, and for NaN.
    """
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise UnsafeModel(f"{where} keeps its data in another file; {_INLINE}")
    dtype = _DTYPES.get(tensor.data_type)
    if dtype is None:
        raise UnsupportedModel(
            f"{where} has dtype {_dtype_name(tensor.data_type)}; supported are float32, float64, int64, int32, int8, "
            "uint8 and bool. Export the model in float32, without quantisation"
        )
    if tensor.HasField("segment"):
        raise UnsupportedModel(f"{where} is stored in segments; save the model again with a current onnx")
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise MalformedModel(f"{where} has the shape {list(shape)}")
    _check_payload(tensor, shape, np.dtype(dtype), where)
    array = numpy_helper.to_array(tensor)
    # The minimum hands on NaN, and takes no memory.
    if array.dtype.kind == "f" and array.size and np.isnan(array.min()):
        raise MalformedModel(f"{where} holds NaN; the model cannot compute with it")
    return array


def _check_payload(tensor: TensorProto, shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    numel = math.prod(shape)
    if tensor.HasField("raw_data"):
        found, wanted, unit = len(tensor.raw_data), numel * dtype.itemsize, "bytes"
    else:
        found, wanted, unit = len(getattr(tensor, _TYPED_FIELDS.get(tensor.data_type, "int32_data"))), numel, "values"
    if found != wanted:
        raise MalformedModel(f"{where} of shape {list(shape)} needs {wanted} {unit} and has {found}")


def _dtype_name(data_type: int) -> str:
    names: dict[int, str] = {number: name for name, number in TensorProto.DataType.items()}
    return names.get(data_type, f"number {data_type}").lower()
