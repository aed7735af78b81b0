"""Alembic runs this inside `service.store.migrate`, with the connection to use."""

from alembic import context

from service.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a table; Alembic copies it
    transactional_ddl=True,
)
context.run_migrations()
