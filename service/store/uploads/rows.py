"""Adding, reading and deleting uploads."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, RowMapping, func, insert, or_, select, text, update

from service.contract.resources import TERMINAL_STATES, Dataset, Model, UploadState
from service.ids import new_id
from service.store.clock import as_datetime, now
from service.store.tables import jobs, uploads

__all__ = [
    "Added",
    "Deleted",
    "Kind",
    "add",
    "count_live",
    "delete",
    "get",
    "hold",
    "list_page",
    "lock_digest",
    "to_upload",
]

Kind = Literal["model", "dataset"]

_LIVE = uploads.c.deleted_at.is_(None)


@dataclass(frozen=True)
class Added:
    """`created`: the digest is new. `inspect`: ring the doorbell for its inspection."""

    upload: Model | Dataset
    created: bool
    inspect: bool


@dataclass(frozen=True)
class Deleted:
    """`orphan`: the digest of bytes that nothing refers to any more. `used_by`: the job that forbade the deletion."""

    orphan: str | None = None
    used_by: str | None = None


def add(c: Connection, *, kind: Kind, name: str, sha256: str, size_bytes: int, max_attempts: int) -> Added:
    """Store an upload, or find the one with the same bytes.

    The same bytes are the same upload, so its first name stays. Sending a rejected one again has it inspected again: a
    newer worker may read what an older one could not. Call `lock_digest` first, in the same transaction.
    """
    known = c.execute(
        select(uploads.c.id, uploads.c.status).where(uploads.c.kind == kind, uploads.c.sha256 == sha256, _LIVE)
    ).one_or_none()
    if known is not None and known.status != UploadState.REJECTED:
        return Added(_existing(c, kind, known.id), created=False, inspect=False)
    fresh = {"status": UploadState.INSPECTING.value, "max_attempts": max_attempts}
    if known is not None:
        # `attempt` goes on counting: it is a fencing token.
        again = fresh | {"max_attempts": uploads.c.attempt + max_attempts, "error": None, "enqueued_at": None}
        c.execute(update(uploads).where(uploads.c.id == known.id).values(again))
        return Added(_existing(c, kind, known.id), created=False, inspect=True)
    upload_id = new_id("mdl" if kind == "model" else "dts")
    c.execute(
        insert(uploads).values(
            id=upload_id, kind=kind, name=name, sha256=sha256, size_bytes=size_bytes, created_at=now(), **fresh
        )
    )
    return Added(_existing(c, kind, upload_id), created=True, inspect=True)


def lock_digest(c: Connection, sha256: str) -> None:
    """Until the end of the transaction nobody else adds or removes these bytes.

    Writers on SQLite exclude each other anyway.
    """
    if c.dialect.name == "postgresql":
        c.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": int(sha256[:15], 16)})


def get(c: Connection, kind: Kind, upload_id: str) -> Model | Dataset | None:
    """A live upload of this kind."""
    query = select(uploads).where(uploads.c.id == upload_id, uploads.c.kind == kind, _LIVE)
    row = c.execute(query).mappings().first()
    return to_upload(row) if row else None


def hold(c: Connection, kind: Kind, upload_id: str) -> bool:
    """Keep a live, ready upload from being deleted before this transaction ends. False when it is not there."""
    query = (
        select(uploads.c.id)
        .where(uploads.c.id == upload_id, uploads.c.kind == kind, uploads.c.status == UploadState.READY.value, _LIVE)
        .with_for_update(read=True)
    )
    return c.execute(query).first() is not None


def list_page(
    c: Connection, kind: Kind, after: str | None = None, limit: int = 20
) -> tuple[list[Model | Dataset], str | None]:
    """Newest first. `after` is the id of the last upload of the page before; the second value is the next `after`."""
    query = select(uploads).where(uploads.c.kind == kind, _LIVE).order_by(uploads.c.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(uploads.c.id < after)
    page = [to_upload(row) for row in c.execute(query).mappings()]
    return page[:limit], page[limit - 1].id if len(page) > limit else None


def delete(c: Connection, kind: Kind, upload_id: str) -> Deleted | None:
    """Hide an upload, unless an unfinished job uses it. None when there is no such upload.

    Jobs that have ended keep referring to the row. The caller removes orphaned bytes before the transaction ends.
    """
    live = select(uploads.c.sha256).where(uploads.c.id == upload_id, uploads.c.kind == kind, _LIVE)
    sha256 = c.scalar(live)
    if sha256 is None:
        return None
    lock_digest(c, sha256)  # before the row, in the order of those who add: else the two could wait for each other
    if c.execute(live.with_for_update()).one_or_none() is None:
        return None
    unfinished = jobs.c.status.not_in([state.value for state in TERMINAL_STATES])
    uses = or_(jobs.c.model_id == upload_id, jobs.c.dataset_id == upload_id)
    user = c.scalar(select(jobs.c.id).where(uses, unfinished).limit(1))
    if user is not None:
        return Deleted(used_by=user)
    c.execute(update(uploads).where(uploads.c.id == upload_id).values(deleted_at=now()))
    others = c.scalar(select(func.count()).where(uploads.c.sha256 == sha256, _LIVE))
    return Deleted(orphan=None if others else sha256)


def count_live(c: Connection) -> dict[tuple[str, str], tuple[int, int]]:
    """(number, bytes) of live uploads by (kind, status)."""
    query = (
        select(uploads.c.kind, uploads.c.status, func.count(), func.sum(uploads.c.size_bytes))
        .where(_LIVE)
        .group_by(uploads.c.kind, uploads.c.status)
    )
    return {(kind, status): (count, int(size)) for kind, status, count, size in c.execute(query)}


def to_upload(row: RowMapping) -> Model | Dataset:
    """What the API shows of a row."""
    shown = {key: row[key] for key in ("id", "name", "sha256", "size_bytes", "status", "profile", "error")}
    shown["created_at"] = as_datetime(row["created_at"])
    return (Model if row["kind"] == "model" else Dataset).model_validate(shown)


def _existing(c: Connection, kind: Kind, upload_id: str) -> Model | Dataset:
    upload = get(c, kind, upload_id)
    assert upload is not None
    return upload
