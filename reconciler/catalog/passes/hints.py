"""The keys that the store's events name, until a look has settled them. Nothing here marks or deletes."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from reconciler.catalog.db.bounds import storable
from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import SIGHTINGS, Hint, HintsStanding, ListedHint, Look, StoreEvent, Verdict

MOST = 1_000_000
"""Keys that may wait. Beyond, the queue keeps its messages: it is made for that, and a table is not."""

LONGEST_KEY = 2048
"""Bytes: an index takes no more, and S3's keys have 1,024."""

# An event's own time may be anything, so the look is never later than a window from now.
NOTE = f"""
INSERT INTO {SCHEMA}.hints (storage_key, appeared, removed, due_at)
SELECT n.storage_key, bool_or(NOT n.removed), bool_or(n.removed),
       min(CASE WHEN n.removed THEN clock_timestamp()
                ELSE least(coalesce(n.at, clock_timestamp()), clock_timestamp()) + $4::interval END)
FROM unnest($1::text[], $2::boolean[], $3::timestamptz[]) AS n (storage_key, removed, at)
GROUP BY 1 ORDER BY n.storage_key COLLATE "C"
ON CONFLICT (storage_key) DO UPDATE SET
    appeared = hints.appeared OR excluded.appeared, removed = hints.removed OR excluded.removed,
    notes = hints.notes + 1, due_at = least(hints.due_at, excluded.due_at)
"""

DUE = f"""
SELECT storage_key, appeared, removed, notes, verdict, sightings FROM {SCHEMA}.hints
WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT $1
"""

SETTLE = f"""
DELETE FROM {SCHEMA}.hints h USING unnest($1::text[], $2::bigint[]) AS s (storage_key, notes)
WHERE h.storage_key = s.storage_key AND h.notes = s.notes
"""

PUT_OFF = f"""
UPDATE {SCHEMA}.hints h
SET due_at = p.due_at, looked_at = clock_timestamp(), verdict = p.verdict, sightings = p.sightings,
    reason = p.reason
FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::text[], $5::integer[], $6::text[])
    AS p (storage_key, notes, due_at, verdict, sightings, reason)
WHERE h.storage_key = p.storage_key AND h.notes = p.notes
"""

# Where the sweep found it too, its mark says so; where it did not, there is nothing to say.
FORGET = f"""
DELETE FROM {SCHEMA}.hints WHERE verdict IS NOT NULL AND looked_at < (
    SELECT max(cutoff) FROM {SCHEMA}.passes WHERE kind = 'sweep' AND state IN ('released', 'tripped'))
"""

FULL = f"SELECT EXISTS (SELECT FROM {SCHEMA}.hints OFFSET $1)"

STANDING = f"""
SELECT CASE WHEN sightings >= {SIGHTINGS} THEN verdict END AS verdict, count(*) AS keys
FROM {SCHEMA}.hints GROUP BY 1
"""

LISTED = f"""
SELECT storage_key, noted_at, due_at, looked_at, verdict, reason, sightings >= {SIGHTINGS} AS found
FROM {SCHEMA}.hints
WHERE NOT $3::boolean OR sightings >= {SIGHTINGS}
ORDER BY sightings < {SIGHTINGS}, due_at, storage_key LIMIT $1 OFFSET $2
"""


class PostgresHints:
    """`ports.Hints` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> datetime:
        async with self._database.connection() as connection:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
            return now

    async def note(self, changes: Sequence[StoreEvent], window: timedelta) -> None:
        noted = [each for each in changes if _holds(each.storage_key)]

        async def work(connection: AnyConnection) -> None:
            await connection.execute(
                NOTE,
                [each.storage_key for each in noted],
                [each.removed for each in noted],
                [each.at for each in noted],
                window,
            )

        if noted:
            await self._database.transaction(work)

    async def due(self, limit: int) -> Sequence[Hint]:
        async with self._database.connection() as connection:
            return [
                Hint(**{**dict(row), "verdict": _verdict(row["verdict"])})
                for row in await connection.fetch(DUE, limit)
            ]

    async def looked(self, looks: Sequence[Look]) -> None:
        over = [each for each in looks if each.again_at is None]
        again = [each for each in looks if each.again_at is not None]

        async def work(connection: AnyConnection) -> None:
            if over:
                await connection.execute(SETTLE, *_hints(over))
            if again:
                await connection.execute(
                    PUT_OFF,
                    *_hints(again),
                    [each.again_at for each in again],
                    [each.verdict for each in again],
                    [each.sightings for each in again],
                    [each.reason for each in again],
                )

        await self._database.transaction(work)

    async def forget(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute(FORGET)

    async def full(self) -> bool:
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(FULL, MOST))

    async def standing(self) -> HintsStanding:
        async with self._database.connection() as connection:
            counts = {row["verdict"]: row["keys"] for row in await connection.fetch(STANDING)}
        waiting = counts.pop(None, 0)
        return HintsStanding(waiting=waiting, found={Verdict(each): n for each, n in counts.items()})

    async def page(self, limit: int, offset: int = 0, *, found: bool = False) -> Sequence[ListedHint]:
        """The hints, what was found first, then the next to be looked at. For a person who asks."""
        async with self._database.connection() as connection:
            return [
                ListedHint(**{**dict(row), "verdict": _verdict(row["verdict"])})
                for row in await connection.fetch(LISTED, limit, offset, found)
            ]


def _holds(key: str) -> bool:
    return storable(key) and len(key.encode()) <= LONGEST_KEY


def _verdict(word: str | None) -> Verdict | None:
    return None if word is None else Verdict(word)


def _hints(looks: Iterable[Look]) -> tuple[list[str], list[int]]:
    hints = [each.hint for each in looks]
    return [each.storage_key for each in hints], [each.notes for each in hints]
