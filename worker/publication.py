"""Look at what a child made before it is published."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from worker.order import MadeFile

__all__ = ["NotPublishable", "secure"]


class NotPublishable(Exception):
    """A file is not what the child said it is."""


def secure(folder: Path, files: Iterable[MadeFile]) -> None:
    """Make sure that every file is a plain one in the folder, of the size that was said, and that the disk has it.

    The digests are the child's word: whoever controlled the child could choose the bytes anyway. Raises NotPublishable.
    """
    seen: set[str] = set()
    for file in files:
        if file.name in seen or file.name != Path(file.name).name or file.name.startswith("."):
            raise NotPublishable(f"{file.name!r} is not the name of an artifact")
        seen.add(file.name)
        try:
            descriptor = os.open(folder / file.name, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            raise NotPublishable(f"{file.name!r} cannot be opened: {error}") from error
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size != file.size_bytes:
                raise NotPublishable(f"{file.name!r} has {found.st_size} bytes instead of {file.size_bytes}")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
