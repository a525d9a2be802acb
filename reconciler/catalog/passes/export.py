"""Rows leave by COPY, in byte order, several ranges at once under one exported snapshot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import anyio

from reconciler.catalog.db import bounds, connections
from reconciler.catalog.db.bounds import Bounds
from reconciler.catalog.db.calls import called
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.connections import Connection
from reconciler.catalog.media_tables.records import GatewayRecords
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.errors import CatalogUnavailable

SETTINGS: Final = {
    # A hundred million rows take as long as they take; how long in all is bounded here.
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "work_mem": "64MB",
}

LONGEST: Final = timedelta(hours=2)
"""How long a snapshot is held at most: nothing that was deleted meanwhile is vacuumed."""

RANGES: Final = 8
"""Ranges of a large table, copied a few at a time: uneven ones even out."""

SMALL: Final = 1_000_000
"""Rows up to which one range does."""

_SNAPSHOT: Final = "SELECT pg_export_snapshot() AS id, clock_timestamp() AS at"
_BEGIN: Final = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class PostgresExport:
    """`ports.RowExport` on Postgres."""

    def __init__(self, config: CatalogConfig, media: MediaTables, records: GatewayRecords) -> None:
        self._config = config
        self._media = media
        self._records = records

    @asynccontextmanager
    async def open(self, prefixes: Sequence[str]) -> AsyncIterator[PostgresSnapshot]:
        planned = await self._plan(prefixes)
        with called(self._config):
            connection = await connections.connect(self._config, **SETTINGS)
        try:
            with called(self._config):
                await connection.execute(_BEGIN)
                row = await connection.fetchrow(_SNAPSHOT)
                assert row is not None
            snapshot = PostgresSnapshot(self._config, self._media, planned, row["id"], row["at"])
            with anyio.move_on_after(LONGEST.total_seconds()) as scope:
                yield snapshot
            if scope.cancelled_caught:
                raise CatalogUnavailable(
                    f"the rows were not copied within {LONGEST}, and a snapshot is not held for longer:"
                    " nothing of this sweep is used"
                )
        finally:
            with anyio.CancelScope(shield=True):
                await _close(connection, self._config)

    async def _plan(self, prefixes: Sequence[str]) -> Bounds:
        """Several ranges only where an index has the rows in byte order: otherwise each would be a scan."""
        planned: list[tuple[str, str | None]] = []
        for prefix in prefixes:
            cuts: Sequence[str] = ()
            if self._media.ordered and await self._records.count([prefix]) > SMALL:
                cuts = sorted(set(await self._records.sample_keys(prefix, RANGES - 1)))
            for low, high in bounds.managed([prefix]):
                inside = [each for each in cuts if each > low and (high is None or each < high)]
                planned += zip((low, *inside), (*inside, high), strict=True)
        return tuple(planned)


class PostgresSnapshot:
    """`ports.RowSnapshot`: the rows as the exported snapshot shows them."""

    def __init__(
        self, config: CatalogConfig, media: MediaTables, planned: Bounds, exported: str, read_at: datetime
    ) -> None:
        self._config = config
        self._media = media
        self._exported = exported
        self.read_at = read_at
        self.bounds = planned

    async def copy(
        self, low: str, high: str | None, ripe: datetime, write: Callable[[bytes], Awaitable[None]]
    ) -> int:
        with called(self._config):
            connection = await connections.connect(self._config, **SETTINGS)
        try:
            with called(self._config):
                await connection.execute(_BEGIN)
                await connection.execute(f"SET TRANSACTION SNAPSHOT '{self._exported}'")
                query, values = self._query(low, high, ripe)
                options: dict[str, Any] = {"format": "csv", "force_quote": ("key",)}
                copied = await connection.copy_from_query(query, *values, output=write, **options)
                return int(copied.rpartition(" ")[2])
        finally:
            with anyio.CancelScope(shield=True):
                await _close(connection, self._config)

    def _query(self, low: str, high: str | None, ripe: datetime) -> tuple[str, list[object]]:
        """Each key once, with whether one of its rows was made before `ripe`. The date is decided here: what
        is no time on its way elsewhere (infinity) would be one there.
        """
        media = self._media
        within, texts = bounds.condition(media.ordered_key, ((low, high),), 2)
        old = f"coalesce({media.created} < $1::timestamptz, false)"
        each = f"SELECT {media.key_text} AS key, {old} AS ripe FROM {media.media} WHERE {within}"
        if media.unique:
            return f"{each} ORDER BY {media.ordered_key}", [ripe, *texts]
        once = (
            f"SELECT {media.key_text} AS key, bool_or({old}) AS ripe FROM {media.media} WHERE {within}"
            f" GROUP BY {media.ordered_key}, {media.key_text} ORDER BY {media.ordered_key}"
        )
        return once, [ripe, *texts]


async def _close(connection: Connection, config: CatalogConfig) -> None:
    with anyio.move_on_after(config.connect_timeout.total_seconds()):
        await connection.close()
    if not connection.is_closed():
        connection.terminate()
