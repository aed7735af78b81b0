"""Inspections: a worker reads an upload and describes it, under a lease."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, func, or_, select, update

from service.contract.resources import DatasetProfile, JobError, ModelProfile, UploadState
from service.errors import problem_type
from service.store.clock import now
from service.store.tables import uploads
from service.store.uploads.rows import Kind

__all__ = [
    "InspectionBeat",
    "InspectionClaim",
    "RecoveredInspections",
    "claim_inspection",
    "count_inspecting",
    "finish_inspection",
    "hand_back_inspection",
    "heartbeat_inspection",
    "mark_inspections_enqueued",
    "recover_expired_inspections",
    "reject",
    "unrung_inspections",
]

_WAITS = (uploads.c.status == UploadState.INSPECTING.value) & uploads.c.deleted_at.is_(None)


@dataclass(frozen=True)
class InspectionClaim:
    """An upload that is the caller's to inspect; `Blobs.path(sha256)` says where its bytes are."""

    upload_id: str
    kind: Kind
    name: str
    sha256: str
    attempt: int


@dataclass(frozen=True)
class InspectionBeat:
    """`alive`: the lease is prolonged; if not (taken over, or the upload was deleted), stop."""

    alive: bool


@dataclass(frozen=True)
class RecoveredInspections:
    """Ids of the uploads whose dead leases were revoked, by what became of them."""

    requeued: list[str]
    rejected: list[str]


def claim_inspection(c: Connection, upload_id: str, owner: str, lease_seconds: float) -> InspectionClaim | None:
    """Take an upload that waits for its inspection, or whose worker's lease has run out. None when there is none."""
    taken = (
        update(uploads)
        .where(
            uploads.c.id == upload_id,
            _WAITS,
            uploads.c.attempt < uploads.c.max_attempts,
            or_(uploads.c.lease_until.is_(None), uploads.c.lease_until < now()),
        )
        .values(attempt=uploads.c.attempt + 1, lease_owner=owner, lease_until=now() + lease_seconds)
        .returning(uploads.c.kind, uploads.c.name, uploads.c.sha256, uploads.c.attempt)
    )
    row = c.execute(taken).one_or_none()
    if row is None:
        return None
    return InspectionClaim(upload_id, row.kind, row.name, row.sha256, row.attempt)


def heartbeat_inspection(c: Connection, upload_id: str, attempt: int, lease_seconds: float) -> InspectionBeat:
    """Prolong the lease."""
    beat = _held(upload_id, attempt).values(lease_until=now() + lease_seconds)
    return InspectionBeat(alive=c.execute(beat).rowcount == 1)


def finish_inspection(c: Connection, upload_id: str, attempt: int, profile: ModelProfile | DatasetProfile) -> bool:
    """Make the upload ready. False when it is no longer that attempt's."""
    values = {"status": UploadState.READY.value, "profile": profile.model_dump(mode="json")}
    return _end(c, upload_id, attempt, values)


def reject(c: Connection, upload_id: str, attempt: int, error: JobError) -> bool:
    """Make the upload rejected. False when it is no longer that attempt's."""
    values = {"status": UploadState.REJECTED.value, "error": error.model_dump(mode="json")}
    return _end(c, upload_id, attempt, values)


def hand_back_inspection(c: Connection, upload_id: str, attempt: int) -> bool:
    """Give an inspection back; the attempt does not count. False when it is no longer that attempt's."""
    return _end(c, upload_id, attempt, {"max_attempts": uploads.c.max_attempts + 1, "enqueued_at": None})


def recover_expired_inspections(c: Connection, limit: int = 100) -> RecoveredInspections:
    """Revoke leases that ran out: wait again, or rejected as `worker-lost` when the attempts are used up."""
    expired = _WAITS & (uploads.c.lease_until < now())
    overdue = select(uploads.c.id).where(expired).limit(limit).with_for_update(skip_locked=True)
    attempts_left = uploads.c.attempt < uploads.c.max_attempts
    revoke = (
        update(uploads)
        .where(uploads.c.id.in_(overdue.scalar_subquery()), expired)
        .values(
            status=case((attempts_left, UploadState.INSPECTING.value), else_=UploadState.REJECTED.value),
            lease_owner=None,
            lease_until=None,
            enqueued_at=None,
        )
        .returning(uploads.c.id, uploads.c.status)
    )
    rows = c.execute(revoke).all()
    rejected = [row.id for row in rows if row.status == UploadState.REJECTED]
    if rejected:
        lost = JobError(
            type=problem_type("worker-lost"),
            code="worker-lost",
            title="The worker was lost",
            detail="The worker that inspected this upload fell silent on every attempt. Send the file again to try "
            "once more; see the logs of the worker.",
            retryable=True,
        )
        failed = update(uploads).where(uploads.c.id.in_(rejected))
        c.execute(failed.values(error=lost.model_dump(mode="json")))
    return RecoveredInspections([row.id for row in rows if row.id not in rejected], rejected)


def unrung_inspections(c: Connection, older_than_seconds: float, limit: int = 100) -> list[str]:
    """Uploads that wait, oldest first, whose message was never sent or sent so long ago that it may be lost."""
    forgotten = or_(uploads.c.enqueued_at.is_(None), uploads.c.enqueued_at < now() - older_than_seconds)
    waiting = _WAITS & uploads.c.lease_until.is_(None)
    return list(c.scalars(select(uploads.c.id).where(waiting, forgotten).order_by(uploads.c.id).limit(limit)))


def mark_inspections_enqueued(c: Connection, upload_ids: Sequence[str]) -> None:
    """Note that messages were sent for these uploads just now."""
    if upload_ids:
        c.execute(update(uploads).where(uploads.c.id.in_(upload_ids)).values(enqueued_at=now()))


def count_inspecting(c: Connection) -> int:
    """Uploads that wait for a worker; more messages than this in the broker are of no use."""
    return c.scalar(select(func.count()).where(_WAITS, uploads.c.lease_until.is_(None))) or 0


def _held(upload_id: str, attempt: int) -> Any:
    return update(uploads).where(
        uploads.c.id == upload_id, uploads.c.attempt == attempt, _WAITS, uploads.c.lease_until.is_not(None)
    )


def _end(c: Connection, upload_id: str, attempt: int, values: dict[str, Any]) -> bool:
    released = {"lease_owner": None, "lease_until": None}
    return bool(c.execute(_held(upload_id, attempt).values(**(released | values))).rowcount)
