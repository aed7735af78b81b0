"""What a worker does to a job: claim it, keep it, end it. All but the claim are fenced by the attempt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, func, insert, or_, select, update

from service.contract.recipe import Recipe
from service.contract.resources import JobError, JobResult, JobState, Notice, Verdict
from service.store.clock import now
from service.store.jobs.events import HELD, NewEvent, append
from service.store.tables import artifacts, jobs, uploads

__all__ = [
    "Beat",
    "Claim",
    "Outcome",
    "StoredFile",
    "claim",
    "finish_cancelled",
    "finish_failed",
    "finish_succeeded",
    "hand_back",
    "heartbeat",
]


@dataclass(frozen=True)
class StoredFile:
    """An upload; `Blobs.path(sha256)` says where its bytes are."""

    id: str
    name: str
    sha256: str


@dataclass(frozen=True)
class Claim:
    """A job that is now the caller's, until its lease runs out."""

    job_id: str
    attempt: int
    recipe: Recipe
    model: StoredFile
    dataset: StoredFile | None


@dataclass(frozen=True)
class Beat:
    """`alive`: the lease is prolonged; if not, stop and publish nothing. `cancel`: stop, then `finish_cancelled`."""

    alive: bool
    cancel: bool


class NewArtifact(Protocol):
    """A file in `jobs/<id>/attempt-<n>/`."""

    @property
    def name(self) -> str: ...
    @property
    def media_type(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...


class Outcome(Protocol):
    """What a job made (`worker.order.JobOutcome`)."""

    @property
    def verdict(self) -> Verdict: ...
    @property
    def result(self) -> JobResult: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def warnings(self) -> Sequence[Notice]: ...
    @property
    def artifacts(self) -> Sequence[NewArtifact]: ...


def claim(c: Connection, job_id: str, owner: str, lease_seconds: float) -> Claim | None:
    """Take a job that waits, or whose worker's lease has run out. None when there is nothing to take."""
    taken = (
        update(jobs)
        .where(
            jobs.c.id == job_id,
            jobs.c.attempt < jobs.c.max_attempts,
            jobs.c.cancel_requested_at.is_(None),
            or_(
                jobs.c.status == JobState.QUEUED.value,
                (jobs.c.status == JobState.RUNNING.value) & (jobs.c.lease_until < now()),
            ),
        )
        .values(
            status=JobState.RUNNING.value,
            attempt=jobs.c.attempt + 1,
            lease_owner=owner,
            lease_until=now() + lease_seconds,
            started_at=func.coalesce(jobs.c.started_at, now()),
            version=jobs.c.version + 1,
        )
        .returning(jobs.c.attempt, jobs.c.recipe, jobs.c.model_id, jobs.c.dataset_id)
    )
    row = c.execute(taken).one_or_none()
    if row is None:
        return None
    message = f"Attempt {row.attempt} has started."
    append(c, job_id, [NewEvent("state", message, data={"status": "running", "attempt": row.attempt})])
    return Claim(
        job_id=job_id,
        attempt=row.attempt,
        recipe=Recipe.model_validate(row.recipe),
        model=_file(c, row.model_id),
        dataset=_file(c, row.dataset_id) if row.dataset_id else None,
    )


def heartbeat(
    c: Connection,
    job_id: str,
    attempt: int,
    lease_seconds: float,
    *,
    stage: str | None = None,
    fraction: float | None = None,
    message: str | None = None,
    eta_seconds: float | None = None,
) -> Beat:
    """Prolong the lease, and say how far the job has come where that is given. `fraction` is of the whole job."""
    seen: dict[str, Any] = {
        column: value
        for column, value in {
            "stage": stage,
            "progress_fraction": fraction if fraction is None else min(max(fraction, 0.0), 1.0),
            "progress_message": message,
            "eta_seconds": eta_seconds,
        }.items()
        if value is not None
    }
    if seen:
        seen["version"] = jobs.c.version + 1
    beat = _held(job_id, attempt).values(lease_until=now() + lease_seconds, **seen)
    # The column, not `IS NOT NULL` of it: SQLite 3.40 answers that with 1 for every row in a RETURNING clause.
    row = c.execute(beat.returning(jobs.c.cancel_requested_at)).one_or_none()
    return Beat(alive=row is not None, cancel=row is not None and row.cancel_requested_at is not None)


def finish_succeeded(c: Connection, job_id: str, attempt: int, outcome: Outcome) -> bool:
    """Publish what an attempt made, and end the job. False when it is no longer that attempt's: nothing is published.

    A job that was asked to cancel ends cancelled even if its work was done by then: `cancelling` promises that.
    What the job was warned of when it was submitted stays in front of what the attempt warns of.
    """
    warnings: list[dict[str, Any]] = list(c.scalar(select(jobs.c.warnings).where(jobs.c.id == job_id)) or [])
    for warning in outcome.warnings:
        if (new := warning.model_dump(mode="json")) not in warnings:
            warnings.append(new)
    values = {
        "status": JobState.SUCCEEDED.value,
        "verdict": outcome.verdict,
        "result": outcome.result.model_dump(mode="json"),
        "recipe": outcome.recipe.model_dump(mode="json"),
        "warnings": warnings,
        "progress_fraction": 1.0,
    }
    done = NewEvent("done", "The job succeeded.", data={"status": "succeeded", "verdict": outcome.verdict})
    if not _end(c, job_id, attempt, values, done):
        return finish_cancelled(c, job_id, attempt)
    made = [
        {
            "job_id": job_id,
            "name": made.name,
            "media_type": made.media_type,
            "size_bytes": made.size_bytes,
            "sha256": made.sha256,
            "path": f"jobs/{job_id}/attempt-{attempt}/{made.name}",
        }
        for made in outcome.artifacts
    ]
    if made:
        c.execute(insert(artifacts).values(created_at=now()), made)
    return True


def finish_failed(c: Connection, job_id: str, attempt: int, error: JobError) -> bool:
    """End the job with an error. False when it is no longer that attempt's. A cancelling job ends cancelled."""
    values = {"status": JobState.FAILED.value, "error": error.model_dump(mode="json")}
    done = NewEvent(
        "done", f"The job failed: {error.title}.", level="error", data={"status": "failed", "code": error.code}
    )
    return _end(c, job_id, attempt, values, done) or finish_cancelled(c, job_id, attempt)


def finish_cancelled(c: Connection, job_id: str, attempt: int) -> bool:
    """End a job whose cancellation was asked for. False when it is no longer that attempt's, or nobody asked."""
    values = {"status": JobState.CANCELLED.value}
    done = NewEvent("done", "The job was cancelled.", data={"status": "cancelled"})
    return _end(c, job_id, attempt, values, done, state=JobState.CANCELLING)


def hand_back(c: Connection, job_id: str, attempt: int) -> bool:
    """Give a job back to the queue, as a worker does that is told to stop. False when it is no longer that attempt's.

    The attempt does not count: one more is allowed instead of counting `attempt` down, since a fencing token must never
    be used twice. A cancelling job ends cancelled.
    """
    values = {
        "status": JobState.QUEUED.value,
        "max_attempts": jobs.c.max_attempts + 1,
        "enqueued_at": None,
        "finished_at": None,
    }
    event = NewEvent("state", "The worker was stopped; the job is queued again.", data={"status": "queued"})
    return _end(c, job_id, attempt, values, event) or finish_cancelled(c, job_id, attempt)


def _held(job_id: str, attempt: int) -> Any:
    return update(jobs).where(jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.status.in_(HELD))


def _end(
    c: Connection,
    job_id: str,
    attempt: int,
    values: dict[str, Any],
    event: NewEvent,
    state: JobState = JobState.RUNNING,
) -> bool:
    """Let go of a job: the fenced transition, and its event."""
    released = {"lease_owner": None, "lease_until": None, "eta_seconds": None, "finished_at": now()}
    let_go = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.status == state.value)
        .values(version=jobs.c.version + 1, **(released | values))
    )
    return c.execute(let_go).rowcount == 1 and append(c, job_id, [event])


def _file(c: Connection, upload_id: str) -> StoredFile:
    row = c.execute(select(uploads.c.id, uploads.c.name, uploads.c.sha256).where(uploads.c.id == upload_id)).one()
    return StoredFile(row.id, row.name, row.sha256)
