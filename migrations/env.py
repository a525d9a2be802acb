"""Runs the migrations on the connection that `reconciler.catalog.migrate` hands over, or as SQL text."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from reconciler.catalog.db.schema import SCHEMA, declaration, declared

TOLD = f"SELECT obj_description(to_regclass('{SCHEMA}.alembic_version'), 'pg_class')"


def oldest(revision: str) -> str | None:
    """Which program may still use the schema: as the migration says, else None for its own alone."""
    return getattr(context.script.get_revision(revision).module, "oldest", None)


def run_offline() -> None:
    """Write the SQL instead; it can be run as one script, and asks the database itself what is there."""
    context.configure(
        dialect_name="postgresql",
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        output_buffer=context.config.output_buffer,
        version_table_schema=SCHEMA,
    )
    with context.begin_transaction():
        context.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        context.run_migrations()
        context.execute(declaration(oldest(str(context.get_head_revision()))))


def run_online() -> None:
    """All of it in the caller's one transaction."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, version_table_schema=SCHEMA)
    with context.begin_transaction():
        context.run_migrations()
        revision = context.get_context().get_current_revision()
        # Said anew only where it changes: that takes the owner, and who finds nothing to do need not be it.
        if revision is not None and declared(connection.scalar(text(TOLD))) != oldest(revision):
            context.execute(declaration(oldest(revision)))


if context.is_offline_mode():
    run_offline()
else:
    run_online()
