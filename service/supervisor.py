"""`secateur up`: the whole service as one process with children.

    secateur up
    ├── valkey         the broker, unless REDIS_URL names one
    ├── api            uvicorn, on a socket that this process holds: a restart refuses no connection
    ├── worker 1…n     Celery, the queue of jobs
    ├── inspector      Celery, the queue of inspections
    └── reconciler

The children stop when this process is gone, even by SIGKILL (`service.lifeline`); only Valkey lives on then, and is
replaced at the next start without losing a message.
"""

import json
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

from service.family import Family, Member, PythonProcess
from service.settings import Settings
from service.startup import DataLock, listen, require_worker
from service.store.migrate import migrate
from service.valkey import Valkey

__all__ = ["up"]

_SLOW_START_SECONDS = 60.0
_ASK_SECONDS = 0.5


def up(settings: Settings, workers: int) -> None:
    """Run the service until SIGTERM or Ctrl-C. Raises CannotStart."""
    require_worker()
    with DataLock(settings.data_dir), listen(settings.api.host, settings.api.port) as listener:
        url = _url(settings.api.host, listener.getsockname()[1])
        migrate(settings)
        Family(_members(settings, workers, listener), _say).run(_Readiness(url, settings.data_dir).look)
    _say("stopped")


def _members(settings: Settings, workers: int, listener: socket.socket) -> list[Member]:
    prefix = settings.log.format == "text"  # a line of JSON stays a line of JSON
    api = ["service.cli", "api", "--fd", str(listener.fileno())]
    members: list[Member] = [] if settings.redis_url is not None else [Valkey(settings)]
    members.append(PythonProcess("api", api, pass_fds=[listener.fileno()], prefix=prefix))
    members += [
        PythonProcess(f"worker {number}", ["worker", "--queue", "jobs"], prefix=prefix)
        for number in range(1, workers + 1)
    ]
    members.append(PythonProcess("inspector", ["worker", "--queue", "inspections"], prefix=prefix))
    members.append(PythonProcess("reconciler", ["service.cli", "reconcile"], prefix=prefix))
    return members


class _Readiness:
    """Asks the API until all parts work, then says so once; complains once if that takes long."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self._url = url
        self._data_dir = data_dir
        self._ready = False
        self._asked_at = self._began = time.monotonic()
        self._complained = False

    def look(self) -> None:
        now = time.monotonic()
        if self._ready or now - self._asked_at < _ASK_SECONDS:
            return
        self._asked_at = now
        trouble = _trouble(f"{self._url}/readyz")
        if trouble is None:
            self._ready = True
            _say(f"Secateur is ready at {self._url} (data in {self._data_dir.absolute()}; Ctrl-C stops it)")
        elif not self._complained and now - self._began > _SLOW_START_SECONDS:
            self._complained = True
            _say(f"still not ready: {trouble}")


def _trouble(url: str) -> str | None:
    """What the service says is missing; None when it is ready."""
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310, our own http URL
            return None
    except urllib.error.HTTPError as refusal:
        try:
            return str(json.load(refusal).get("detail"))
        except ValueError:
            return str(refusal)
    except OSError as error:
        return str(error)


def _url(host: str, port: int) -> str:
    """Where to reach the service from this host."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104, a comparison, not a bind
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201, for the person at the terminal
