"""Bytes on disk: uploads by their digest, and the folders of jobs.

staging/<random>                bodies that are still arriving
blobs/sha256/ab/abcdef…         uploads
jobs/<id>/work/                 checkpoints, shared by the attempts of a job
jobs/<id>/attempt-<n>/          what an attempt made; artifacts once it has won
"""

import asyncio
import errno
import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

__all__ = ["Blobs", "DiskFull", "Staged", "TooManyBytes"]

_BATCH = 1024 * 1024
_MANY = 64  # pieces of a batch above which they are small, and joined


class TooManyBytes(Exception):
    """More bytes arrived than are allowed."""


class DiskFull(Exception):
    """The disk has too little space left."""


class Blobs:
    """A local folder. All paths are made here, from digests, ids and numbers; none can leave the folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def prepare(self) -> None:
        """Make the folders."""
        for folder in ("staging", "blobs/sha256", "jobs"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the bytes with this digest are."""
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise ValueError(f"{sha256!r} is not a SHA-256 digest in hex")
        return self.root / "blobs" / "sha256" / sha256[:2] / sha256

    def work_dir(self, job_id: str) -> Path:
        """Folder of a job that outlives its attempts; made when missing."""
        return self._job_dir(job_id, "work")

    def attempt_dir(self, job_id: str, attempt: int) -> Path:
        """Folder of one attempt; made when missing."""
        return self._job_dir(job_id, f"attempt-{attempt:d}")

    def artifact(self, path: str) -> Path:
        """A published file, by the path in its row.

        Raises:
            ValueError: The path leaves the folder of the jobs, by `..` or by a link.
        """
        found = (self.root / path).resolve()
        if not found.is_relative_to((self.root / "jobs").resolve()):
            raise ValueError(f"the artifact {path!r} is outside the data folder")
        return found

    def stage(self, *, limit: int, keep_free: int) -> "Staged":
        """A place for a body that arrives: at most `limit` bytes, while `keep_free` bytes of disk stay free."""
        return Staged(self.root / "staging" / uuid4().hex, limit=limit, keep_free=keep_free)

    def free_bytes(self) -> int:
        """Free space of the disk."""
        return shutil.disk_usage(self.root).free

    def adopt(self, staged: "Staged") -> None:
        """Move staged bytes to their place. Where the same bytes are already, nothing changes."""
        target = self.path(staged.sha256)
        target.parent.mkdir(exist_ok=True)
        os.replace(staged.path, target)
        _sync(target.parent)

    def remove(self, sha256: str) -> None:
        """Remove bytes; who has the file open can still read it."""
        self.path(sha256).unlink(missing_ok=True)

    def _job_dir(self, job_id: str, name: str) -> Path:
        if not job_id.replace("_", "").isalnum():
            raise ValueError(f"{job_id!r} is not the id of a job")
        folder = self.root / "jobs" / job_id / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class Staged:
    """A file that is written and hashed while it arrives, then adopted or forgotten.

    Bytes are gathered to 1 MiB and handed to a thread, which hashes and writes one batch while the next one arrives:
    neither the disk nor SHA-256 holds up the event loop, and memory stays flat.
    """

    def __init__(self, path: Path, *, limit: int, keep_free: int) -> None:
        self.path = path
        self.size_bytes = 0
        self._limit = limit
        self._keep_free = keep_free
        self._hash = hashlib.sha256()
        self._file = path.open("xb", buffering=0)
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._writing: asyncio.Future[None] | None = None

    @property
    def sha256(self) -> str:
        """Digest of all that was written, in hex; final after `close`."""
        return self._hash.hexdigest()

    async def write(self, chunk: bytes) -> None:
        """Append.

        Raises:
            TooManyBytes: The limit is reached.
            DiskFull: The disk has too little space left.
        """
        self.size_bytes += len(chunk)
        if self.size_bytes > self._limit:
            raise TooManyBytes
        self._gathered.append(chunk)
        self._gathered_bytes += len(chunk)
        if self._gathered_bytes >= _BATCH:
            await self._hand_over()

    async def close(self) -> None:
        """Write what is left, and wait until the disk has it. Raises as `write`."""
        await self._hand_over()
        await self._hand_over()
        await asyncio.to_thread(os.fsync, self._file.fileno())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writing is not None:
            with suppress(OSError, DiskFull):
                await asyncio.shield(self._writing)
        self._file.close()
        self.path.unlink(missing_ok=True)  # after `adopt` it is not there any more

    async def _hand_over(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing
        if self._gathered:
            batch, self._gathered, self._gathered_bytes = self._gathered, [], 0
            self._writing = asyncio.get_running_loop().run_in_executor(None, self._append, batch)

    def _append(self, batch: list[bytes]) -> None:
        """Hash and write, in a thread.

        The pieces are written as they came: joining them first costs more in fresh memory than the write itself.
        """
        pieces: list[bytes | memoryview] = [b"".join(batch)] if len(batch) > _MANY else list(batch)
        for piece in pieces:
            self._hash.update(piece)
        disk = os.fstatvfs(self._file.fileno())
        if disk.f_bavail * disk.f_frsize - sum(map(len, pieces)) < self._keep_free:
            raise DiskFull
        try:
            while pieces:
                written = os.writev(self._file.fileno(), pieces)
                while pieces and written >= len(pieces[0]):
                    written -= len(pieces.pop(0))
                if written:
                    pieces[0] = memoryview(pieces[0])[written:]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull from error
            raise


def _sync(folder: Path) -> None:
    """Make a rename last: the entry of a folder is written when the folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
