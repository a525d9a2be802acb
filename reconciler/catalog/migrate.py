"""Brings the schema to a revision, or writes the SQL that would. Blocking: call it from a thread.

The gateway's own schema is left alone: its two tables, the one index that serves the sweep, and the
triggers are made only on request.
"""

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
from reconciler.catalog.media_tables import creation, departing, indexes, row_filter, triggers
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.errors import ConfigError, Halt

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The requested changes to the gateway's schema, in addition to our own."""

    create_tables: bool
    create_index: bool
    with_triggers: bool | None


ADVISORY_LOCK = 7_236_837_005_911_042
"""An arbitrary number of ours: the lock that admits one run of the migrations at a time."""

LOCK_TIMEOUT = "2s"
"""How long a migration waits for a table before it retries: sessions behind it wait as long."""

TRIES = 15
AGAIN_AFTER = (0.2, 1.0)
"""Seconds before a retry, at least and at most."""

IN_THE_WAY = (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
"""Replicas go on while the schema is expanded, and lock its tables in another order."""


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

    `config` may be just a database's URL, for the gateway's default table names. With `sql` the
    statements are written to `out` instead, without a database. `create_tables` also makes the
    gateway's two tables, where it has none. `create_index` also builds the index on the storage key
    in byte order, without locking the table. `with_triggers` installs the optional triggers (True),
    removes them (False), or leaves them as they are. Raises ConfigError, CatalogUnavailable.
    """
    config, say = _resolved(config), _printer(out)
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
    config, say = _resolved(config), _printer(out)
    with translated(config.where):
        asyncio.run(_downgrade(config, revision, say))


def current(config: CatalogConfig | str) -> str | None:
    """The database's current revision; None before the first."""
    config = _resolved(config)
    with translated(config.where):
        return asyncio.run(_current(config))


def alembic_config() -> Config:
    """Alembic's configuration, without a file: `migrations/` lies next to the package or inside it."""
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


def _printer(out: TextIO | None) -> Say:
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
    """Make the requested changes to the gateway's schema; say a line where its tables are missing."""
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
    elif await _outdated(connection, tables):
        say(
            f"the triggers on {tables.media_table} are not those of this version: run"
            " `reconciler migrate --install-triggers` again"
        )


async def _outdated(connection: Connection, tables: TableMapping) -> bool:
    """Whether triggers are installed, and some of them are not those of this version."""
    found = await triggers.state(connection, tables)
    return found is Triggers.OUTDATED or (
        found is Triggers.INSTALLED and not await departing.whole(connection, tables)
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
            # The last remains: Alembic's own table and the schema, which is empty now.
            await connection.execute(f"DROP TABLE IF EXISTS {SCHEMA}.alembic_version")
            await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA}")
    say(f"schema {SCHEMA} is at {after or 'nothing'}, was at {before or 'nothing'}")


async def _current(config: CatalogConfig) -> str | None:
    async with _connected(config) as connection:
        return (await connections.schema_version(connection)).revision


async def _run(config: CatalogConfig, command: Callable[[Config], None]) -> tuple[str | None, str | None]:
    """Run all of it in one transaction; retry where replicas at work blocked it. Returns the revisions
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
    # Taken before anything is read, so that a run that waited sees what the other one did; it ends with the
    # transaction.
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    if connection.execute(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}).scalar() is None:
        # Checked first: IF NOT EXISTS needs the privilege even where the schema exists.
        _require_create(connection)
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    before = _version(connection)
    if before.newer:
        # A newer program's migrations, unknown to ours: after a roll-back they are left as they are.
        if before.misfit:
            raise ConfigError(before.misfit)
        return before.revision, before.revision
    command(made)
    return before.revision, _version(connection).revision


def _require_create(connection: SyncConnection) -> None:
    """Raises Halt, with the statement to paste, where this role may make no schema."""
    query = (
        "SELECT has_database_privilege(current_database(), 'CREATE') AS may,"
        " quote_ident(current_database()) AS database, quote_ident(current_user) AS role"
    )
    found = connection.execute(text(query)).one()
    if not found.may:
        raise Halt(
            f"permission denied: role {found.role} may not make the schema {SCHEMA} in database"
            f" {found.database}; as the database's owner, in psql: GRANT CREATE ON DATABASE {found.database}"
            f" TO {found.role};"
        )


def _version(connection: SyncConnection) -> SchemaVersion:
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    revision = context.get_current_revision()
    query = text("SELECT obj_description(to_regclass(:table), 'pg_class')")
    comment = connection.execute(query, {"table": f"{SCHEMA}.alembic_version"}).scalar()
    return SchemaVersion(revision=revision, oldest=declared(comment))


def _driver_error(error: DBAPIError) -> BaseException | None:
    return error.orig.__cause__ if error.orig else None


def _explained(error: DBAPIError, config: CatalogConfig) -> Exception:
    """Our error for the driver's; the message of a RAISE in a migration is written for the reader."""
    cause = _driver_error(error)
    if isinstance(cause, asyncpg.RaiseError):
        return ConfigError(str(cause))
    return translate(cause, config.where) if cause else error
