from concurrent.futures import ThreadPoolExecutor

from service.store.database import Database
from service.store.migrate import drift, is_current, migrate_database


def test_migrations_make_exactly_the_tables_the_code_expects(database: Database) -> None:
    with database.read() as c:
        assert drift(c) == []
        assert is_current(c)


def test_processes_that_migrate_at_once_all_succeed(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate_database, databases))
    with databases[0].read() as c:
        assert is_current(c)
    for database in databases:
        database.close()
