"""The one clock of the store.

Every time in the database is a number of seconds since 1970 in UTC, and is read from the clock of the *database*, in
the statement that stores or compares it. A lease is then judged by the clock that granted it, however far the clocks of
the hosts drift apart; lease arithmetic is plain addition on SQLite and PostgreSQL alike; and no driver can lose a time
zone on the way. `as_datetime` turns it into what the API shows.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

__all__ = ["as_datetime", "now"]


class now(FunctionElement[float]):  # noqa: N801, reads as the SQL function that it is
    """Seconds since 1970 by the clock of the database, at least to the millisecond."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite(_element: now, _compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgresql(_element: now, _compiler: Any, **_: Any) -> str:
    # Not now(): that one stands still for the length of a transaction.
    return "extract(epoch FROM clock_timestamp())::double precision"


def as_datetime(seconds: float | None) -> datetime | None:
    """The API's form of a stored time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
