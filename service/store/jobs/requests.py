"""What a client asks of jobs: create one, cancel one."""

from collections.abc import Sequence

from sqlalchemy import Connection, case, insert, update

from service.contract.recipe import Recipe
from service.contract.resources import Job, JobState, Notice
from service.ids import new_id
from service.store.clock import now
from service.store.jobs.events import NewEvent, append
from service.store.jobs.rows import get
from service.store.tables import jobs

__all__ = ["create", "request_cancel"]


def create(
    c: Connection,
    *,
    model_id: str,
    dataset_id: str | None,
    recipe: Recipe,
    max_attempts: int,
    name: str | None = None,
    metadata: dict[str, str] | None = None,
    warnings: Sequence[Notice] = (),
) -> Job:
    """A new queued job. `recipe` is the resolved one.

    The caller holds its uploads with `uploads.hold` in this transaction, so that they are not deleted meanwhile.
    """
    job_id = new_id("job")
    c.execute(
        insert(jobs).values(
            id=job_id,
            name=name,
            metadata=metadata or {},
            model_id=model_id,
            dataset_id=dataset_id,
            recipe=recipe.model_dump(mode="json"),
            status=JobState.QUEUED.value,
            warnings=[warning.model_dump(mode="json") for warning in warnings],
            max_attempts=max_attempts,
            created_at=now(),
        )
    )
    append(c, job_id, [NewEvent("state", "The job is queued.", data={"status": "queued"})])
    created = get(c, job_id)
    assert created is not None
    return created


def request_cancel(c: Connection, job_id: str) -> Job | None:
    """Ask for an end: a queued job is cancelled at once, a running one is `cancelling` until its worker has stopped.

    Asking again, or asking of a job that has ended, changes nothing. None when there is no such job.
    """
    queued = jobs.c.status == JobState.QUEUED.value
    asked = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_([JobState.QUEUED.value, JobState.RUNNING.value]))
        .values(
            status=case((queued, JobState.CANCELLED.value), else_=JobState.CANCELLING.value),
            finished_at=case((queued, now()), else_=None),
            cancel_requested_at=now(),
            version=jobs.c.version + 1,
        )
        .returning(jobs.c.status)
    )
    status = c.execute(asked).scalar_one_or_none()
    if status == JobState.CANCELLED:
        append(c, job_id, [NewEvent("done", "The job was cancelled before it started.", data={"status": status})])
    elif status is not None:
        append(c, job_id, [NewEvent("state", "The job is being cancelled.", data={"status": status})])
    return get(c, job_id)
