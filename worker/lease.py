"""A claimed row, as seen by the one who works on it: keep it, speak for it, end it.

Every write is fenced by the attempt: once the row was taken away, nothing here has an effect. All methods raise
SQLAlchemyError when the database does not answer.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

from service.contract.resources import DatasetProfile, JobError, ModelProfile
from service.store import jobs, uploads
from service.store.database import Database
from worker.order import JobOutcome
from worker.progress import JobProgress

__all__ = ["InspectionLease", "JobLease", "Lease"]

Made = TypeVar("Made", contravariant=True)


class Lease(Protocol[Made]):
    """All methods but `keep` end the lease, and return False when it was no longer theirs to end."""

    def keep(self, progress: JobProgress | None, events: list[jobs.NewEvent]) -> jobs.Beat:
        """Prolong the lease; store progress and events in the same transaction."""

    def succeed(self, made: Made) -> bool:
        """Publish what was made."""

    def fail(self, error: JobError) -> bool: ...

    def cancel(self) -> bool: ...

    def hand_back(self) -> bool:
        """Put the row back into the queue; the attempt does not count."""


@dataclass(frozen=True)
class JobLease:
    database: Database
    job_id: str
    attempt: int
    seconds: float

    def keep(self, progress: JobProgress | None, events: list[jobs.NewEvent]) -> jobs.Beat:
        with self.database.write() as c:
            if events and not jobs.append_events(c, self.job_id, self.attempt, events):
                return jobs.Beat(alive=False, cancel=False)
            if progress is None:
                return jobs.heartbeat(c, self.job_id, self.attempt, self.seconds)
            return jobs.heartbeat(
                c,
                self.job_id,
                self.attempt,
                self.seconds,
                stage=progress.stage,
                fraction=progress.fraction,
                message=progress.message,
                eta_seconds=progress.eta_seconds,
            )

    def succeed(self, made: JobOutcome) -> bool:
        with self.database.write() as c:
            return jobs.finish_succeeded(c, self.job_id, self.attempt, made)

    def fail(self, error: JobError) -> bool:
        with self.database.write() as c:
            return jobs.finish_failed(c, self.job_id, self.attempt, error)

    def cancel(self) -> bool:
        with self.database.write() as c:
            return jobs.finish_cancelled(c, self.job_id, self.attempt)

    def hand_back(self) -> bool:
        with self.database.write() as c:
            return jobs.hand_back(c, self.job_id, self.attempt)


@dataclass(frozen=True)
class InspectionLease:
    """Inspections have no events and no progress, and are never cancelled: deleting the upload takes the row away."""

    database: Database
    upload_id: str
    attempt: int
    seconds: float

    def keep(self, progress: JobProgress | None, events: list[jobs.NewEvent]) -> jobs.Beat:
        del progress, events
        with self.database.write() as c:
            beat = uploads.heartbeat_inspection(c, self.upload_id, self.attempt, self.seconds)
        return jobs.Beat(alive=beat.alive, cancel=False)

    def succeed(self, made: ModelProfile | DatasetProfile) -> bool:
        with self.database.write() as c:
            return uploads.finish_inspection(c, self.upload_id, self.attempt, made)

    def fail(self, error: JobError) -> bool:
        with self.database.write() as c:
            return uploads.reject(c, self.upload_id, self.attempt, error)

    def cancel(self) -> bool:
        return False

    def hand_back(self) -> bool:
        with self.database.write() as c:
            return uploads.hand_back_inspection(c, self.upload_id, self.attempt)
