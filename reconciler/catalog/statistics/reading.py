"""Reads the numbers: each method takes its own connection, and none takes the lease."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler import model
from reconciler.catalog import holds
from reconciler.catalog.db.connections import Database
from reconciler.catalog.db.patient import patient
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import quotas
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.recovery.purge import HIDDEN_BY_BUCKET
from reconciler.catalog.statistics import breakdown, stored
from reconciler.catalog.statistics import standing as marks

LEADER = f"""
SELECT holder, epoch, acquired_at, expires_at FROM {SCHEMA}.lease WHERE expires_at > clock_timestamp()
"""

# Keys of live deletions; by the index on `at`.
RECENT = f"""
SELECT count(DISTINCT storage_key) FROM {SCHEMA}.ledger
WHERE at > clock_timestamp() - $1::interval AND event = 'result' AND mode = 'live' AND result = 'deleted'
"""

# Objects that went for good, either at once or by a purge, and those that came back. By the index on `at`.
LATELY = f"""
SELECT d.days, coalesce(sum(l.bytes) FILTER (WHERE l.event <> 'restored'), 0)::text AS freed,
       count(*) FILTER (WHERE l.event = 'restored') AS restored
FROM {SCHEMA}.ledger l
JOIN unnest($1::int[]) AS d (days) ON l.at > clock_timestamp() - d.days * interval '1 day'
WHERE l.at > clock_timestamp() - {max(model.DAYS)} * interval '1 day'
  AND l.mode = 'live' AND l.what = 'object'
  AND (l.event = 'purged' OR l.event = 'restored' AND l.result = '{model.Return.RESTORED}'
       OR l.event = 'result' AND l.result = '{model.ObjectResult.DELETED}' AND l.recovery IS NULL)
GROUP BY 1
"""

# The mode of the newest pass, and the first pass since which all have had that mode.
MODE_SINCE = f"""
SELECT n.mode, (SELECT f.cutoff FROM {SCHEMA}.passes f
                WHERE f.id > coalesce((SELECT max(o.id) FROM {SCHEMA}.passes o WHERE o.mode <> n.mode), 0)
                ORDER BY f.id LIMIT 1) AS since
FROM (SELECT mode FROM {SCHEMA}.passes ORDER BY id DESC LIMIT 1) n
"""


class PostgresStatistics:
    """Reads the numbers for metrics and for `reconciler storage`."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media
        self._due = marks.DUE.format(held=holds.held_condition(media, "$1"))

    async def standing(self, policy: model.Policy, verdicts: Sequence[model.Verdict]) -> model.Standing:
        """The state of marks and passes under the settings in force. Reads every mark. Raises Retryable."""
        async with self._database.connection() as connection:
            return await marks.standing(connection, self._due, policy, verdicts)

    async def drift(self) -> marks.Drift:
        """The marks by verdict. Reads every mark. Raises Retryable."""
        async with self._database.connection() as connection:
            return await marks.drift(connection)

    async def leader(self) -> model.Leader | None:
        """The replica that holds the lease at this moment; None without one."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(LEADER)
            return model.Leader(**row) if row else None

    async def deleted_within(self, window: timedelta) -> int:
        """How many keys were deleted within that time."""
        async with self._database.connection() as connection:
            deleted: int = await connection.fetchval(RECENT, window)
        return deleted

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
        async with patient(self._database.config) as connection:
            at: datetime = await connection.fetchval("SELECT clock_timestamp()")
            prefixes = await connection.fetchval(f"SELECT prefixes FROM {SCHEMA}.site")
            rows = await stored.read(connection, self._media, prefixes, by, top)
            return replace(stored.grouped(at, rows, by, top), prefixes=prefixes)

    async def quotas(self, policy: model.Policy, top: int) -> Sequence[model.QuotaStanding]:
        """How each quota of the policy is used, and the `top` owners nearest to it.

        Reads the whole table once, and raises, as `storage` does; nothing is read where there is no quota.
        """
        if not policy.quotas:
            return ()
        async with patient(self._database.config) as connection:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
            return await quotas.standings(connection, self._media, policy, now, top)

    async def breakdown(self, top: int) -> model.Breakdown:
        """The rows in the managed prefixes, added up in every way. Reads the whole table once, as `storage`
        does, and raises as that does.
        """
        async with patient(self._database.config) as connection:
            # It may take its time, and the engine's own queries may not wait for its workers.
            await connection.execute("SET max_parallel_workers_per_gather = 0")
            at: datetime = await connection.fetchval("SELECT clock_timestamp()")
            prefixes = await connection.fetchval(f"SELECT prefixes FROM {SCHEMA}.site")
            rows = await breakdown.read(connection, self._media, prefixes, top)
        return breakdown.added_up(at, prefixes, rows)

    async def hidden(self) -> Sequence[model.HiddenPart]:
        """What was deleted and is not freed yet, by the bucket that it is in; the objects' own first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(HIDDEN_BY_BUCKET)
        return [
            model.HiddenPart(bucket=row["bucket"], objects=row["objects"], bytes=int(row["bytes"]))
            for row in rows
        ]

    async def lately(self) -> model.Lately:
        """What was freed and brought back in the last days. Reads that part of the ledger once, and raises
        as `storage` does.
        """
        async with patient(self._database.config) as connection:
            found = {
                row["days"]: (int(row["freed"]), row["restored"])
                for row in await connection.fetch(LATELY, model.DAYS)
            }
        seen = {days: found.get(days, (0, 0)) for days in model.DAYS}
        return model.Lately(
            freed={days: size for days, (size, _) in seen.items()},
            restored={days: objects for days, (_, objects) in seen.items()},
        )

    async def undated(self, prefixes: Sequence[str]) -> Mapping[str, int]:
        """How many rows under each prefix have no creation time. Reads the whole table, as `storage` does."""
        query = (
            f"SELECT p.prefix, (SELECT count(*) FROM {self._media.media} WHERE {self._media.created} IS NULL"
            f" AND starts_with({self._media.key_text}, p.prefix)) AS records"
            " FROM unnest($1::text[]) AS p (prefix)"
        )
        async with patient(self._database.config) as connection:
            rows = await connection.fetch(query, list(prefixes))
            return {row["prefix"]: row["records"] for row in rows}

    async def by_rule(self, policy: model.Policy) -> tuple[datetime, Mapping[int, model.StoragePart]]:
        """The rows in the prefixes for which each rule holds, by its place, the global settings last.

        Of a rule without rows there is no entry. Reads the whole table once, as `storage` does.
        """
        async with patient(self._database.config) as connection:
            at: datetime = await connection.fetchval("SELECT clock_timestamp()")
            return at, await stored.by_rule(connection, self._media, policy)
