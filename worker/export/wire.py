"""ONNX files written and skimmed piece by piece: weights go from memory to the file one at a time.

A serialised message is the sequence of its fields, each a tag, a length and its bytes, and two messages one after the
other are their union (https://protobuf.dev/programming-guides/encoding). So a model is written as what comes before
its weights, the weights, and what comes after them, in the order in which protobuf itself writes fields, without ever
being a message in memory, which would be two copies more of the weights.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

__all__ = ["Weight", "opset_in", "write_inline", "write_outside"]

Weight = tuple[TensorProto, npt.NDArray[np.generic]]
"""Name, type and shape of a tensor, and its values, contiguous and little-endian."""

_GRAPH, _OPSET_IMPORT = 7, 8  # of ModelProto
_INITIALIZER = 5  # of GraphProto
_RAW_DATA = 9  # of TensorProto
_BYTES, _VARINT = 2, 0  # wire types
_FIXED = {1: 8, 5: 4}

_BEFORE_GRAPH = ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string")
_BEFORE_WEIGHTS = ("node", "name")
_ALIGNMENT = 4096
"""Of tensors outside of the model file: a page, so that runtimes can map them."""
_SMALL = 1024
"""Bytes up to which a tensor stays in the model file: ONNX Runtime infers shapes from the values of some (axes)."""


def write_inline(model: onnx.ModelProto, weights: Sequence[Weight], path: Path) -> int:
    """Write `model`, whose graph has no initializers, with `weights` in their place; answers the size in bytes, which
    protobuf limits to 2 GiB. The bytes are those that the deterministic serialisation of the whole would have."""
    before, after = _parted(model.graph, _BEFORE_WEIGHTS)
    heads = [_tensor_head(tensor, values.nbytes) for tensor, values in weights]
    lengths = [len(head) + values.nbytes for head, (_, values) in zip(heads, weights, strict=True)]
    frames = [_tag(_INITIALIZER) + _varint(length) for length in lengths]
    size = len(before) + len(after) + sum(map(len, frames)) + sum(lengths)
    first, last = _parted(model, _BEFORE_GRAPH, leave="graph")
    with path.open("wb") as file:
        file.write(first + _tag(_GRAPH) + _varint(size) + before)
        for frame, head, (_, values) in zip(frames, heads, weights, strict=True):
            file.write(frame + head)
            _write_values(file, values)
        file.write(after + last)
        return file.tell()


def write_outside(model: onnx.ModelProto, weights: Iterable[Weight], path: Path, data: Path) -> None:
    """Write `model`, whose graph has no initializers, to `path` and `weights` to `data` in the same folder, but for
    small ones."""
    with data.open("wb") as file:
        for tensor, values in weights:
            entry = model.graph.initializer.add()
            entry.CopyFrom(tensor)
            if values.nbytes <= _SMALL:
                entry.raw_data = values.tobytes()
                continue
            file.write(bytes(-file.tell() % _ALIGNMENT))
            entry.data_location = TensorProto.EXTERNAL
            for key, value in (("location", data.name), ("offset", file.tell()), ("length", values.nbytes)):
                entry.external_data.add(key=key, value=str(value))
            _write_values(file, values)
    path.write_bytes(model.SerializeToString(deterministic=True))


def opset_in(path: Path) -> int:
    """Version of the standard operators that the model imports, without reading its graph."""
    with path.open("rb") as file:
        while (tag := _read_varint(file)) is not None:
            field, kind = tag >> 3, tag & 7
            length = _FIXED.get(kind, 0) if kind != _BYTES else _read_varint(file) or 0
            if kind == _VARINT:
                _read_varint(file)
            elif field == _OPSET_IMPORT:
                entry = onnx.OperatorSetIdProto.FromString(file.read(length))
                if entry.domain == "":
                    return int(entry.version)
            else:
                file.seek(length, 1)
    raise ValueError(f"{path.name} imports no standard operators")


def _parted(message: onnx.ModelProto | onnx.GraphProto, first: Sequence[str], leave: str = "") -> tuple[bytes, bytes]:
    """The fields `first`, and the others without `leave`."""
    parts = []
    for wanted in (True, False):
        part = type(message)()
        part.CopyFrom(message)
        for field, _ in message.ListFields():
            if (field.name in first) != wanted or field.name == leave:
                part.ClearField(field.name)
        parts.append(part.SerializeToString(deterministic=True))
    return parts[0], parts[1]


def _tensor_head(tensor: TensorProto, size: int) -> bytes:
    """The tensor up to its values."""
    fields: bytes = tensor.SerializeToString(deterministic=True)
    return fields + _tag(_RAW_DATA) + _varint(size)


def _write_values(file: BinaryIO, values: npt.NDArray[np.generic]) -> None:
    file.write(values.reshape(-1).view(np.uint8).data)


def _tag(field: int) -> bytes:
    return _varint(field << 3 | _BYTES)


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _read_varint(file: BinaryIO) -> int | None:
    """None at the end of the file."""
    number = shift = 0
    while byte := file.read(1):
        number |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return number
    return None
