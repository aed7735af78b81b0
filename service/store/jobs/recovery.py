"""What the reconciler does to jobs: nothing is lost when a worker dies or a message vanishes.

Every function may run in any number of processes at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, case, func, or_, select, update

from service.contract.resources import JobError, JobState
from service.errors import problem_type
from service.store.clock import now
from service.store.jobs.events import HELD, NewEvent, append
from service.store.tables import jobs

__all__ = ["Recovered", "count_queued", "mark_enqueued", "recover_expired", "unrung"]

_QUEUED, _FAILED, _CANCELLED = JobState.QUEUED.value, JobState.FAILED.value, JobState.CANCELLED.value


@dataclass(frozen=True)
class Recovered:
    """Ids of the jobs whose dead leases were revoked, by what became of them."""

    requeued: list[str]
    failed: list[str]
    cancelled: list[str]


def recover_expired(c: Connection, limit: int = 100) -> Recovered:
    """Revoke leases that ran out: back to the queue, failed as `worker-lost`, or cancelled if that was asked for."""
    overdue = (
        select(jobs.c.id)
        .where(jobs.c.status.in_(HELD), jobs.c.lease_until < now())
        .limit(limit)
        .with_for_update(skip_locked=True)  # on SQLite the transaction already excludes other writers
    )
    cancelling = jobs.c.status == JobState.CANCELLING.value
    attempts_left = jobs.c.attempt < jobs.c.max_attempts
    ends = or_(cancelling, ~attempts_left)
    lost = JobError(
        type=problem_type("worker-lost"),
        code="worker-lost",
        title="The worker was lost",
        detail="The worker that ran this job fell silent on every attempt. The job may need more memory than its host "
        "has; see the logs of the worker.",
        retryable=True,
    )
    revoke = (
        update(jobs)
        .where(jobs.c.id.in_(overdue.scalar_subquery()), jobs.c.status.in_(HELD), jobs.c.lease_until < now())
        .values(
            status=case((cancelling, _CANCELLED), (attempts_left, _QUEUED), else_=_FAILED),
            finished_at=case((ends, now()), else_=None),
            lease_owner=None,
            lease_until=None,
            enqueued_at=None,
            eta_seconds=None,
            version=jobs.c.version + 1,
        )
        .returning(jobs.c.id, jobs.c.status, jobs.c.attempt)
    )
    rows = c.execute(revoke).all()
    by_status: dict[str, list[str]] = {_QUEUED: [], _FAILED: [], _CANCELLED: []}
    for row in rows:
        by_status[row.status].append(row.id)
        append(c, row.id, [_farewell(row.status, row.attempt)])
    if by_status[_FAILED]:
        failed = update(jobs).where(jobs.c.id.in_(by_status[_FAILED]))
        c.execute(failed.values(error=lost.model_dump(mode="json")))
    return Recovered(by_status[_QUEUED], by_status[_FAILED], by_status[_CANCELLED])


def unrung(c: Connection, older_than_seconds: float, limit: int = 100) -> list[str]:
    """Queued jobs, oldest first, whose message was never sent or was sent so long ago that it may be lost."""
    forgotten = or_(jobs.c.enqueued_at.is_(None), jobs.c.enqueued_at < now() - older_than_seconds)
    query = select(jobs.c.id).where(and_(jobs.c.status == _QUEUED, forgotten)).order_by(jobs.c.id).limit(limit)
    return list(c.scalars(query))


def mark_enqueued(c: Connection, job_ids: Sequence[str]) -> None:
    """Note that messages were sent for these jobs just now."""
    if job_ids:
        c.execute(update(jobs).where(jobs.c.id.in_(job_ids)).values(enqueued_at=now()))


def count_queued(c: Connection) -> int:
    """Jobs that wait for a worker; more messages than this in the broker are of no use."""
    return c.scalar(select(func.count()).where(jobs.c.status == _QUEUED)) or 0


def _farewell(status: str, attempt: int) -> NewEvent:
    data = {"status": status, "attempt": attempt}
    if status == _QUEUED:
        return NewEvent("state", f"The worker of attempt {attempt} was lost; the job is queued again.", "warning", data)
    if status == _CANCELLED:
        return NewEvent("done", "The job was cancelled; its worker had been lost.", "info", data)
    return NewEvent("done", f"The worker of attempt {attempt} was lost, the last one allowed.", "error", data)
