"""Brings the schema to a revision, or writes the SQL that would. Blocking: call it from a thread.

What is the gateway's is left alone: its two tables, the one index that the sweep asks for and the
triggers are made only when they are asked for.
"""

from __future__ import annotations

import asyncio
import io
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import alembic.command
import anyio
import asyncpg
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import text
from sqlalchemy.engine import Connection as SyncConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from reconciler.catalog.db import connections
from reconciler.catalog.db.config import CatalogConfig, TableMapping
from reconciler.catalog.db.connections import Connection
from reconciler.catalog.db.errors import translate, translated
from reconciler.catalog.db.schema import SCHEMA, SchemaVersion, declared
from reconciler.catalog.media_tables import creation, indexes, row_filter, triggers
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.errors import ConfigError

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What of the gateway's schema is to be touched, besides ours."""

    create_tables: bool
    create_index: bool
    with_triggers: bool | None


ADVISORY_LOCK = 7_236_837_005_911_042
"""Any number that nobody else takes: it lets one run of the migrations in at a time."""

LOCK_TIMEOUT = "2s"
"""How long a migration waits for a table, and whoever comes after it too; then it rather tries again."""

TRIES = 15
AGAIN_AFTER = (0.2, 1.0)
"""Seconds."""

IN_THE_WAY = (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
"""Replicas go on while the schema is expanded, and lock its tables in an order of their own."""


def upgrade(
    config: CatalogConfig | str,
    revision: str = "head",
    *,
    sql: bool = False,
    create_tables: bool = False,
    create_index: bool = False,
    with_triggers: bool | None = None,
    out: TextIO | None = None,
) -> None:
    """Bring the schema up to `revision`, and say on `out` what was done.

    `config` may be a database's address alone, for the gateway's own table names. With `sql` the
    statements are written to `out` instead, without a database. `create_tables` also makes the
    gateway's two tables, where it has none. `create_index` also builds the index on the storage key
    in byte order, without locking the table. `with_triggers` installs the optional triggers (True),
    removes them (False), or leaves them as they are. Raises ConfigError, CatalogUnavailable.
    """
    config, say = _resolved(config), _teller(out)
    if create_tables:
        creation.require_default(config.tables)
    asked = _Asked(create_tables=create_tables, create_index=create_index, with_triggers=with_triggers)
    if sql:
        _offline(config, revision, asked, out=out or sys.stdout)
        return
    with translated(config.where):
        asyncio.run(_upgrade(config, revision, asked, say=say))


def downgrade(config: CatalogConfig | str, revision: str = "base", *, out: TextIO | None = None) -> None:
    """Take the schema down to `revision`; of the gateway's schema only what a migration made is dropped."""
    config, say = _resolved(config), _teller(out)
    with translated(config.where):
        asyncio.run(_downgrade(config, revision, say))


def current(config: CatalogConfig | str) -> str | None:
    """The revision that the database is at; None before the first."""
    config = _resolved(config)
    with translated(config.where):
        return asyncio.run(_current(config))


def alembic_config() -> Config:
    """Alembic's configuration, without a file: `migrations/` lies beside the package or inside it."""
    made = Config()
    made.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    return made


def _scripts() -> Path:
    package = Path(__file__).parent.parent
    for candidate in (package / "migrations", package.parent / "migrations"):
        if (candidate / "env.py").is_file():
            return candidate
    raise ConfigError(f"the migrations are missing from {package}; install media-reconciler again")


def _resolved(config: CatalogConfig | str) -> CatalogConfig:
    return CatalogConfig(database_url=config) if isinstance(config, str) else config


def _teller(out: TextIO | None) -> Say:
    return lambda line: None if out is None else print(line, file=out)


def _offline(config: CatalogConfig, revision: str, asked: _Asked, out: TextIO) -> None:
    made = alembic_config()
    made.output_buffer = written = io.StringIO()
    alembic.command.upgrade(made, revision, sql=True)
    out.write(written.getvalue())
    if asked.create_tables:
        out.write(f"\n{creation.script()}")
    if asked.create_index:
        out.write(f"\n{indexes.offline_statement(config.tables)};\n")
    if asked.with_triggers is not None:
        out.write("\n" + (triggers.script(config.tables) if asked.with_triggers else triggers.removal()))


async def _upgrade(config: CatalogConfig, revision: str, asked: _Asked, say: Say) -> None:
    if asked.create_tables:
        async with _connected(config) as connection:
            # Before anything else: this may be the wrong database.
            await creation.refuse(connection)
    before, after = await _run(config, lambda made: alembic.command.upgrade(made, revision))
    was = " already" if before == after else f", was at {before or 'nothing'}"
    if SchemaVersion(revision=after).newer:
        was = ", which a newer version made and this one may use; it was left alone"
    say(f"schema {SCHEMA} is at {after}{was}")
    async with _connected(config) as connection:
        await _beside(connection, config.tables, asked, say)


async def _beside(connection: Connection, tables: TableMapping, asked: _Asked, say: Say) -> None:
    """What is asked for in the gateway's schema, and a line where that has no such tables."""
    tables, faults = await row_filter.typed(connection, tables)
    if faults:
        raise ConfigError("\n".join(faults))
    if asked.create_tables:
        say(await creation.create(connection, ADVISORY_LOCK))
    elif line := await creation.missing(connection, tables):
        say(line)
    if asked.create_index:
        say(await indexes.ensure(connection, tables))
    if asked.with_triggers is not None:
        act = triggers.install if asked.with_triggers else triggers.remove
        say(await act(connection, tables))
    elif await triggers.state(connection, tables) is Triggers.OUTDATED:
        say(
            f"the triggers on {tables.media_table} are not those of this version: run"
            " `reconciler migrate --install-triggers` again"
        )


@asynccontextmanager
async def _connected(config: CatalogConfig) -> AsyncIterator[Connection]:
    connection = await connections.connect(config)
    try:
        yield connection
    finally:
        await connection.close()


async def _downgrade(config: CatalogConfig, revision: str, say: Say) -> None:
    before, after = await _run(config, lambda made: alembic.command.downgrade(made, revision))
    if after is None:
        async with _connected(config) as connection:
            # The last trace: Alembic's own table and the schema, which is empty now.
            await connection.execute(f"DROP TABLE IF EXISTS {SCHEMA}.alembic_version")
            await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA}")
    say(f"schema {SCHEMA} is at {after or 'nothing'}, was at {before or 'nothing'}")


async def _current(config: CatalogConfig) -> str | None:
    async with _connected(config) as connection:
        return (await connections.schema_version(connection)).revision


async def _run(config: CatalogConfig, command: Callable[[Config], None]) -> tuple[str | None, str | None]:
    """One transaction for all of it; anew where replicas at work were in its way. Returns the revisions
    before and after.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return await _attempt(config, command)
        except DBAPIError as error:
            if tries == TRIES or not isinstance(_driver_error(error), IN_THE_WAY):
                raise _explained(error, config) from error
        await anyio.sleep(random.uniform(*AGAIN_AFTER))


async def _attempt(config: CatalogConfig, command: Callable[[Config], None]) -> tuple[str | None, str | None]:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        async_creator=lambda: connections.connect(config),
    )
    try:
        async with engine.connect() as connection, connection.begin():
            return await connection.run_sync(_commanded, alembic_config(), command)
    except CommandError as error:
        raise ConfigError(f"migrate: {str(error).splitlines()[0]}") from error
    finally:
        await engine.dispose()


def _commanded(
    connection: SyncConnection, made: Config, command: Callable[[Config], None]
) -> tuple[str | None, str | None]:
    made.attributes["connection"] = connection
    # Before anything is read, so that whoever waited sees what the other one did; it ends with the
    # transaction.
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    if connection.execute(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}).scalar() is None:
        # Asked first: IF NOT EXISTS takes the privilege even where there is nothing to make.
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    before = _version(connection)
    if before.newer:
        # Another program's migrations, which ours know nothing of: a roll-back finds them as they are.
        if before.misfit:
            raise ConfigError(before.misfit)
        return before.revision, before.revision
    command(made)
    return before.revision, _version(connection).revision


def _version(connection: SyncConnection) -> SchemaVersion:
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    revision = context.get_current_revision()
    told = text("SELECT obj_description(to_regclass(:table), 'pg_class')")
    comment = connection.execute(told, {"table": f"{SCHEMA}.alembic_version"}).scalar()
    return SchemaVersion(revision=revision, oldest=declared(comment))


def _driver_error(error: DBAPIError) -> BaseException | None:
    return error.orig.__cause__ if error.orig else None


def _explained(error: DBAPIError, config: CatalogConfig) -> Exception:
    """The driver's own error, whose message a RAISE in a migration wrote for the reader."""
    cause = _driver_error(error)
    if isinstance(cause, asyncpg.RaiseError):
        return ConfigError(str(cause))
    return translate(cause, config.where) if cause else error
