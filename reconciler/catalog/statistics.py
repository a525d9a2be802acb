"""What the leader reports: the state of marks and passes, and what is stored.

Nothing here writes or locks, and a reading holds no other transaction's horizon back: it has no transaction
id of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TypeAlias

from reconciler import model
from reconciler.catalog import holds
from reconciler.catalog.db import bounds
from reconciler.catalog.db.connections import AnyConnection, Database, Row
from reconciler.catalog.db.patient import patient
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.mark_rows import LIVE_DELAY, LIVE_SINCE, SEEN_ENOUGH, claimable_arguments
from reconciler.catalog.media_tables import matching, quotas
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.pass_groups import to_decide
from reconciler.catalog.recovery.purge import HIDDEN_BY_BUCKET, HIDDEN_TOTALS
from reconciler.model.keys import merge_prefixes, prefix_end

OTHER = "other"
WHOLE, OUTSIDE = "(all)", "(outside)"
"""No prefix, and none of them: names that no prefix has, since it ends in a slash."""

Drift: TypeAlias = Mapping[model.Verdict, tuple[int, int, datetime | None]]
"""As in `Standing`: marks, their bytes, first sighting of the oldest."""

DRIFT = f"""
SELECT verdict, count(*) AS keys, sum(greatest(bytes, 0))::text AS bytes, min(first_seen_at) AS oldest
FROM {SCHEMA}.marks GROUP BY verdict
"""

# Each mark once: prefixes do not lie inside one another.
DRIFT_BY_PREFIX = f"""
SELECT b.prefix, m.verdict, count(*) AS keys, sum(greatest(m.bytes, 0))::text AS bytes,
       min(m.first_seen_at) AS oldest
FROM {SCHEMA}.marks m LEFT JOIN unnest($1::text[], $2::text[]) AS b (prefix, high)
    ON m.storage_key >= b.prefix AND (b.high IS NULL OR m.storage_key < b.high)
GROUP BY 1, 2
"""

LEADER = f"""
SELECT holder, epoch, acquired_at, expires_at FROM {SCHEMA}.lease WHERE expires_at > clock_timestamp()
"""

# As `CLAIMABLE`, but with postponed and claimed marks, which are due too and not deleted yet, and with those
# to be due within $6, if a pass sees them once more. The delay of every mark restarts when dry run turns into
# live. A CASE, since of an OR the costly conditions are evaluated once for the table and again for the join.
DUE = f"""
SELECT m.verdict, count(*) FILTER (WHERE w.now) AS due, min(w.at) FILTER (WHERE w.now) AS oldest,
       count(*) FILTER (WHERE NOT w.now) AS soon, min(w.at) FILTER (WHERE NOT w.now AND w.at > $1) AS next
FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
CROSS JOIN LATERAL (SELECT {LIVE_SINCE} + {LIVE_DELAY} AS since) live
CROSS JOIN LATERAL (
    SELECT greatest(m.due_at, live.since) AS at,
           m.state = 'claimed' OR greatest(m.due_at, live.since) <= $1 AND {SEEN_ENOUGH} AS now) w
WHERE CASE
    WHEN m.state = 'claimed' THEN true
    WHEN p.state <> 'released' OR m.verdict <> ALL($2::text[]) THEN false
    WHEN w.at > $1::timestamptz + $6::interval THEN false
    ELSE EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS b (low, high)
                 WHERE m.storage_key >= b.low AND (b.high IS NULL OR m.storage_key < b.high))
         AND NOT {{held}} END
GROUP BY 1
"""

TRIPPED = f"""
SELECT kind, id, both_sides, coalesce(trip_reason, '') AS reason, coalesce(finished_at, cutoff) AS since,
       id IN (SELECT pass_id FROM {SCHEMA}.marks) AS marked
FROM {SCHEMA}.passes WHERE state = 'tripped' ORDER BY id
"""

RESTORES = f"SELECT count(*) AS keys, min(queued_at) AS oldest FROM {SCHEMA}.restores"

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

# Keys of live deletions; by the index on `at`.
RECENT = f"""
SELECT count(DISTINCT storage_key) FROM {SCHEMA}.ledger
WHERE at > clock_timestamp() - $1::interval AND event = 'result' AND mode = 'live' AND result = 'deleted'
"""

DEPARTURES = f"SELECT count(*) AS notes, min(left_at) AS oldest FROM {SCHEMA}.departures"

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


# Reads the table once. `place` is that of the rule that holds for the row.
BY_RULE = """
SELECT {place} AS place, count(*) AS objects, coalesce(sum({size}), 0)::text AS bytes
FROM {media} WHERE {within} GROUP BY 1
"""


DAYS = 30
"""Days whose rows are counted by the day."""

# Reads the table once. Each row of the result is of one property, which `kind` names; of a day or of the
# whole, all are listed, of others the largest.
BREAKDOWN = """
WITH each AS (
    SELECT {virtual_key} AS virtual_key, {media_type} AS media_type, {provider} AS provider,
           {prefix} AS prefix,
           CASE WHEN {created} >= (clock_timestamp() AT TIME ZONE 'UTC')::date - {days} + 1
                THEN ({created} AT TIME ZONE 'UTC')::date::text END AS day, {size} AS size
    FROM {media} WHERE {within}
), parts AS (
    SELECT CASE WHEN grouping(virtual_key) = 0 THEN 'virtual_key'
                WHEN grouping(media_type) = 0 THEN 'media_type'
                WHEN grouping(provider) = 0 THEN 'provider' WHEN grouping(prefix) = 0 THEN 'prefix'
                WHEN grouping(day) = 0 THEN 'day' ELSE 'all' END AS kind,
           coalesce(virtual_key, media_type, provider, prefix, day) AS name,
           count(*) AS objects, coalesce(sum(size), 0) AS bytes
    FROM each GROUP BY GROUPING SETS ((), (virtual_key), (media_type), (provider), (prefix), (day))
), ranked AS (
    SELECT *, CASE WHEN kind IN ('day', 'all') THEN 0
                   ELSE row_number() OVER (PARTITION BY kind ORDER BY bytes DESC, objects DESC, name)
                   END AS place
    FROM parts
)
SELECT kind, CASE WHEN place > {top} THEN '{other}' ELSE name END AS name, sum(objects)::bigint AS objects,
       sum(bytes)::text AS bytes
FROM ranked GROUP BY kind, least(place, {top} + 1), 2 ORDER BY kind, least(place, {top} + 1), 2
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
            prefixes = merge_prefixes(policy.prefixes)
            ends = [prefix_end(prefix) for prefix in prefixes]
            marked = await connection.fetch(DRIFT_BY_PREFIX, list(prefixes), ends)
            due = await connection.fetch(self._due, *claimable_arguments(now, policy, verdicts), model.SOON)
            tripped = await connection.fetch(TRIPPED)
            ranges = await connection.fetchrow(RANGES)
            hidden = await connection.fetchrow(HIDDEN_TOTALS)
            restores = await connection.fetchrow(RESTORES)
            departures = await connection.fetchrow(DEPARTURES)
            assert departures is not None
            assert ranges is not None
            assert hidden is not None
            assert restores is not None
            return model.Standing(
                drift=_by_verdict(marked),
                by_prefix=_by_prefix(marked, prefixes),
                due=sum(row["due"] for row in due),
                oldest_due=min((row["oldest"] for row in due if row["oldest"]), default=None),
                due_soon={model.Verdict(row["verdict"]): row["soon"] for row in due},
                next_due=min((row["next"] for row in due if row["next"]), default=None),
                tripped=_undecided(tripped),
                ranges_done=ranges["done"],
                ranges_open=ranges["open"],
                hidden=(hidden["objects"], int(hidden["bytes"])),
                restores=restores["keys"],
                oldest_restore=restores["oldest"],
                departures=departures["notes"],
                oldest_departure=departures["oldest"],
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
            rows = await self._add_up(connection, prefixes, by, top)
            return replace(_storage(at, rows, by, top), prefixes=prefixes)

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
            rows = await self._broken_down(connection, prefixes, top)
        return _breakdown(at, prefixes, rows)

    async def _broken_down(
        self, connection: AnyConnection, prefixes: Sequence[str] | None, top: int
    ) -> Sequence[Row]:
        media, merged = self._media, merge_prefixes(prefixes or [""])
        within, values = bounds.condition(media.ordered_key, bounds.managed(merged), 1)
        arms = []
        for prefix in merged:
            inside, more = bounds.condition(media.ordered_key, bounds.of_prefix(prefix), len(values) + 1)
            values += [*more, prefix or WHOLE]
            arms.append(f"WHEN {inside} THEN ${len(values)}::text")
        query = BREAKDOWN.format(
            virtual_key=media.named(model.StorageBy.VIRTUAL_KEY),
            media_type=media.named(model.StorageBy.MEDIA_TYPE),
            provider=media.named(model.StorageBy.PROVIDER),
            prefix=f"CASE {' '.join(arms)} ELSE '{OUTSIDE}' END",
            created=media.created,
            days=DAYS,
            size=media.size,
            media=media.media,
            within=within,
            top=int(top),
            other=OTHER,
        )
        rows: Sequence[Row] = await connection.fetch(query, *values)
        return rows

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

    async def by_rule(self, policy: model.Policy) -> tuple[datetime, Mapping[int, model.StoragePart]]:
        """The rows in the prefixes for which each rule holds, by its place, the global settings last.

        Of a rule without rows there is no entry. Reads the whole table once, as `storage` does.
        """
        media = self._media
        managed = bounds.managed(policy.prefixes)
        within, values = bounds.condition(media.ordered_key, managed, 1)
        place = matching.place(media, policy.rules)
        query = BY_RULE.format(place=place, size=media.size, media=media.media, within=within)
        async with patient(self._database.config) as connection:
            at: datetime = await connection.fetchval("SELECT clock_timestamp()")
            rows = await connection.fetch(query, *values)
            return at, {
                row["place"]: model.StoragePart(names=(), objects=row["objects"], bytes=int(row["bytes"]))
                for row in rows
            }

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


def _undecided(tripped: Sequence[Row]) -> Mapping[model.PassKind, model.Undecided]:
    """As `reconciler passes` lists them: one pass stands for all of its kind that wait for a decision."""
    found = {}
    for kind in dict.fromkeys(row["kind"] for row in tripped):
        rows = {row["id"]: row for row in tripped if row["kind"] == kind}
        both = {pass_id: row["both_sides"] for pass_id, row in rows.items()}
        chosen = to_decide(both, {pass_id for pass_id, row in rows.items() if row["marked"]})
        found[model.PassKind(kind)] = model.Undecided(
            pass_id=chosen, reason=rows[chosen]["reason"], since=min(row["since"] for row in rows.values())
        )
    return found


def _by_verdict(rows: Sequence[Row]) -> Drift:
    drift: dict[model.Verdict, tuple[int, int, datetime]] = {}
    for row in rows:
        verdict = model.Verdict(row["verdict"])
        keys, size, oldest = drift.get(verdict, (0, 0, row["oldest"]))
        drift[verdict] = keys + row["keys"], size + int(row["bytes"]), min(oldest, row["oldest"])
    return drift


def _by_prefix(
    rows: Sequence[Row], prefixes: Sequence[str]
) -> Mapping[str, Mapping[model.Verdict, tuple[int, int]]]:
    """Each managed prefix, and `OUTSIDE` if there are marks outside: the prefixes were others once."""
    parts: dict[str, dict[model.Verdict, tuple[int, int]]] = {prefix or WHOLE: {} for prefix in prefixes}
    for row in rows:
        name = OUTSIDE if row["prefix"] is None else row["prefix"] or WHOLE
        parts.setdefault(name, {})[model.Verdict(row["verdict"])] = row["keys"], int(row["bytes"])
    return parts


def _breakdown(at: datetime, prefixes: Sequence[str] | None, rows: Sequence[Row]) -> model.Breakdown:
    by: dict[str, list[model.StoragePart]] = {
        name: [] for name in ("virtual_key", "media_type", "provider", "prefix")
    }
    days: list[model.Day] = []
    objects = size = 0
    for row in rows:
        if row["kind"] == "all":
            objects, size = row["objects"], int(row["bytes"])
        elif row["kind"] == "day":
            day = date.fromisoformat(row["name"]) if row["name"] else None
            days.append(model.Day(day=day, objects=row["objects"], bytes=int(row["bytes"])))
        else:
            part = model.StoragePart(names=(row["name"],), objects=row["objects"], bytes=int(row["bytes"]))
            by[row["kind"]].append(part)
    return model.Breakdown(at=at, prefixes=prefixes, objects=objects, bytes=size, by=by, days=days)


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
