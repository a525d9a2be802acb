"""What the leader reports: the state of marks and passes, and what is stored.

Nothing here writes or locks, and a reading holds no other transaction's horizon back: it has no transaction
id of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias

import anyio

from reconciler import model
from reconciler.catalog import holds
from reconciler.catalog.db import bounds, connections
from reconciler.catalog.db.calls import called
from reconciler.catalog.db.connections import AnyConnection, Connection, Database, Row
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.mark_rows import SEEN_ENOUGH, claimable_arguments
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.recovery.purge import HIDDEN_TOTALS

STORAGE_PATIENCE = timedelta(minutes=10)
"""The longest time that adding up the media table may take."""

OTHER = "other"

Drift: TypeAlias = Mapping[model.Verdict, tuple[int, int, datetime | None]]
"""As in `Standing`: marks, their bytes, first sighting of the oldest."""

DRIFT = f"""
SELECT verdict, count(*) AS keys, sum(greatest(bytes, 0))::text AS bytes, min(first_seen_at) AS oldest
FROM {SCHEMA}.marks GROUP BY verdict
"""

LEADER = f"""
SELECT holder, epoch, acquired_at, expires_at FROM {SCHEMA}.lease WHERE expires_at > clock_timestamp()
"""

# As `CLAIMABLE`, but with postponed and claimed marks: they are due too, and not deleted yet. The delay of
# every mark restarts when dry run turns into live.
DUE = f"""
SELECT count(*) AS due, min(greatest(m.due_at, live.since + $3::interval)) AS oldest
FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
CROSS JOIN (SELECT coalesce((SELECT live_since FROM {SCHEMA}.term), '-infinity') AS since) live
WHERE m.state = 'claimed'
   OR p.state = 'released' AND m.verdict = ANY($2::text[])
      AND m.due_at <= $1::timestamptz AND live.since + $3 <= $1
      AND {SEEN_ENOUGH}
      AND EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS b (low, high)
                  WHERE m.storage_key >= b.low AND (b.high IS NULL OR m.storage_key < b.high))
      AND NOT {{held}}
"""

TRIPPED = f"SELECT kind, count(*) AS passes FROM {SCHEMA}.passes WHERE state = 'tripped' GROUP BY kind"

# Key ranges of the newest sweep, while it runs.
RANGES = f"""
SELECT count(*) FILTER (WHERE r.done) AS done, count(*) FILTER (WHERE NOT r.done) AS open
FROM {SCHEMA}.ranges r
WHERE r.pass_id = (SELECT n.id FROM (SELECT id, state FROM {SCHEMA}.passes
                                     WHERE kind = 'sweep' ORDER BY id DESC LIMIT 1) n
                   WHERE n.state = 'running')
"""

# The mode of the newest pass, and the first pass since which all have had that mode.
MODE_SINCE = f"""
SELECT n.mode, (SELECT f.cutoff FROM {SCHEMA}.passes f
                WHERE f.id > coalesce((SELECT max(o.id) FROM {SCHEMA}.passes o WHERE o.mode <> n.mode), 0)
                ORDER BY f.id LIMIT 1) AS since
FROM (SELECT mode FROM {SCHEMA}.passes ORDER BY id DESC LIMIT 1) n
"""

# Reads the table once. All parts after the largest ones are added up as one.
STORAGE = """
WITH parts AS (
    SELECT ARRAY[{names}] AS names, count(*) AS objects, coalesce(sum({size}), 0) AS bytes
    FROM {media} WHERE {within} GROUP BY 1
), ranked AS (
    SELECT *, row_number() OVER (ORDER BY bytes DESC, objects DESC, names) AS place FROM parts
)
SELECT least(place, {top} + 1) AS place, min(names) AS names, sum(objects)::bigint AS objects,
       sum(bytes)::text AS bytes, count(*) AS parts
FROM ranked GROUP BY 1 ORDER BY 1
"""


class PostgresStatistics:
    """Reads the numbers for metrics and for `reconciler storage`."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media
        self._due = DUE.format(held=holds.held_condition(media, "$1"))

    async def standing(self, policy: model.Policy, verdicts: Sequence[model.Verdict]) -> model.Standing:
        """The state of marks and passes under the settings in force. Reads every mark. Raises Retryable."""
        async with self._database.connection() as connection:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
            drift = await _drift(connection)
            due = await connection.fetchrow(self._due, *claimable_arguments(now, policy, verdicts))
            tripped = await connection.fetch(TRIPPED)
            ranges = await connection.fetchrow(RANGES)
            hidden = await connection.fetchrow(HIDDEN_TOTALS)
            assert due is not None
            assert ranges is not None
            assert hidden is not None
            return model.Standing(
                drift=drift,
                due=due["due"],
                oldest_due=due["oldest"],
                tripped={model.PassKind(row["kind"]): row["passes"] for row in tripped},
                ranges_done=ranges["done"],
                ranges_open=ranges["open"],
                hidden=(hidden["objects"], int(hidden["bytes"])),
            )

    async def drift(self) -> Drift:
        """The marks by verdict. Reads every mark. Raises Retryable."""
        async with self._database.connection() as connection:
            return await _drift(connection)

    async def leader(self) -> model.Leader | None:
        """The replica that holds the lease at this moment; None without one."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(LEADER)
            return model.Leader(**row) if row else None

    async def mode_since(self) -> model.ModeSince | None:
        """The mode of the newest pass, and since when passes have had it; None before the first pass."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(MODE_SINCE)
            return model.ModeSince(mode=model.Mode(row["mode"]), since=row["since"]) if row else None

    async def storage(self, by: Sequence[model.StorageBy], top: int) -> model.Storage:
        """The rows in the managed prefixes, grouped by these; the `top` largest groups are listed apart.

        Reads the whole table once, on a dedicated connection. Before first contact the prefixes are not
        known, and every row counts. Raises CatalogUnavailable, also after ten minutes.
        """
        config = self._database.config
        limit = str(int(STORAGE_PATIENCE.total_seconds() * 1000))
        with called(config):
            connection = await connections.connect(config, statement_timeout=limit)
            try:
                at: datetime = await connection.fetchval("SELECT clock_timestamp()")
                prefixes = await connection.fetchval(f"SELECT prefixes FROM {SCHEMA}.site")
                rows = await self._add_up(connection, prefixes, by, top)
                return replace(_storage(at, rows, by, top), prefixes=prefixes)
            finally:
                await _close(connection, config.connect_timeout)

    async def _add_up(
        self,
        connection: AnyConnection,
        prefixes: Sequence[str] | None,
        by: Sequence[model.StorageBy],
        top: int,
    ) -> Sequence[Row]:
        media = self._media
        within, values = bounds.condition(media.ordered_key, bounds.managed(prefixes or [""]), 1)
        names = ", ".join(media.named(each) for each in by)
        query = STORAGE.format(names=names, size=media.size, media=media.media, within=within, top=int(top))
        rows: Sequence[Row] = await connection.fetch(query, *values)
        return rows


async def _drift(connection: AnyConnection) -> Drift:
    rows = await connection.fetch(DRIFT)
    return {model.Verdict(row["verdict"]): (row["keys"], int(row["bytes"]), row["oldest"]) for row in rows}


async def _close(connection: Connection, patience: timedelta) -> None:
    with anyio.CancelScope(shield=True), anyio.move_on_after(patience.total_seconds()):
        await connection.close()
    if not connection.is_closed():
        connection.terminate()


def _storage(at: datetime, rows: Sequence[Row], by: Sequence[model.StorageBy], top: int) -> model.Storage:
    rest = next((row for row in rows if row["place"] > top), None)
    return model.Storage(
        at=at,
        largest=[
            model.StoragePart(names=tuple(row["names"]), objects=row["objects"], bytes=int(row["bytes"]))
            for row in rows
            if row["place"] <= top
        ],
        other=model.StoragePart(
            names=(OTHER,) * len(by),
            objects=rest["objects"] if rest else 0,
            bytes=int(rest["bytes"]) if rest else 0,
        ),
        other_parts=rest["parts"] if rest else 0,
    )
