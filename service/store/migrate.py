"""Bring the database up to date."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from service.settings import Settings
from service.store.database import Database
from service.store.tables import metadata

__all__ = ["drift", "is_current", "migrate", "migrate_database"]

# Any number will do; all processes that migrate this schema take the same lock.
_LOCK = 0x5EC47E0


def migrate(settings: Settings) -> None:
    """Run all migrations that are missing on the database of the settings."""
    database = Database(settings.sqlalchemy_url)
    try:
        migrate_database(database)
    finally:
        database.close()


def migrate_database(database: Database) -> None:
    """As `migrate`. Processes that start together wait for the first, and find nothing left to do.

    All happens in one transaction: a migration that fails leaves the database as it was.
    """
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_current(connection: Connection) -> bool:
    """Whether the newest migration of this code has run."""
    return MigrationContext.configure(connection).get_current_revision() == _head()


def drift(connection: Connection) -> list[object]:
    """Differences between the migrated database and `tables.metadata`; empty when the migrations are complete."""
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _head() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()
