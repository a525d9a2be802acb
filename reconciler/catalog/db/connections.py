"""Connections to the primary: their settings, the pool, and transactions that are retried."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio
import asyncpg

from reconciler.catalog.db import arrays, blockers
from reconciler.catalog.db.calls import called, retried
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.errors import DRIVER_ERRORS, garbled
from reconciler.catalog.db.schema import SCHEMA, SchemaVersion, declared
from reconciler.errors import CatalogUnavailable, ConfigError

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    PooledConnection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    AnyConnection: TypeAlias = Connection | PooledConnection
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = PooledConnection = AnyConnection = Pool = Any

Row: TypeAlias = asyncpg.Record

T = TypeVar("T")

APPLICATION = "media-reconciler"

COLLISIONS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""Another transaction won; the same one may succeed at once."""

IDLE_SECONDS = 10.0
"""The longest pause between two statements of a transaction; our code does nothing else in between."""

TRIES = 3
RETRY_AFTER = 0.2
"""Seconds before the second attempt to connect."""


def server_settings(config: CatalogConfig) -> dict[str, str]:
    """Settings of every session from its start, whatever role and database are set to; see `OWN`."""
    return {
        "application_name": APPLICATION,
        "default_transaction_isolation": "read committed",
        "default_transaction_read_only": "off",
        # If a crash of the server loses a claim, its delete has been sent all the same.
        "synchronous_commit": "on",
        # A generic plan does not know that a window is the first thousand of a million rows.
        "plan_cache_mode": "force_custom_plan",
        "jit": "off",
        # A thousand keys are to be a thousand probes of an index, not a scan of the whole table.
        "random_page_cost": "1.1",
        "statement_timeout": _milliseconds(config.statement_timeout.total_seconds()),
        "lock_timeout": _milliseconds(config.lock_timeout.total_seconds()),
        # A process that was stopped in mid-transaction must not hold the others up for long.
        "idle_in_transaction_session_timeout": _milliseconds(IDLE_SECONDS),
    }


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


OWN = {
    # A row-level policy that filters must raise an error: objects of hidden rows look like orphans.
    "row_security": "off",
    "search_path": "pg_catalog, pg_temp",
    # The hash of a row covers the text of its columns.
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    # That includes numbers with a fraction, which have to be restored exactly.
    "extra_float_digits": "1",
}
"""Settings that our statements need, and that the users' triggers must not run under.

Each session sets them after its start, so that DEFAULT still means what role, database and URL say (R-54).
"""

# Sent by the simple protocol, which prepares nothing: a pooler may refuse or drop a session's settings. That
# shows as a division by zero: a DO block would load PL/pgSQL, 1.5 ms for each session.
SETTLE = f"""
SELECT 1 / (current_setting('plan_cache_mode') = 'force_custom_plan' AND current_setting('jit') = 'off')::int;
{"; ".join(f"SET {name} = {value}" for name, value in OWN.items())}
"""


async def connect(config: CatalogConfig, **settings: str) -> Connection:
    """One connection outside the pool; tried twice. Raises ConfigError where a pooler answers."""
    try:
        connection = await _connect(config, settings)
    except asyncpg.ProtocolViolationError as error:
        if "startup parameter" not in str(error):
            raise
        raise _pooled(config) from None
    return await _settled(config, connection)


async def _settled(config: CatalogConfig, connection: Connection) -> Connection:
    """The connection, once our own settings are in force; on an error it is closed."""
    try:
        await connection.execute(SETTLE)
    except asyncpg.DivisionByZeroError:
        await connection.close()
        raise _pooled(config) from None
    except asyncpg.PostgresError:
        await connection.close()
        raise
    except BaseException:
        # Cancelled in mid-request: there is no other reference to the connection.
        connection.terminate()
        raise
    arrays.make_known(connection)
    return connection


def _pooled(config: CatalogConfig) -> ConfigError:
    return ConfigError(
        f"RECONCILER_DATABASE_URL {config.where}: a pooler such as PgBouncer, which does not pass on a"
        " session's settings (row_security = off, search_path, time-outs); the lease and every reading that"
        " a deletion rests on need them, so name Postgres itself (a replica takes a dozen connections)"
    )


async def _connect(config: CatalogConfig, settings: dict[str, str]) -> Connection:
    for attempt in (1, 2):
        try:
            return await asyncpg.connect(
                config.url(),
                timeout=config.connect_timeout.total_seconds(),
                statement_cache_size=config.statement_cache_size,
                command_timeout=_command_timeout(config, settings),
                server_settings=server_settings(config) | settings,
            )
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError):
            if attempt == 2:  # noqa: PLR2004  # the second and last
                raise
            await anyio.sleep(RETRY_AFTER)
    raise AssertionError("unreachable")


def _command_timeout(config: CatalogConfig, settings: dict[str, str]) -> float | None:
    """Our own time-out, a little later than the server's, which a broken network does not deliver.

    None for sessions whose statements may take as long as they need.
    """
    if "statement_timeout" in settings:
        return None
    return config.statement_timeout.total_seconds() + config.connect_timeout.total_seconds()


async def by_index(connection: AnyConnection) -> None:
    """Use indexes for the rest of the transaction, wherever there is one.

    Marks come and go by the hundred thousand within minutes, so the planner's estimate of their
    number is never true, and a batch of a thousand must not read them all.
    """
    await connection.execute(
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;"
        " SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;"
        " SET LOCAL random_page_cost = 0.1"
    )


async def schema_version(connection: AnyConnection) -> SchemaVersion:
    # to_regclass and not a bare query: before the first migration there is no such table.
    if await connection.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.alembic_version") is None:
        return SchemaVersion()
    # Cast, because Alembic chooses the column's type.
    row = await connection.fetchrow(
        f"SELECT (SELECT version_num::text FROM {SCHEMA}.alembic_version) AS revision,"
        f" obj_description('{SCHEMA}.alembic_version'::regclass, 'pg_class') AS declaration"
    )
    assert row is not None, "a SELECT without FROM has a row"
    return SchemaVersion(revision=row["revision"], oldest=declared(row["declaration"]))


class Database:
    """The pool, with our errors instead of the driver's."""

    def __init__(self, config: CatalogConfig, pool: Pool) -> None:
        self.config = config
        self._pool = pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PooledConnection]:
        """A pooled connection; each statement runs in its own transaction."""
        async with self._naming_holders():
            with called(self.config):
                async with self._lent() as connection:
                    yield connection

    async def transaction(self, work: Callable[[PooledConnection], Awaitable[T]]) -> T:
        """Run `work` in one READ COMMITTED transaction; retry it where another transaction won.

        `work` must do nothing but talk to the database, since it may run up to three times.
        """
        async with self._naming_holders():
            return await self._repeated(work)
        raise AssertionError("unreachable")

    async def _repeated(self, work: Callable[[PooledConnection], Awaitable[T]]) -> T:
        with called(self.config):
            for attempt in range(1, TRIES + 1):
                try:
                    async with self._lent() as connection, connection.transaction():
                        return await work(connection)
                except COLLISIONS:
                    if attempt == TRIES:
                        raise
                    retried(self.config)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def _naming_holders(self) -> AsyncIterator[None]:
        """Add to the error of a lock time-out the table and the lock's holder, where they are known."""
        try:
            yield
        except CatalogUnavailable as error:
            if not isinstance(error.__cause__, asyncpg.LockNotAvailableError):
                raise
            raise CatalogUnavailable("; ".join([str(error), *await self._holders()])) from error

    async def _holders(self) -> list[str]:
        names = blockers.names(self.config.tables)
        with suppress(*DRIVER_ERRORS, OSError, TimeoutError):
            async with self._lent() as connection:
                return [blockers.holder(row) for row in await connection.fetch(blockers.HOLDERS, names)]
        return []

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[PooledConnection]:
        connection = await self._acquire()
        try:
            yield connection
        except Exception as error:
            if garbled(error):
                connection.terminate()
            raise
        finally:
            # Shielded, so that a cancellation cannot leak the connection; bounded, since a silent server
            # does not confirm the end of a query either.
            with anyio.CancelScope(shield=True):
                await self._pool.release(connection, timeout=self.config.connect_timeout.total_seconds())

    async def _acquire(self) -> PooledConnection:
        try:
            return await self._pool.acquire()
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError):
            retried(self.config)
            await anyio.sleep(RETRY_AFTER)
            return await self._pool.acquire()


@asynccontextmanager
async def open_database(config: CatalogConfig) -> AsyncIterator[Database]:
    """A pool for as long as the context lasts. No connection is made before the first is asked for."""
    pool = await _make_pool(config)
    try:
        yield Database(config, pool)
    finally:
        with anyio.CancelScope(shield=True):
            await _close(pool, config)


async def _make_pool(config: CatalogConfig) -> Pool:
    async def connect_now(_dsn: str, **options: Any) -> Connection:  # noqa: ANN401 - the pool's own
        return await _settled(config, await asyncpg.connect(config.url(), **options))

    return await asyncpg.create_pool(
        config.database_url,
        connect=connect_now,
        min_size=0,
        max_size=config.pool_size,
        timeout=config.connect_timeout.total_seconds(),
        statement_cache_size=config.statement_cache_size,
        command_timeout=_command_timeout(config, {}),
        server_settings=server_settings(config),
        reset=_nothing_to_reset,
    )


async def _nothing_to_reset(_connection: PooledConnection) -> None:
    """Return a connection without another round trip: nothing here outlives its transaction."""


async def _close(pool: Pool, config: CatalogConfig) -> None:
    with anyio.move_on_after(config.connect_timeout.total_seconds()):
        await pool.close()
        return
    pool.terminate()
