"""Events of a job: an append-only list, numbered from 1 without gaps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from service.contract.resources import Event, EventLevel, JobState
from service.store.clock import as_datetime, now
from service.store.tables import events, jobs

__all__ = ["HELD", "NewEvent", "append", "append_events", "event_page"]

# The states in which an attempt holds the lease of a job.
HELD = (JobState.RUNNING.value, JobState.CANCELLING.value)


@dataclass(frozen=True)
class NewEvent:
    """An event that has no number yet."""

    type: str
    message: str
    level: EventLevel = "info"
    data: dict[str, Any] = field(default_factory=dict)


def append_events(c: Connection, job_id: str, attempt: int, new: Sequence[NewEvent]) -> bool:
    """Append what an attempt has to say. False, and nothing stored, when the job is no longer that attempt's."""
    return append(c, job_id, new, jobs.c.attempt == attempt, jobs.c.status.in_(HELD))


def append(c: Connection, job_id: str, new: Sequence[NewEvent], *conditions: ColumnElement[bool]) -> bool:
    """Append if the row of the job fulfils the conditions.

    The numbers come from the row itself, in the same UPDATE: its lock keeps two writers from taking one number, and a
    rollback gives them back, so that there are no gaps.
    """
    reserve = update(jobs).where(jobs.c.id == job_id, *conditions).values(last_seq=jobs.c.last_seq + len(new))
    last = c.execute(reserve.returning(jobs.c.last_seq)).scalar_one_or_none()
    if last is None:
        return False
    if new:
        first = last - len(new) + 1
        rows = [
            {"job_id": job_id, "seq": seq, "level": e.level, "type": e.type, "message": e.message, "data": e.data}
            for seq, e in enumerate(new, first)
        ]
        c.execute(insert(events).values(created_at=now()), rows)
    return True


def event_page(c: Connection, job_id: str, after: int = 0, limit: int = 100) -> tuple[list[Event], int | None]:
    """Events with numbers above `after`, and the `after` of the next page if there is one already."""
    query = select(events).where(events.c.job_id == job_id, events.c.seq > after).order_by(events.c.seq)
    page = [
        Event.model_validate({**row, "created_at": as_datetime(row["created_at"])})
        for row in c.execute(query.limit(limit + 1)).mappings()
    ]
    return page[:limit], page[limit - 1].seq if len(page) > limit else None
