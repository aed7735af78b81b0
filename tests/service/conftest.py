"""Real parts for the tests of the service: databases, and the whole API over HTTP."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from service.settings import Settings
from service.store.blobs import Blobs
from service.store.database import Database
from service.store.migrate import migrate, migrate_database
from tests.service.live import Api, serve


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a throw-away PostgreSQL server. Skips where its programs are absent."""
    programs = _postgresql_programs()
    if programs is None:
        pytest.skip("no initdb and postgres on PATH or in /usr/lib/postgresql")
    # PostgreSQL refuses to run as root, and its user must reach the folder.
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.getuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="secateur-postgresql-"))
    if as_user:
        shutil.chown(folder, "postgres")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    data = folder / "data"
    prepare = f"{programs}/initdb --pgdata {data} --auth trust --username secateur --no-sync"
    subprocess.run([*as_user, *prepare.split()], check=True, capture_output=True, cwd=folder)
    serve = f"{programs}/postgres -D {data} -p {port} -k {folder} -h 127.0.0.1 -c fsync=off"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*as_user, *serve.split()], stdout=log, stderr=log, cwd=folder)
    url = f"postgresql://secateur@127.0.0.1:{port}"
    try:
        _wait_for_postgresql(f"{url}/postgres", server, folder / "log")
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # its fast shutdown; SIGTERM would wait for clients to hang up
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database on each of the two systems, as SQLAlchemy names it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'secateur.db'}"
    server: str = request.getfixturevalue("postgresql")
    name = f"test_{uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}".replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database on each of the two systems."""
    database = Database(database_url)
    migrate_database(database)
    yield database
    database.close()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file that is copied for every test of the API."""
    folder = tmp_path_factory.mktemp("migrated")
    migrate(Settings(data_dir=folder, database_url=None, redis_url=None))
    return folder / "secateur.db"


@pytest.fixture
def settings(tmp_path: Path, migrated: Path) -> Settings:
    """Settings of a service that has a database and no broker."""
    shutil.copy(migrated, tmp_path / "secateur.db")
    return Settings.model_validate(
        {
            "data_dir": tmp_path,
            "database_url": None,
            "redis_url": None,
            "limits": {"upload_bytes": 4 * 1024 * 1024, "request_bytes": 64 * 1024, "free_disk_bytes": 1024},
        }
    )


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    """The API behind a real server, with its database and its files within reach."""
    database = Database(settings.sqlalchemy_url)
    with serve(settings) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield Api(client, url, settings, database, Blobs(settings.data_dir))
    database.close()


def _postgresql_programs() -> Path | None:
    candidates = [Path(found).parent for found in [shutil.which("initdb")] if found]
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "postgres").exists()), None)


def _wait_for_postgresql(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start:\n{log.read_text()}")
            time.sleep(0.1)
