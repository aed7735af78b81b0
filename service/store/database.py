"""The database: one `write` and one `read`, each a transaction."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic_core import to_json
from sqlalchemy import Connection, Engine, create_engine, event, make_url

__all__ = ["Database"]

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """SQLite or PostgreSQL, by URL.

    Functions of the store take a `Connection` and never commit, so that a caller decides what happens together:

        with database.write() as c:
            claim = jobs.claim(c, job_id, owner, lease_seconds)

    Nothing is opened or written before it is first used, not even a folder.

    SQLite: a transaction that begins as a reader and then writes fails with "database is locked" whatever the timeout,
    so writers say `BEGIN IMMEDIATE` and wait their turn, and readers have an engine of their own that cannot write.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.url = make_url(url)
        self.embedded = self.url.get_backend_name() == "sqlite"
        if self.embedded:
            assert self.url.database, "SQLite needs a file: several processes share it"
            self._writer = _sqlite_engine(url, begin="BEGIN IMMEDIATE")
            self._reader = _sqlite_engine(url, begin="BEGIN", read_only=True)
        else:
            self._writer = self._reader = create_engine(
                url,
                json_serializer=_dumps,
                pool_pre_ping=True,
                pool_size=10,
                max_overflow=20,
                connect_args={"connect_timeout": 5},
            )

    @cached_property
    def _glance(self) -> Connection:
        """The connection of the event loop to an embedded database."""
        return _sqlite_engine(self._url, begin=None, read_only=True).connect()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write; committed at the end, rolled back on an exception."""
        with self._writer.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database and writes nothing."""
        with self._reader.connect() as connection:
            yield connection

    async def query(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a reading function of the store from the event loop. Each of its statements sees the newest state.

        SQLite answers a look-up in microseconds, less than the hop to a thread costs, and less than borrowing a
        connection and beginning a transaction: the loop has a connection of its own. PostgreSQL is a network away.
        """
        if self.embedded:
            return function(self._glance, *args, **kwargs)

        def read() -> T:
            with self.read() as connection:
                return function(connection, *args, **kwargs)

        return await asyncio.to_thread(read)

    @property
    def engine(self) -> Engine:
        """The engine that writes: for migrations."""
        return self._writer

    def close(self) -> None:
        """Close all connections."""
        if "_glance" in vars(self):
            self._glance.close()
            self._glance.engine.dispose()
        self._writer.dispose()
        self._reader.dispose()


def _dumps(value: Any) -> str:
    """JSON without NaN, which PostgreSQL refuses and clients cannot parse: a diverged loss is stored as null."""
    return to_json(value, inf_nan_mode="null").decode()


def _sqlite_engine(url: str, begin: str | None, read_only: bool = False) -> Engine:
    engine = create_engine(url, json_serializer=_dumps, pool_size=20, max_overflow=20, pool_timeout=60)

    @event.listens_for(engine, "do_connect")
    def _make_folder(*_: Any) -> None:
        if engine.url.database:
            Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver shall not begin transactions on its own
        for pragma in ("busy_timeout=60000", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        if read_only:
            connection.execute("PRAGMA query_only=ON")

    if begin is not None:

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    return engine
