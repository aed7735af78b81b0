"""Signs of life of a worker process, and its judgement on itself."""

import logging
import os
import signal
import time

from sqlalchemy.exc import SQLAlchemyError

from service.queue import Queue
from service.store import workers
from worker.workplace import Workplace

__all__ = ["Deafness", "beat_until_stopped"]

log = logging.getLogger(__name__)

_BEAT_SECONDS = 3.0
_DEAF_SECONDS = 30.0
_SHUTDOWN_SECONDS = 20.0


class Deafness:
    """Whether messages wait, hands are free, and still nothing is heard.

    Celery consumers have gone deaf after a broker restart, alive and without an error (celery #10205). Only a new
    process helps.
    """

    def __init__(self, patience_seconds: float) -> None:
        self._patience = patience_seconds
        self._since: float | None = None

    def observe(self, now: float, *, waiting: bool, free: bool, last_heard: float) -> bool:
        """Take one look. True once it has lasted longer than the patience."""
        if not (waiting and free):
            self._since = None
        elif self._since is None or last_heard > self._since:
            self._since = now
        return self._since is not None and now - self._since > self._patience


def beat_until_stopped(place: Workplace, queue: Queue, slots: int) -> None:
    """Tell the database every few seconds that this worker lives; end the process when it has gone deaf."""
    deafness = Deafness(_DEAF_SECONDS)
    while True:
        try:
            with place.database.write() as c:
                workers.beat(c, place.name)
        except SQLAlchemyError as error:
            log.warning("the database does not answer: %s", error)
        if place.stopping.wait(_BEAT_SECONDS):
            break
        depth = place.doorbell.depth(queue)
        if deafness.observe(
            time.monotonic(), waiting=bool(depth), free=place.active < slots, last_heard=place.active_changed_at
        ):
            log.critical("messages wait in %s, but none has arrived for %.0f s: ending", queue.value, _DEAF_SECONDS)
            _end_process()
    try:
        with place.database.write() as c:
            workers.forget(c, place.name)
    except SQLAlchemyError as error:
        log.warning("the database does not answer: %s", error)


def _end_process() -> None:
    """In order if Celery still listens to signals, at once if not. Who started this process starts it again."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_SHUTDOWN_SECONDS)
    os._exit(os.EX_SOFTWARE)
