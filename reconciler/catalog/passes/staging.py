"""The join for listings without order: copied into the database, which joins them with the rows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import anyio
import asyncpg

from reconciler.catalog.db import bounds, connections
from reconciler.catalog.db.calls import called
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.connections import Connection
from reconciler.catalog.db.errors import DRIVER_ERRORS
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.tables import MediaTables, record_from
from reconciler.errors import CatalogUnavailable
from reconciler.model import ObjectPage, Record, StoredObject, parse_timestamp

T = TypeVar("T")

COLUMNS = ("key", "size", "etag", "modified")

SETTINGS = {
    # A join of a hundred million keys takes as long as it takes.
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    # A dead leader's connection may keep its staging table locked until the server notices.
    "lock_timeout": "10s",
}

ROWS_A_COPY = 10_000
"""Keys in one COPY, some 3 MB of memory: each COPY has a fixed cost of about 2,000 rows."""

LOST = "the listing that was copied into Postgres is not what is there, so Postgres was restarted meanwhile"

LEFTOVERS = r"""
SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname LIKE 'staging\_%'
"""


async def drop_leftovers(connection: Connection) -> None:
    """Drop the tables that a crash left. A table still locked is dropped by the next call."""
    for row in await connection.fetch(LEFTOVERS, SCHEMA):
        with contextlib.suppress(asyncpg.LockNotAvailableError):
            await connection.execute(f'DROP TABLE IF EXISTS {SCHEMA}."{row["relname"]}"')


class PostgresStagingArea:
    """`ports.StagingArea` on Postgres: each area has a dedicated connection."""

    def __init__(self, config: CatalogConfig, media: MediaTables) -> None:
        self._config = config
        self._media = media

    async def clear(self) -> None:
        with called(self._config):
            connection = await connections.connect(self._config, **SETTINGS)
            try:
                await drop_leftovers(connection)
            finally:
                await connection.close()

    def open(self, pass_id: int | None) -> AbstractAsyncContextManager[PostgresStaging]:
        return opened(PostgresStaging, self._config, self._media, pass_id)


class PostgresStaging:
    """`ports.Staging`: a table of the listing, and one for each side's findings.

    One statement stores the findings, and they are read in pages from there, so that no snapshot and no
    transaction stays open while they are marked.
    """

    # The planner takes a million probes of an index in memory for cheap: three times as long at a million
    # keys, and worse the more there are.
    _probes = "off"

    def __init__(
        self, connection: Connection, config: CatalogConfig, media: MediaTables, pass_id: int | None
    ) -> None:
        self._connection = connection
        self._config = config
        self._media = media
        self._kind = "TEMP" if pass_id is None else "UNLOGGED"
        self._schema = "pg_temp" if pass_id is None else SCHEMA
        self._name = "staging" if pass_id is None else f"staging_{pass_id}"
        self._table = f"{self._schema}.{self._name}"
        self._temporary = pass_id is None
        self._alone = anyio.Lock()
        self._sealed = False
        self._waiting: list[tuple[str, int, str, str]] = []
        self._copied = 0

    @property
    def _tables(self) -> Sequence[str]:
        return [f"{self._table}{suffix}" for suffix in ("", "_objects", "_records")]

    async def create(self) -> None:
        with called(self._config):
            if not self._temporary:
                await drop_leftovers(self._connection)
            # No index while it is filled; no vacuum, since it never changes afterwards.
            await self._connection.execute(
                f"CREATE {self._kind} TABLE {self._table}"
                ' (key text COLLATE "C" NOT NULL, size bigint NOT NULL, etag text NOT NULL,'
                " modified text NOT NULL) WITH (autovacuum_enabled = false)"
            )

    async def drop(self) -> None:
        """Drop the tables and ignore errors: a table that cannot be dropped now goes at the next pass."""
        try:
            with anyio.move_on_after(self._config.connect_timeout.total_seconds()):
                if not self._temporary:
                    await self._connection.execute(f"DROP TABLE IF EXISTS {', '.join(self._tables)}")
                await self._connection.close()
        except (OSError, *DRIVER_ERRORS):
            pass
        finally:
            if not self._connection.is_closed():
                self._connection.terminate()

    async def copy(self, page: ObjectPage) -> None:
        rows = zip(page.keys, page.sizes, page.etags, page.modified, strict=True)
        # The whole page is checked at once: a page with such a key is one in a million.
        if bounds.storable("".join(page.keys)):
            self._waiting += rows
        else:
            # What Postgres' text cannot hold can match no row.
            self._waiting += [row for row in rows if bounds.storable(row[0])]
        if len(self._waiting) >= ROWS_A_COPY:
            async with self._alone:
                with called(self._config):
                    await self._flush()

    async def _flush(self) -> None:
        await self._connection.copy_records_to_table(
            self._name, schema_name=self._schema, records=self._waiting, columns=COLUMNS
        )
        self._copied += len(self._waiting)
        self._waiting.clear()

    async def seal(self) -> tuple[int, int]:
        async with self._alone:
            with called(self._config):
                await self._flush()
                doubles = await self._index()
                await self._connection.execute(f"ANALYZE {self._table}")
                row = await self._connection.fetchrow(
                    f"SELECT count(*) AS objects, coalesce(sum(size), 0)::text AS bytes FROM {self._table}"
                )
                assert row is not None
                objects, size = row["objects"], int(row["bytes"])
        if objects != self._copied - doubles:
            raise CatalogUnavailable(
                f"{LOST}: {self._copied - doubles:,} of its keys were copied, {objects:,} are there"
            )
        self._sealed = True
        return objects, size

    async def _index(self) -> int:
        """Index the key, which finds duplicates; returns how many rows were removed as such.

        A listing without order may name a key twice; any one of the two stays.
        """
        try:
            await self._connection.execute(f"CREATE UNIQUE INDEX ON {self._table} (key)")
        except asyncpg.UniqueViolationError:
            await self._connection.execute(f"CREATE INDEX ON {self._table} (key)")
            deleted = await self._connection.execute(
                f"DELETE FROM {self._table} s USING"
                f" (SELECT key, min(ctid) AS first FROM {self._table} GROUP BY key HAVING count(*) > 1) d"
                " WHERE s.key = d.key AND s.ctid <> d.first"
            )
            return int(deleted.rpartition(" ")[2])
        return 0

    async def objects_without_record(self, page_size: int = 1000) -> AsyncIterator[Sequence[StoredObject]]:
        # Every row keeps its object, whatever its state and prefix. A row also protects the key into which a
        # store without order may have rewritten its own: `a/b` for `a//b`.
        await self._write_down(
            "_objects",
            "SELECT row_number() OVER () AS n, each.* FROM (SELECT s.key, s.size, s.etag, s.modified"
            f" FROM {self._table} s WHERE NOT EXISTS (SELECT FROM {self._media.media}"
            f' WHERE {self._media.key_text} COLLATE "C" = s.key)'
            f" AND NOT EXISTS (SELECT FROM {self._media.media} WHERE {self._media.is_rewritten}"
            f" AND {self._media.rewritten_key} = s.key) ORDER BY s.key) each",
        )
        columns = "key, size, etag, modified"
        async for page in self._pages("_objects", columns, "", page_size, _object_from):
            yield page

    async def records_without_object(
        self, prefixes: Sequence[str], page_size: int = 1000
    ) -> AsyncIterator[Sequence[Record]]:
        media = self._media
        within, values = bounds.condition(media.ordered_key, bounds.managed(prefixes), 1)
        await self._write_down(
            "_records",
            f"SELECT row_number() OVER () AS n, each.* FROM (SELECT {media.identity.copied()}"
            f" FROM {self._lacking(within)} ORDER BY {media.ordered_key}) each",
            values,
        )
        # Rows are read as they are when the page is read.
        joined = f" JOIN {media.joined} ON {media.identity.equals_copied('f')}"
        async for page in self._pages("_records", media.columns, joined, page_size, record_from):
            yield page

    def _lacking(self, within: str) -> str:
        """SQL of the rows within these bounds that have no object."""
        media = self._media
        return (
            f"{media.media} WHERE {within} AND NOT EXISTS (SELECT FROM {self._table} s"
            f' WHERE s.key = {media.key_text} COLLATE "C")'
        )

    async def _write_down(self, suffix: str, query: str, values: Sequence[str] = ()) -> None:
        assert self._sealed, "rows are read only after the whole listing"
        table = f"{self._table}{suffix}"
        async with self._alone:
            with called(self._config):
                await self._connection.execute(f"SET enable_nestloop = {self._probes}")
                await self._connection.execute(f"CREATE {self._kind} TABLE {table} AS {query}", *values)
                await self._connection.execute("RESET enable_nestloop")
                await self._require_listing()
                await self._connection.execute(f"CREATE INDEX ON {table} (n)")
                await self._connection.execute(f"ANALYZE {table}")

    async def _require_listing(self) -> None:
        """Raise if the table is empty: a crash of Postgres empties it; a pooled connection may live on."""
        if self._copied and not await self._connection.fetchval(f"SELECT EXISTS (SELECT FROM {self._table})"):
            raise CatalogUnavailable(f"{LOST}: the table is empty")

    async def _pages(
        self, suffix: str, columns: str, joined: str, page_size: int, read: Callable[[connections.Row], T]
    ) -> AsyncIterator[list[T]]:
        table = f"{self._table}{suffix}"
        async with self._alone:
            with called(self._config):
                total = await self._connection.fetchval(f"SELECT count(*) FROM {table}")
        for start in range(0, total, page_size):
            async with self._alone:
                with called(self._config):
                    rows = await self._connection.fetch(
                        f"SELECT {columns} FROM {table} f{joined} WHERE f.n > $1 AND f.n <= $2 ORDER BY f.n",
                        start,
                        start + page_size,
                    )
                    page = [read(row) for row in rows]
            if page:
                yield page


S = TypeVar("S", bound=PostgresStaging)


@asynccontextmanager
async def opened(
    kind: type[S], config: CatalogConfig, media: MediaTables, pass_id: int | None
) -> AsyncIterator[S]:
    """Tables of that kind on a connection of their own, which end with the context."""
    with called(config):
        connection = await connections.connect(config, **SETTINGS)
    staging = kind(connection, config, media, pass_id)
    try:
        await staging.create()
        yield staging
    finally:
        with anyio.CancelScope(shield=True):
            await staging.drop()


def _object_from(row: connections.Row) -> StoredObject:
    return StoredObject(
        key=row["key"], size=row["size"], etag=row["etag"], last_modified=parse_timestamp(row["modified"])
    )
