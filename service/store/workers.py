"""Workers that have been heard of lately."""

import os
import socket

from sqlalchemy import Connection, delete, func, insert, select, update

from service.store.clock import now
from service.store.tables import workers

__all__ = ["beat", "forget", "seen_within"]

_FORGET_SECONDS = 86_400.0


def beat(c: Connection, worker_id: str) -> None:
    """Note that this worker process lives, and forget those that were last heard of a day ago."""
    seen = update(workers).where(workers.c.id == worker_id).values(seen_at=now(), pid=os.getpid())
    if c.execute(seen).rowcount == 0:
        c.execute(insert(workers).values(id=worker_id, host=socket.gethostname(), pid=os.getpid(), seen_at=now()))
        c.execute(delete(workers).where(workers.c.seen_at < now() - _FORGET_SECONDS))


def forget(c: Connection, worker_id: str) -> None:
    """Note that this worker process has stopped in order."""
    c.execute(delete(workers).where(workers.c.id == worker_id))


def seen_within(c: Connection, seconds: float) -> int:
    """Number of workers heard of in the last seconds."""
    return c.scalar(select(func.count()).where(workers.c.seen_at > now() - seconds)) or 0
