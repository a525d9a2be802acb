"""What a comparison elsewhere has found, copied next to the rows, which are asked again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio

from reconciler.catalog.db import bounds, connections
from reconciler.catalog.db.calls import called
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.media_tables.tables import MediaTables, record_from
from reconciler.catalog.passes.staging import SETTINGS, PostgresStaging
from reconciler.model import Record


class PostgresNominationArea:
    """`ports.NominationArea` on Postgres: each area has a dedicated connection."""

    def __init__(self, config: CatalogConfig, media: MediaTables) -> None:
        self._config = config
        self._media = media

    @asynccontextmanager
    async def open(self, pass_id: int | None) -> AsyncIterator[PostgresNominations]:
        with called(self._config):
            connection = await connections.connect(self._config, **SETTINGS)
        area = PostgresNominations(connection, self._config, self._media, pass_id)
        try:
            await area.create()
            yield area
        finally:
            with anyio.CancelScope(shield=True):
                await area.drop()


class PostgresNominations(PostgresStaging):
    """`ports.Nominations`: the staging of a listing, in which only the nominated are."""

    # Few keys against many rows: where an index serves, it is probed.
    _probes = "on"

    @property
    def _tables(self) -> Sequence[str]:
        return [*super()._tables, f"{self._table}_missing"]

    async def create(self) -> None:
        await super().create()
        with called(self._config):
            await self._connection.execute(
                f"CREATE {self._kind} TABLE {self._table}_missing"
                ' (key text COLLATE "C" NOT NULL) WITH (autovacuum_enabled = false)'
            )

    async def copy_missing(self, keys: Sequence[str]) -> None:
        async with self._alone:
            with called(self._config):
                await self._connection.copy_records_to_table(
                    f"{self._name}_missing",
                    schema_name=self._schema,
                    records=[(key,) for key in keys if bounds.storable(key)],
                    columns=("key",),
                )

    async def seal(self) -> tuple[int, int]:
        async with self._alone:
            with called(self._config):
                await self._connection.execute(f"ANALYZE {self._table}_missing")
        return await super().seal()

    async def records_without_object(
        self, prefixes: Sequence[str], page_size: int = 1000
    ) -> AsyncIterator[Sequence[Record]]:
        media = self._media
        within, values = bounds.condition(media.ordered_key, bounds.managed(prefixes), 1)
        await self._write_down(
            "_records",
            f"SELECT row_number() OVER () AS n, each.* FROM (SELECT {media.identity.copied()}"
            f' FROM {media.media} JOIN {self._table}_missing s ON {media.key_text} COLLATE "C" = s.key'
            f" WHERE {within} ORDER BY {media.ordered_key}) each",
            values,
        )
        joined = f" JOIN {media.joined} ON {media.identity.equals_copied('f')}"
        async for page in self._pages("_records", media.columns, joined, page_size, record_from):
            yield page
