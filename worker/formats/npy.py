"""Arrays of an `.npz`: NumPy's format 1 to 3 (numpy/lib/format.py), read without pickle and bounded before allocation.

The header is a Python literal; NumPy evaluates it, here it must match one pattern.
"""

import math
import re
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from worker.errors import MalformedDataset, UnsafeDataset

__all__ = ["ArrayHeader", "read_array", "read_header"]

_MAGIC = b"\x93NUMPY"
_HEADER_BYTES = 10_000
_CHUNK = 1 << 20
_LAST_CODE_POINT = 0x10FFFF
_HEADER = re.compile(
    r"\{'descr': (?P<descr>'[^']{1,16}'|\[.*\]), 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>[0-9, ]{0,200})\),? ?\} *\n?",
    re.DOTALL,
)
_DTYPE = re.compile(r"[<>|=](b1|[iu][1248]|f[248]|[SU][1-9]\d{0,5})")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError)


@dataclass(frozen=True)
class ArrayHeader:
    """What an array says about itself. `name` is the name of the array, without `.npy`."""

    name: str
    member: zipfile.ZipInfo
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    fortran_order: bool

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def length(self) -> int:
        """Size of the first axis; 0 for a single number."""
        return self.shape[0] if self.shape else 0


def read_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> ArrayHeader:
    """The header of an array, without its values.

    Raises:
        UnsafeDataset: an array of Python objects, which only pickle can hold.
        MalformedDataset: no NumPy array, or one of a kind that has no support.
    """
    name = member.filename.removesuffix(".npy")
    try:
        with archive.open(member) as stream:
            text = _header_text(stream, name)
    except _BROKEN as error:
        raise MalformedDataset(f"the array {name!r} is damaged: {error}") from error
    return _parse(text, name, member)


def read_array(archive: zipfile.ZipFile, header: ArrayHeader) -> npt.NDArray[np.generic]:
    """The values of an array, C-contiguous and in native byte order.

    Raises MalformedDataset when there are fewer or more bytes than the header says.
    """
    data = np.empty(header.nbytes, dtype=np.uint8)
    target = data.data
    filled = 0
    try:
        with archive.open(header.member) as stream:
            _header_text(stream, header.name)
            while filled < len(target) and (chunk := stream.read(min(_CHUNK, len(target) - filled))):
                target[filled : filled + len(chunk)] = chunk
                filled += len(chunk)
            longer = stream.read(1)
    except _BROKEN as error:
        raise MalformedDataset(f"the array {header.name!r} is damaged: {error}") from error
    if filled != len(target) or longer:
        raise MalformedDataset(
            f"the array {header.name!r} of shape {header.shape} needs {len(target):,} bytes and has "
            f"{'more' if longer else format(filled, ',')}"
        )
    if header.dtype.kind == "U" and bool((data.view(f"{header.dtype.byteorder}u4") > _LAST_CODE_POINT).any()):
        raise MalformedDataset(f"the array {header.name!r} holds numbers that are no characters")
    if header.dtype.kind == "b" and bool((data > 1).any()):
        raise MalformedDataset(f"the array {header.name!r} holds bytes that are neither true nor false")
    array = data.view(header.dtype).reshape(header.shape, order="F" if header.fortran_order else "C")
    return np.ascontiguousarray(array, dtype=header.dtype.newbyteorder("="))


def _header_text(stream: IO[bytes], name: str) -> str:
    magic = stream.read(8)
    if magic[:6] != _MAGIC or len(magic) < 8 or magic[6] not in (1, 2, 3):
        raise MalformedDataset(f"the member '{name}.npy' is no NumPy array")
    size = int.from_bytes(stream.read(2 if magic[6] == 1 else 4), "little")
    if size > _HEADER_BYTES:
        raise MalformedDataset(f"the array {name!r} has a header of {size:,} bytes; at most {_HEADER_BYTES:,}")
    header = stream.read(size)
    if len(header) != size:
        raise MalformedDataset(f"the array {name!r} is truncated")
    return header.decode("utf-8" if magic[6] == 3 else "latin-1")


def _parse(text: str, name: str, member: zipfile.ZipInfo) -> ArrayHeader:
    found = _HEADER.fullmatch(text)
    if found is None:
        raise MalformedDataset(f"the array {name!r} has a header that NumPy does not write")
    descr = found["descr"].strip("'")
    if descr.startswith("|O"):
        raise UnsafeDataset(
            f"the array {name!r} holds Python objects, which are stored as a pickle, a program. Convert it before "
            f"saving: numpy.asarray({name}, dtype=...) or, for texts, numpy.asarray({name}, dtype=str)"
        )
    if not _DTYPE.fullmatch(descr):
        raise MalformedDataset(
            f"the array {name!r} has dtype {descr[:40]!r}; integers, floats, booleans and texts are read"
        )
    try:
        shape = tuple(int(size) for size in found["shape"].replace(",", " ").split())
        dtype = np.dtype(descr)
    except (TypeError, ValueError) as error:
        raise MalformedDataset(f"the array {name!r} has a header that NumPy does not write: {error}") from error
    if len(shape) > 32 or any(size >= 2**48 for size in shape):
        raise MalformedDataset(f"the array {name!r} has an impossible shape")
    return ArrayHeader(name, member, dtype, shape, found["fortran"] == "True")
