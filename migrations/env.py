"""Runs the migrations on the connection that `reconciler.catalog.migrate` hands over, or as SQL text."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from reconciler.catalog.tables import OWN, SCHEMA

ADVISORY_LOCK = 7_236_837_005_911_042
"""Any number that nobody else takes: it lets one run of the migrations in at a time."""

def run_offline() -> None:
    """Write the SQL instead; it can be run as one script, and asks the database itself what is there."""
    context.configure(
        dialect_name="postgresql",
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        output_buffer=context.config.output_buffer,
        version_table_schema=SCHEMA,
        target_metadata=OWN,
    )
    with context.begin_transaction():
        context.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        context.run_migrations()


def run_online() -> None:
    """All of it in the caller's one transaction, behind a lock that ends with it."""
    connection = context.config.attributes["connection"]
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
    if connection.execute(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}).scalar() is None:
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    context.configure(connection=connection, version_table_schema=SCHEMA, target_metadata=OWN)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
