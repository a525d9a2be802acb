"""Spellings that sweeps have noted, of orphans and of rows, and their pairs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from reconciler.catalog.db.bounds import storable
from reconciler.catalog.db.connections import AnyConnection, Database, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import references
from reconciler.model import BY_STORE, Mark, NearMiss, Verdict
from reconciler.model.keys import merge_prefixes
from reconciler.model.spelling import Orphans
from reconciler.ports import Folded

LONGEST = 2048
"""The most bytes of a key that the index takes; no mark has a longer one."""

# The statistics are of another pass, and may say that this one has no rows. Then a join in any order would
# look free, and compare each object with every row. So `OFFSET 0` and aggregates, which the planner cannot
# flatten, make it look up each key in turn.
NOTE = f"""
INSERT INTO {SCHEMA}.spellings (pass_id, is_row, storage_key, folded)
SELECT $1::bigint, $2::boolean, s.storage_key, s.folded
FROM unnest($3::text[], $4::text[]) AS s (storage_key, folded)
WHERE NOT $5::boolean OR EXISTS (SELECT FROM {SCHEMA}.spellings o
                                 WHERE o.folded = s.folded AND o.pass_id = $1 AND o.is_row <> $2 OFFSET 0)
ON CONFLICT DO NOTHING
"""

# What is hidden: all of it, or what a noted row spells otherwise. By one join, since it may be a million.
_COMES_BACK = f"FROM {SCHEMA}.hidden h WHERE h.state IN ('hidden', 'restoring') AND NOT h.erased"

NOTE_HIDDEN = f"""
INSERT INTO {SCHEMA}.spellings (pass_id, is_row, storage_key, folded)
SELECT DISTINCT $1::bigint, false, n.storage_key, {references.FINGERPRINT}
FROM (SELECT h.storage_key, lower(h.storage_key) AS small {_COMES_BACK} OFFSET 0) n
WHERE n.small !~ $2::text AND ($3 OR {references.FINGERPRINT} IN (
    SELECT r.folded FROM {SCHEMA}.spellings r WHERE r.pass_id = $1 AND r.is_row))
ON CONFLICT DO NOTHING
"""

ODD_HIDDEN = f"""
SELECT ARRAY(SELECT DISTINCT h.storage_key {_COMES_BACK} AND h.storage_key > $4::text
             AND lower(h.storage_key) ~ $2::text AND ($3 OR EXISTS (
                 SELECT FROM {SCHEMA}.spellings r WHERE r.pass_id = $1 AND r.is_row))
             ORDER BY h.storage_key LIMIT $5)::text[]
"""

NOTED = f"SELECT EXISTS (SELECT FROM {SCHEMA}.spellings WHERE pass_id = $1 AND NOT is_row)"

PAIRS = f"""
SELECT o.storage_key, near.row_key
FROM {SCHEMA}.spellings o
CROSS JOIN LATERAL (SELECT min(r.storage_key) AS row_key FROM {SCHEMA}.spellings r
                    WHERE r.folded = o.folded AND r.pass_id = $1 AND r.is_row
                      AND r.storage_key <> o.storage_key) near
WHERE o.pass_id = $1 AND NOT o.is_row AND o.storage_key > $2 AND near.row_key IS NOT NULL
  AND EXISTS (SELECT FROM {SCHEMA}.spellings r WHERE r.pass_id = $1 AND r.is_row)
ORDER BY o.storage_key LIMIT $3
"""

# Deletes the object's mark, and those of all rows spelled like it. In key order, skipping what a claim locks.
SPARE = f"""
WITH near AS MATERIALIZED (
    SELECT 'orphan' AS verdict, k.key COLLATE "C" AS storage_key FROM unnest($2::text[]) AS k (key)
    UNION
    SELECT 'dangling', r.storage_key
    FROM unnest($2::text[]) AS k (key)
    CROSS JOIN LATERAL (SELECT o.folded FROM {SCHEMA}.spellings o
                        WHERE o.storage_key = k.key AND o.pass_id = $1 AND NOT o.is_row OFFSET 0) o
    CROSS JOIN LATERAL (SELECT r.storage_key FROM {SCHEMA}.spellings r
                        WHERE r.folded = o.folded AND r.pass_id = $1 AND r.is_row OFFSET 0) r
), free AS (
    SELECT m.storage_key FROM near JOIN {SCHEMA}.marks m USING (storage_key, verdict)
    WHERE m.state = 'found'
    ORDER BY m.storage_key FOR UPDATE OF m SKIP LOCKED
)
DELETE FROM {SCHEMA}.marks m USING free WHERE m.storage_key = free.storage_key
RETURNING m.storage_key, m.verdict,
          m.verdict = 'dangling' AND starts_with(m.reason, '{BY_STORE}') AS by_store
"""

FORGET = f"DELETE FROM {SCHEMA}.spellings WHERE pass_id < $1"

# A key is spelled like it that folds alike: an orphan, or a row without its object or outside the prefixes.
LIKE = f"""
SELECT DISTINCT storage_key, is_row FROM {SCHEMA}.spellings
WHERE folded = ANY($1::text[]) AND storage_key <> $2 ORDER BY storage_key LIMIT $3
"""

# From the rows, where those are fewer than the keys, else from the keys.
PAIRED = f"""
WITH rows AS MATERIALIZED (
    SELECT pass_id, folded, storage_key FROM {SCHEMA}.spellings WHERE is_row
    ORDER BY pass_id, folded, storage_key LIMIT cardinality($1::text[])
), few AS MATERIALIZED (SELECT count(*) < cardinality($1::text[]) AS are FROM rows)
SELECT o.storage_key, r.storage_key AS row_key
FROM rows r
CROSS JOIN LATERAL (SELECT o.storage_key FROM {SCHEMA}.spellings o
                    WHERE o.folded = r.folded AND o.pass_id = r.pass_id AND NOT o.is_row
                      AND o.storage_key <> r.storage_key OFFSET 0) o
WHERE (SELECT are FROM few) AND o.storage_key = ANY($1)
UNION ALL
SELECT o.storage_key, r.storage_key
FROM {SCHEMA}.spellings o
JOIN {SCHEMA}.spellings r ON r.folded = o.folded AND r.pass_id = o.pass_id AND r.is_row
 AND r.storage_key <> o.storage_key
WHERE NOT (SELECT are FROM few) AND o.storage_key = ANY($1) AND NOT o.is_row
"""

# The last complete sweep. It has noted each row in its prefixes that has no object.
SWEPT = f"""
SELECT s.id, s.policy->>'prefixes' AS prefixes, coalesce((SELECT bucket FROM {SCHEMA}.site), '') AS bucket,
       coalesce((s.tally->'kept'->>'outside_prefix')::bigint, 0) > 0 AS outside
FROM {SCHEMA}.passes s WHERE kind = 'sweep' AND state IN ('released', 'tripped') AND policy IS NOT NULL
ORDER BY id DESC LIMIT 1
"""

COMPARED = f"""
SELECT DISTINCT o.storage_key FROM {SCHEMA}.spellings o
WHERE o.storage_key = ANY($1::text[]) AND o.pass_id = $2 AND NOT o.is_row
"""

PAGE = 20_000


class PostgresNearMisses:
    """`ports.NearMisses` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, pass_id: int, objects: Sequence[Folded], rows: Sequence[Folded]) -> None:
        await self._note(pass_id, objects, is_row=False)
        await self._note(pass_id, rows, is_row=True)

    async def note_outside(self, pass_id: int, rows: Sequence[Folded]) -> None:
        await self._note(pass_id, rows, is_row=True, paired=True)

    async def note_hidden(self, orphans: Orphans, *, unpaired: bool) -> bool:
        odd, after = references.odd(orphans), ""

        async def work(connection: AnyConnection) -> list[str]:
            await references.by_hash(connection)
            given = (orphans.pass_id, odd, unpaired)
            if not after:
                await connection.execute(NOTE_HIDDEN, *given, timeout=references.PATIENCE)
            keys: list[str] = await connection.fetchval(
                ODD_HIDDEN, *given, after, PAGE, timeout=references.PATIENCE
            )
            return keys

        while keys := await self._database.transaction(work):
            await self._note(orphans.pass_id, orphans.folded(keys), is_row=False, paired=not unpaired)
            after = keys[-1]
        async with self._database.connection() as connection:
            noted: bool = await connection.fetchval(NOTED, orphans.pass_id)
        return noted

    async def _note(
        self, pass_id: int, keys: Sequence[Folded], *, is_row: bool, paired: bool = False
    ) -> None:
        kept = [each for each in keys if storable(each[0]) and len(each[0].encode()) <= LONGEST]
        if not kept:
            return
        columns = [list(column) for column in zip(*kept, strict=True)]

        async def work(connection: AnyConnection) -> None:
            await by_index(connection)
            await connection.execute(NOTE, pass_id, is_row, *columns, paired)

        await self._database.transaction(work)

    def gathered(self) -> Sequence[str]:
        return ()

    async def spare(self, pass_id: int, after: str, limit: int) -> Sequence[NearMiss]:
        async def work(connection: AnyConnection) -> Sequence[NearMiss]:
            await by_index(connection)
            pairs = await connection.fetch(PAIRS, pass_id, after, limit)
            keys = [row["storage_key"] for row in pairs]
            withdrawn = await connection.fetch(SPARE, pass_id, keys) if keys else []
            rows = sum(row["verdict"] == Verdict.DANGLING for row in withdrawn)
            by_store = sum(row["by_store"] for row in withdrawn)
            near = [NearMiss(storage_key=row["storage_key"], row_key=row["row_key"]) for row in pairs]
            return [replace(near[0], rows=rows, by_store=by_store), *near[1:]] if near else near

        return await self._database.transaction(work)

    async def named_by(self, key: str) -> Sequence[str]:
        async with self._database.connection() as connection:
            return [row["row_key"] for row in await connection.fetch(PAIRED, [key])]

    async def spelled_like(self, key: str, orphans: Orphans, limit: int) -> Mapping[str, bool]:
        """Keys that the last sweep has noted and that spell this one otherwise: whether a row names each."""
        if not storable(key):
            return {}
        folded = [each for _, each in orphans.folded([key])]
        async with self._database.connection() as connection:
            rows = await connection.fetch(LIKE, folded, key, limit)
        return {row["storage_key"]: row["is_row"] for row in rows}

    async def forget(self, pass_id: int) -> None:
        async with self._database.connection() as connection:
            await connection.execute(FORGET, pass_id)


async def note_departed(connection: AnyConnection, keys: Sequence[str]) -> None:
    """Note the keys of departures among the orphans of the last sweep, in the caller's transaction."""
    swept = await connection.fetchrow(SWEPT)
    if swept is None:
        return
    prefixes = merge_prefixes(json.loads(swept["prefixes"]))
    orphans = Orphans(pass_id=swept["id"], bucket=swept["bucket"], prefixes=prefixes)
    pairs = orphans.folded([key for key in keys if storable(key) and len(key.encode()) <= LONGEST])
    columns = [[key for key, _ in pairs], [folded for _, folded in pairs]]
    await connection.execute(NOTE, swept["id"], False, *columns, False)  # noqa: FBT003 - parameters of SQL


async def unnoted(connection: AnyConnection, marks: Sequence[Mark], prefixes: Sequence[str]) -> set[str]:
    """The marked departures that were not compared with the rows of a sweep under these prefixes."""
    departed = [mark.storage_key for mark in marks if mark.verdict is Verdict.DEPARTED]
    if not departed:
        return set()
    swept = await connection.fetchrow(SWEPT)
    if swept is None or merge_prefixes(json.loads(swept["prefixes"])) != merge_prefixes(prefixes):
        return set(departed)
    compared = await connection.fetch(COMPARED, departed, swept["id"])
    return {*departed} - {row["storage_key"] for row in compared}
