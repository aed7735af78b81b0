"""Which kind of model a file is, by its content, and the reader for it. Names and content types prove nothing."""

import zipfile
from collections.abc import Callable
from pathlib import Path

from worker.errors import MalformedModel, UnreadableModel, UnsafeModel, UnsupportedModel
from worker.formats.advice import EXPORT_ADVICE, UNPICKLE_ADVICE
from worker.formats.pt2 import read_pt2
from worker.formats.zips import BadArchive, HostileArchive, checked_zip
from worker.graph.network import Network
from worker.graph.vocabulary import with_table_rows
from worker.order import ChildLimits

__all__ = ["read_model"]

_HEAD = 512
_ONNX_FIELDS = frozenset({0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72, 0xA2})
"""First bytes of a serialised ModelProto: the tag of any of its fields."""

_OTHERS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (lambda head: head.startswith(b"\x89HDF\r\n\x1a\n"), "an HDF5 file (Keras or TensorFlow weights)"),
    (lambda head: head[4:8] == b"TFL3", "a TensorFlow Lite model"),
    (lambda head: head[4:8] in (b"ET12", b"ET13"), "an ExecuTorch program"),
    (lambda head: head.startswith(b"GGUF"), "a GGUF file"),
    (lambda head: head.startswith(b"\x93NUMPY"), "a NumPy array"),
    (lambda head: head.startswith(b"\x1f\x8b"), "a gzip file"),
    (lambda head: head[257:262] == b"ustar", "a tar archive"),
    (lambda head: head[8:9] == b"{" and head[3:8] == bytes(5), "a safetensors file: weights without a network"),
)


def read_model(path: Path, limits: ChildLimits) -> Network:
    """Read a `.pt2` or an ONNX file.

    Raises:
        UnsafeModel: a pickle, TorchScript, or an archive made to mislead.
        UnsupportedModel: another format, or a model with something that has no support; named.
        MalformedModel: damaged, or of no known format.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, path.stat().st_size - 1))
        last = file.read(1)
    if not head:
        raise MalformedModel("the file is empty")
    if head.startswith(b"PK"):
        return with_table_rows(_read_zip(path, limits))
    if head[0] == 0x80 and len(head) > 1 and head[1] <= 5:
        raise UnsafeModel(f"the file is a pickle (protocol {head[1]}), which is a program. {UNPICKLE_ADVICE}")
    if head[:1] in b"c(}]" and last == b"." and head.isascii():
        raise UnsafeModel(f"the file is a pickle (protocol 0), which is a program. {UNPICKLE_ADVICE}")
    for matches, what in _OTHERS:
        if matches(head):
            raise UnsupportedModel(f"the file is {what}; .pt2 and .onnx models are read. {EXPORT_ADVICE}")
    if head[0] in _ONNX_FIELDS:
        # Imported here: a .pt2 needs none of the ONNX libraries, which take a second to import.
        from worker.formats.onnx import read_onnx

        return with_table_rows(read_onnx(path, limits))
    raise MalformedModel(f"the file is no model: it begins with {head[:8].hex(' ')}. {EXPORT_ADVICE}")


def _read_zip(path: Path, limits: ChildLimits) -> Network:
    try:
        with checked_zip(path, methods=(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)) as archive:
            refusal = _foreign(archive.namelist())
    except BadArchive as error:
        raise MalformedModel(str(error)) from error
    except HostileArchive as error:
        raise UnsafeModel(f"{error}. {EXPORT_ADVICE}") from error
    if refusal is not None:
        raise refusal
    return read_pt2(path, limits)


def _foreign(names: list[str]) -> UnreadableModel | None:
    """Why this archive is no `.pt2`; None when it looks like one."""
    inner = {name.partition("/")[2]: name for name in names}
    if any(name.startswith("code/") for name in inner) and "constants.pkl" in inner:
        return UnsafeModel(
            f"the file is TorchScript (member {inner['constants.pkl']!r}), which is a program. Export the module it "
            f"was scripted from. {EXPORT_ADVICE}"
        )
    if "data.pkl" in inner:
        return UnsafeModel(
            f"the file was written by torch.save (member {inner['data.pkl']!r} is a pickle, which is a program). "
            f"{UNPICKLE_ADVICE}"
        )
    if names and all(name.endswith(".npy") for name in names):
        return UnsupportedModel("the file is an .npz with arrays: upload it to /v1/datasets")
    if "metadata.json" in names and "config.json" in names:
        return UnsupportedModel(f"the file is a Keras model; .pt2 and .onnx models are read. {EXPORT_ADVICE}")
    return None
