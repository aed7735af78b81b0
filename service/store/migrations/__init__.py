"""Migrations, written once for SQLite and PostgreSQL.."""
