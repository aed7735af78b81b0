"""Zip archives from strangers: opened only when the table of contents is small, unambiguous and plain.

Python's `zipfile` believes the table of contents. What is checked here, before any member is read: its size (it is
read into memory whole), names (unique, relative, no `..`), kinds (no links, no encryption), and compression methods.
Sizes stay claims: whoever reads a member bounds what really comes out of it.
"""

import stat
import struct
import zipfile
from collections.abc import Collection
from pathlib import Path

from worker.formats.paths import unsafe_path

__all__ = ["BadArchive", "HostileArchive", "checked_zip"]

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_DIRECTORY_BYTES = 32 * 1024 * 1024
"""Largest table of contents: about 300,000 members with ordinary names."""

_METHODS = {
    zipfile.ZIP_STORED: "stored",
    zipfile.ZIP_DEFLATED: "deflate",
    zipfile.ZIP_BZIP2: "bzip2",
    zipfile.ZIP_LZMA: "lzma",
}


class BadArchive(Exception):
    """The archive is damaged."""


class HostileArchive(Exception):
    """The archive is one that no ordinary program writes."""


def checked_zip(path: Path, methods: Collection[int] = (zipfile.ZIP_STORED,)) -> zipfile.ZipFile:
    """Open `path` for reading. Members are encoded by one of `methods`.

    Raises:
        BadArchive: not a zip archive, truncated, or its table of contents is broken.
        HostileArchive: duplicate, absolute or escaping names, links, encryption, another compression method.
    """
    _check_directory_size(path)
    try:
        archive = zipfile.ZipFile(path)
    except (
        zipfile.BadZipFile,
        UnicodeDecodeError,
        ValueError,
        OverflowError,
        struct.error,
        NotImplementedError,
    ) as error:
        raise BadArchive(f"the zip archive is damaged: {error}") from error
    try:
        _check_members(archive.infolist(), methods)
    except BaseException:
        archive.close()
        raise
    return archive


def _check_directory_size(path: Path) -> None:
    """The size of the table of contents, as the end record gives it, which is what `zipfile` will read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = max(0, size - 0xFFFF - _END.size - 20 - _END64.size)
        file.seek(start)
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise BadArchive(
            "the zip archive is damaged: its end record is missing, so the file is probably truncated; upload it again"
        )
    *_, directory, _, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        # Otherwise the end record of an archive inside a truncated archive would be taken for its own.
        raise BadArchive(
            "the zip archive is damaged: it does not end with its end record, so it is probably truncated; "
            "upload it again"
        )
    at64 = tail.rfind(b"PK\x06\x06", 0, at)
    if at64 >= 0 and at64 + _END64.size <= len(tail):
        directory = max(directory if directory != 0xFFFFFFFF else 0, _END64.unpack_from(tail, at64)[8])
    if directory > _DIRECTORY_BYTES:
        raise HostileArchive(
            f"the zip archive's table of contents has {directory:,} bytes; at most {_DIRECTORY_BYTES:,}"
        )


def _check_members(members: list[zipfile.ZipInfo], methods: Collection[int]) -> None:
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if (reason := unsafe_path(name)) is not None:
            raise HostileArchive(f"member {name!r} {reason}")
        if name in seen:
            raise HostileArchive(f"member {name!r} occurs twice")
        seen.add(name)
        if member.flag_bits & 0x1:
            raise HostileArchive(f"member {name!r} is encrypted")
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
            raise HostileArchive(f"member {name!r} is {kind}")
        if member.compress_type not in methods:
            found = _METHODS.get(member.compress_type, f"method {member.compress_type}")
            allowed = ", ".join(_METHODS[method] for method in methods)
            raise HostileArchive(f"member {name!r} is compressed with {found}; only {allowed} is read here")
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise HostileArchive(f"member {name!r} is stored, but gives two sizes")
