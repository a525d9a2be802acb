"""Runs the migrations on the connection that `reconciler.catalog.migrate` hands over, or as SQL text."""

from __future__ import annotations

from alembic import context

from reconciler.catalog.schema import SCHEMA, declaration
from reconciler.catalog.tables import OWN


def declare(revision: str) -> None:
    """Say in the database which programs may use the schema: the migration's `oldest`, else its own alone."""
    script = context.script.get_revision(revision)
    context.execute(declaration(getattr(script.module, "oldest", None)))


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
        declare(str(context.get_head_revision()))


def run_online() -> None:
    """All of it in the caller's one transaction."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, version_table_schema=SCHEMA, target_metadata=OWN)
    with context.begin_transaction():
        context.run_migrations()
        revision = context.get_context().get_current_revision()
        if revision is not None:
            declare(revision)


if context.is_offline_mode():
    run_offline()
else:
    run_online()
