"""The outer layer of a `.pt2`: which members there are, and which of them are read.

A `.pt2` is a zip of stored members below one root folder (torch/export/pt2_archive). `torch.export.load` unpickles,
evaluates or dlopens several of them. Here a member is either read as JSON or raw bytes, or known and skipped, or a
reason to refuse the file.
"""

import re
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.errors import MalformedModel, UnsafeModel, UnsupportedModel
from worker.formats.advice import EXPORT_ADVICE
from worker.formats.zips import BadArchive, HostileArchive, checked_zip

__all__ = ["Pt2Archive"]

_JSON_BYTES = 64 * 1024 * 1024
"""Largest JSON member. ResNet-20 has 0.13 MB; a graph at the node limit has about 40 MB."""

_BLOCK_BYTES = 1024 * 1024

_READ = re.compile(
    r"models/(?P<model>\w{1,64})\.json"
    r"|data/(weights/\w{1,64}_weights|constants/\w{1,64}_constants)_config\.json"
    r"|data/(weights/weight|constants/tensor)_\d{1,7}"
    r"|byteorder"
)
_PAYLOAD = re.compile(r"data/(weights/weight|constants/tensor)_\d{1,7}")
_SKIPPED = re.compile(
    r"data/sample_inputs/\w{1,64}\.pt|archive_format|archive_version|\.format_version|\.data/[\w.]{1,64}|extra/.{1,200}|version"
)
_PROGRAMS = (
    (re.compile(r"data/(weights|constants)/.*\.pt"), "holds weights as a pickle, as torch before 2.9 wrote them"),
    (re.compile(r"data/constants/(custom|opaque)_obj_.*"), "holds a pickled object"),
    (re.compile(r"data/aotinductor/.*"), "holds compiled machine code"),
    (re.compile(r"serialized_(exported_program\.json|.*\.pt)"), "belongs to the pickled layout of torch before 2.8"),
)


class Pt2Archive:
    """An open `.pt2`, whose members were checked. Names are given without the root folder.

    Raises on opening:
        MalformedModel: a damaged archive, or not the layout of a `.pt2`.
        UnsafeModel: members that are programs, or names that no exporter writes.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = checked_zip(path)
        except BadArchive as error:
            raise MalformedModel(str(error)) from error
        except HostileArchive as error:
            raise UnsafeModel(f"{error}; torch.export.save writes no such archive. {EXPORT_ADVICE}") from error
        try:
            self._members = self._without_root(self._zip.infolist())
            self.model_name = self._check()
            if sum(member.file_size for member in self._members.values()) > path.stat().st_size:
                raise MalformedModel("the members of the zip archive overlap")
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._zip.close()

    @property
    def payload_bytes(self) -> int:
        """Bytes of all stored tensors."""
        return sum(member.file_size for name, member in self._members.items() if _PAYLOAD.fullmatch(name))

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def json_member(self, name: str) -> bytes:
        """The bytes of a JSON member. Raises MalformedModel when it is missing, damaged or too long."""
        size = self._member(name).file_size
        if size > _JSON_BYTES:
            raise MalformedModel(f"{name} has {size:,} bytes; at most {_JSON_BYTES:,} are read")
        return self.raw_member(name)

    def raw_member(self, name: str) -> bytes:
        """The bytes of a member. Raises MalformedModel when it is missing or damaged."""
        content = bytearray(self.size_of(name))
        self.read_into(name, memoryview(content))
        return bytes(content)

    def size_of(self, name: str) -> int:
        """Bytes of a member. All members together have no more than the file. Raises MalformedModel when missing."""
        return self._member(name).file_size

    def read_into(self, name: str, memory: memoryview) -> None:
        """Fill `memory`, which has `size_of` the member, with its bytes. Raises MalformedModel when it is damaged."""
        member, found = self._member(name), 0
        try:
            with self._zip.open(member) as stream:
                while block := stream.read(_BLOCK_BYTES):
                    memory[found : found + len(block)] = block
                    found += len(block)
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise MalformedModel(f"{name} is damaged: {error}") from error
        if found != member.file_size:
            raise MalformedModel(f"{name} has {found:,} of the {member.file_size:,} bytes that the archive promises")

    def _member(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._members[name]
        except KeyError:
            raise MalformedModel(f"the archive has no member {name}") from None

    @staticmethod
    def _without_root(members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        files = [member for member in members if not member.is_dir()]
        roots = {member.filename.partition("/")[0] for member in files}
        if len(roots) != 1:
            raise MalformedModel("the archive has no single root folder, so it is not a .pt2")
        return {member.filename.partition("/")[2]: member for member in files}

    def _check(self) -> str:
        models = []
        for name in self._members:
            if found := _READ.fullmatch(name):
                models += [found["model"]] if found["model"] else []
                continue
            for pattern, reason in _PROGRAMS:
                if pattern.fullmatch(name):
                    raise UnsafeModel(f"member {name!r} {reason}, which is a program. {EXPORT_ADVICE}")
            if not _SKIPPED.fullmatch(name):
                raise MalformedModel(f"member {name!r} does not belong in a .pt2. {EXPORT_ADVICE}")
        if len(models) != 1:
            raise UnsupportedModel(f"the archive holds {len(models)} models; exactly one is read")
        if "byteorder" in self._members and self.raw_member("byteorder").strip() != b"little":
            raise UnsupportedModel("the weights are not stored in little-endian byte order")
        return str(models[0])
