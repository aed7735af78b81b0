"""Answers to requests that carried an `Idempotency-Key`, kept for a day and stored together with what they made."""

import hashlib
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, text

from service.store.clock import now
from service.store.tables import idempotency_keys

__all__ = ["KEPT_SECONDS", "Answer", "find", "lock", "remember"]

KEPT_SECONDS = 86_400.0


@dataclass(frozen=True)
class Answer:
    """The first answer. `fingerprint` is the digest of the request that it was given to."""

    fingerprint: str
    status: int
    headers: dict[str, str]
    body: str


def lock(c: Connection, scope: str, key: str) -> None:
    """Until the end of the transaction nobody else uses this key. Writers on SQLite exclude each other anyway."""
    if c.dialect.name == "postgresql":
        digest = hashlib.sha256(f"{scope} {key}".encode()).hexdigest()
        c.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": int(digest[:15], 16)})


def find(c: Connection, scope: str, key: str) -> Answer | None:
    """The answer that was given to this key within the last day."""
    table = idempotency_keys
    fresh = table.c.created_at > now() - KEPT_SECONDS
    query = select(table.c.fingerprint, table.c.status, table.c.headers, table.c.body)
    row = c.execute(query.where(table.c.scope == scope, table.c.key == key, fresh)).one_or_none()
    return Answer(row.fingerprint, row.status, row.headers, row.body) if row else None


def remember(c: Connection, scope: str, key: str, answer: Answer) -> None:
    """Keep an answer, and forget all that are older than a day."""
    table = idempotency_keys
    c.execute(delete(table).where(table.c.created_at <= now() - KEPT_SECONDS))
    c.execute(
        insert(table).values(
            scope=scope,
            key=key,
            fingerprint=answer.fingerprint,
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
            created_at=now(),
        )
    )
