"""The tables, for SQLite and PostgreSQL alike. Times are seconds since 1970, see `service.store.clock`.

A row of `jobs` or `uploads` is the truth about it; a message in the broker only says "look at this row". `attempt`
counts the claims of a row and is the fencing token of everything a worker writes to it.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

__all__ = ["artifacts", "events", "idempotency_keys", "jobs", "metadata", "uploads", "workers"]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQL's NULL, not JSON's null, stands for "nothing": the two must not be mixed up in queries.
_Json = JSON(none_as_null=True)


def _where(condition: str) -> dict[str, Any]:
    """The condition of a partial index, for either database."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


uploads = Table(
    "uploads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("profile", _Json),
    Column("error", _Json),
    Column("attempt", Integer, nullable=False, default=0),
    Column("max_attempts", Integer, nullable=False),
    Column("lease_owner", Text),
    Column("lease_until", Double),
    Column("enqueued_at", Double),
    Column("created_at", Double, nullable=False),
    Column("deleted_at", Double),
    Index("uq_uploads_live_digest", "kind", "sha256", unique=True, **_where("deleted_at IS NULL")),
    Index("ix_uploads_kind_id", "kind", "id"),
    Index("ix_uploads_sha256", "sha256"),
    Index("ix_uploads_inspecting", "lease_until", **_where("status = 'inspecting'")),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text),
    Column("metadata", JSON, nullable=False),
    Column("model_id", Text, ForeignKey("uploads.id"), nullable=False, index=True),
    Column("dataset_id", Text, ForeignKey("uploads.id"), index=True),
    Column("recipe", JSON, nullable=False),
    Column("status", Text, nullable=False),
    Column("stage", Text),
    Column("progress_fraction", Double, nullable=False, default=0),
    Column("progress_message", Text, nullable=False, default=""),
    Column("eta_seconds", Double),
    Column("verdict", Text),
    Column("result", _Json),
    Column("error", _Json),
    Column("warnings", JSON, nullable=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("max_attempts", Integer, nullable=False),
    Column("lease_owner", Text),
    Column("lease_until", Double),
    Column("cancel_requested_at", Double),
    Column("enqueued_at", Double),
    Column("version", Integer, nullable=False, default=1),
    Column("last_seq", Integer, nullable=False, default=0),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Index("ix_jobs_status_id", "status", "id"),
)

events = Table(
    "events",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("level", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSON, nullable=False),
    PrimaryKeyConstraint("job_id", "seq"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    PrimaryKeyConstraint("job_id", "name"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("scope", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", Double, nullable=False, index=True),
    PrimaryKeyConstraint("scope", "key"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("seen_at", Double, nullable=False),
)
