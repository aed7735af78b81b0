"""What must be there before anything starts. Imports nothing that takes time."""

import fcntl
import os
import socket
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["CannotStart", "DataLock", "listen", "require_worker"]


class CannotStart(Exception):
    """The message says why, and what to do."""


class DataLock:
    """One supervisor per data folder. Held as long as the process lives, so that a kill leaves no stale lock."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._path = data_dir / "supervisor.lock"

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 32).decode() or "unknown"
            os.close(self._descriptor)
            raise CannotStart(
                f"{self._path.parent} is in use by the secateur process {holder}. Stop that one, or choose another "
                "folder with --data-dir."
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, str(os.getpid()).encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def require_worker() -> None:
    """Raises CannotStart when the packages of the worker are not installed."""
    missing = [name for name in ("torch", "onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise CannotStart(f"the worker needs {', '.join(missing)}: pip install 'secateur[worker]'")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Port 0 takes a free one. Raises CannotStart."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server((str(address[0]), int(address[1])), family=family, backlog=2048)
    except OSError as error:
        raise CannotStart(f"cannot listen on {host} port {port}: {error}. Choose another one with --port.") from error
