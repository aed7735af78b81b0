"""Tar archives from strangers, plain or gzipped, read member by member and never extracted."""

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from worker.formats.paths import unsafe_path
from worker.formats.zips import BadArchive, HostileArchive

__all__ = ["tar_files"]

_MOST_MEMBERS = 1_000_000
_HEADER_BYTES = 1 << 20
"""Largest header with a long name or other details; real ones have a few kilobytes; they are kept in memory."""

_HEADER_TYPES = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)

_BROKEN = (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, zlib.error, struct.error, RecursionError)


class _Bounded(io.RawIOBase):
    """A stream that gives at most `most` bytes."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream = stream
        self._left = most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise HostileArchive("the tar archive swells to more than the limit of this service")
        return data


class _Member(tarfile.TarInfo):
    """A header whose details are bounded before they are read."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _HEADER_TYPES and member.size > _HEADER_BYTES:
            raise HostileArchive(f"the tar archive has a header of {member.size:,} bytes; at most {_HEADER_BYTES:,}")
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise HostileArchive(f"member {member.name!r} is a sparse file")
        return member


def tar_files(path: Path, most_bytes: int, file_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a `.tar` or `.tar.gz`, in the order of the archive.

    Raises:
        BadArchive: damaged or truncated.
        HostileArchive: links, devices, escaping or duplicate names, a file above `file_bytes`, or more than
            `most_bytes` in all, headers and padding included.
    """
    seen: set[str] = set()
    members = 0
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if compressed else raw  # type: ignore[assignment] # read() is all that is used
            bounded = _Bounded(stream, most_bytes)
            with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Member) as archive:
                for member in archive:
                    # The archive keeps every header it has seen; a stream is never asked for them again.
                    archive.members.clear()  # type: ignore[attr-defined] # not in the stubs
                    members += 1
                    if members > _MOST_MEMBERS:
                        raise HostileArchive(f"the tar archive has more than {_MOST_MEMBERS:,} members")
                    _check(member, seen, file_bytes)
                    if member.isdir():
                        continue
                    content = archive.extractfile(member)
                    assert content is not None
                    data = content.read()
                    if len(data) != member.size:
                        raise BadArchive(f"the tar archive ends in the middle of {member.name!r}")
                    yield member.name, data
    except _BROKEN as error:
        raise BadArchive(f"the tar archive is damaged: {error}") from error


def _check(member: tarfile.TarInfo, seen: set[str], file_bytes: int) -> None:
    name = member.name
    if (reason := unsafe_path(name)) is not None:
        raise HostileArchive(f"member {name[:200]!r} {reason}")
    if not (member.isdir() or (member.isreg() and not member.issparse())):
        kind = "a symbolic link" if member.issym() else "a hard link" if member.islnk() else "no ordinary file"
        raise HostileArchive(f"member {name!r} is {kind}")
    if member.size > file_bytes:
        raise HostileArchive(f"member {name!r} has {member.size:,} bytes; at most {file_bytes:,} per file")
    if member.isdir():
        return
    if name in seen:
        raise HostileArchive(f"member {name!r} occurs twice")
    seen.add(name)
