"""Reading jobs and their artifacts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, func, select

from service.contract.resources import TERMINAL_STATES, Job, JobState
from service.store.clock import as_datetime, now
from service.store.tables import artifacts, jobs

__all__ = [
    "StoredArtifact",
    "artifact",
    "artifact_page",
    "count_by_status",
    "get",
    "get_versioned",
    "list_page",
    "oldest_queued_seconds",
    "to_job",
]


# Built once: clients ask for single jobs more than for all else together.
_ONE = select(jobs).where(jobs.c.id == bindparam("job_id"))


@dataclass(frozen=True)
class StoredArtifact:
    """A file that a finished job published. `path` is relative to the data folder."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str
    path: str
    created_at: datetime


def get(c: Connection, job_id: str) -> Job | None:
    found = get_versioned(c, job_id)
    return found and found[0]


def get_versioned(c: Connection, job_id: str) -> tuple[Job, int] | None:
    """The job and its version, which changes whenever anything a client can see has changed."""
    row = c.execute(_ONE, {"job_id": job_id}).mappings().first()
    return (to_job(row), row["version"]) if row else None


def list_page(
    c: Connection, after: str | None = None, limit: int = 20, status: JobState | None = None
) -> tuple[list[Job], str | None]:
    """Newest first. `after` is the id of the last job of the page before; the second value is the next `after`."""
    query = select(jobs).order_by(jobs.c.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(jobs.c.id < after)
    if status is not None:
        query = query.where(jobs.c.status == status.value)
    page = [to_job(row) for row in c.execute(query).mappings()]
    return page[:limit], page[limit - 1].id if len(page) > limit else None


def count_by_status(c: Connection) -> dict[str, int]:
    """Jobs in every state, zero included."""
    counted = c.execute(select(jobs.c.status, func.count().label("jobs")).group_by(jobs.c.status))
    return {state.value: 0 for state in JobState} | {row.status: row.jobs for row in counted}


def oldest_queued_seconds(c: Connection) -> float:
    """How long the job that waits longest has been waiting; 0 when none waits."""
    waited = select(now() - func.min(jobs.c.created_at)).where(jobs.c.status == JobState.QUEUED.value)
    return max(0.0, c.scalar(waited) or 0.0)


def artifact_page(
    c: Connection, job_id: str, after: str | None = None, limit: int = 100
) -> tuple[list[StoredArtifact], str | None]:
    """Artifacts by name."""
    query = select(artifacts).where(artifacts.c.job_id == job_id).order_by(artifacts.c.name).limit(limit + 1)
    if after is not None:
        query = query.where(artifacts.c.name > after)
    page = [_to_artifact(row) for row in c.execute(query).mappings()]
    return page[:limit], page[limit - 1].name if len(page) > limit else None


def artifact(c: Connection, job_id: str, name: str) -> StoredArtifact | None:
    query = select(artifacts).where(artifacts.c.job_id == job_id, artifacts.c.name == name)
    row = c.execute(query).mappings().first()
    return _to_artifact(row) if row else None


def to_job(row: RowMapping) -> Job:
    """What the API shows of a row."""
    status = JobState(row["status"])
    shown: dict[str, Any] = {
        key: row[key]
        for key in ("id", "name", "stage", "verdict", "recipe", "result", "error", "warnings", "metadata", "attempt")
    }
    shown["progress"] = {
        "fraction": row["progress_fraction"],
        "message": row["progress_message"],
        "eta_seconds": row["eta_seconds"],
    }
    return Job.model_validate(
        shown
        | {"model": row["model_id"], "dataset": row["dataset_id"], "status": status, "done": status in TERMINAL_STATES}
        | {key: as_datetime(row[key]) for key in ("created_at", "started_at", "finished_at")}
    )


def _to_artifact(row: RowMapping) -> StoredArtifact:
    created_at = as_datetime(row["created_at"])
    assert created_at is not None
    return StoredArtifact(row["name"], row["media_type"], row["size_bytes"], row["sha256"], row["path"], created_at)
