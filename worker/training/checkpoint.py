"""State that outlives the process: what a retried job goes on from."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

__all__ = ["Checkpoint", "CheckpointStore"]

_VERSION = 1
_DIGITS = 16  # of the digest, in file names


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and what JSON can say about them."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


class CheckpointStore:
    """Checkpoints in a folder, one per name; never a pickle.

    A checkpoint is `NAME.json` and the safetensors file it points to by digest. The JSON is renamed into place last,
    so a kill at any moment leaves the old checkpoint or the new one. A file that is torn or altered all the same does
    not match its digest, and counts as absent: the stage starts over.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, name: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Replace the checkpoint `name`. `meta` must survive JSON; NaN is refused with ValueError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # Written from where the tensors are: as bytes they would be a second network in memory, or a third.
        unnamed = self._folder / f"{name}.safetensors.tmp"
        unnamed.touch()
        safetensors.torch.save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, unnamed)
        digest = _digest(unnamed)
        record = {"version": _VERSION, "sha256": digest, "meta": meta}
        text = json.dumps(record, allow_nan=False)
        self._commit(unnamed, self._tensor_file(name, digest))
        self._write(self._record_file(name), text.encode())
        for stale in self._folder.glob(f"{name}-{'[0-9a-f]' * _DIGITS}.safetensors*"):
            if stale != self._tensor_file(name, digest):
                stale.unlink(missing_ok=True)

    def load(self, name: str) -> Checkpoint | None:
        """The checkpoint `name`; None if there is none, or none that is whole."""
        try:
            record = json.loads(self._record_file(name).read_bytes())
            if record["version"] != _VERSION:
                return None
            file = self._tensor_file(name, record["sha256"])
            if _digest(file) != record["sha256"]:
                return None
            return Checkpoint(safetensors.torch.load_file(file), dict(record["meta"]))
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
            return None

    def _record_file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _tensor_file(self, name: str, digest: str) -> Path:
        return self._folder / f"{name}-{digest[:_DIGITS]}.safetensors"

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_bytes(content)
        self._commit(temporary, path)

    def _commit(self, temporary: Path, path: Path) -> None:
        """Rename a whole file into place, so that it survives a power cut."""
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself must survive a power cut
        finally:
            os.close(folder)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
