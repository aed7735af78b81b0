"""Real parts for the tests of the service: databases, and the whole API over HTTP."""

import shutil
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
