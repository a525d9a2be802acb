"""What a comparison elsewhere has found, copied next to the rows, which are asked again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from reconciler.catalog.db import bounds
from reconciler.catalog.db.calls import called
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.passes.staging import PostgresStaging, opened


class PostgresNominationArea:
    """`ports.NominationArea` on Postgres: each area has a dedicated connection."""

    def __init__(self, config: CatalogConfig, media: MediaTables) -> None:
        self._config = config
        self._media = media

    def open(self, pass_id: int | None) -> AbstractAsyncContextManager[PostgresNominations]:
        return opened(PostgresNominations, self._config, self._media, pass_id)


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

    def _lacking(self, within: str) -> str:
        media = self._media
        return (
            f"{media.media} JOIN {self._table}_missing s"
            f' ON {media.key_text} COLLATE "C" = s.key WHERE {within}'
        )
