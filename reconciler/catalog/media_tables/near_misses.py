"""Near misses: orphans whose key a row spells otherwise. The database compares them, in any number."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import compress

import anyio

from reconciler.catalog.db import bounds
from reconciler.catalog.db.bounds import storable
from reconciler.catalog.db.connections import AnyConnection, Database, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import references
from reconciler.catalog.media_tables.records import lookup, require_tables
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model import RESERVED_PREFIX, Mark, NearMiss, Verdict
from reconciler.model.keys import merge_prefixes
from reconciler.model.spelling import Orphans, addresses, forms, fronts, roots, spellings
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
RETURNING m.storage_key, m.verdict
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

# $1 is the sweep whose orphans were compared last, and $2 the horizon of that time.
STANDING = f"""
SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon, s.id, s.begun_xid::text AS begun_xid,
       (SELECT bucket FROM {SCHEMA}.site) AS bucket,
       EXISTS (SELECT FROM {SCHEMA}.marks WHERE state = 'found' AND due_at <= clock_timestamp()) AS due,
       s.id IS DISTINCT FROM $1 OR EXISTS (
           SELECT FROM {SCHEMA}.passes p WHERE p.state = 'released' AND p.released_xid >= $2::text::xid8
           AND p.released_xid < pg_snapshot_xmin(pg_current_snapshot())) AS another
FROM (SELECT) one LEFT JOIN LATERAL (
    SELECT * FROM {SCHEMA}.passes WHERE kind = 'sweep' AND state IN ('released', 'tripped')
    ORDER BY id DESC LIMIT 1) s ON true
"""

# The last complete sweep. It has noted each row in its prefixes that has no object.
SWEPT = f"""
SELECT s.id, s.policy->>'prefixes' AS prefixes, coalesce((SELECT bucket FROM {SCHEMA}.site), '') AS bucket,
       coalesce((s.tally->'kept'->>'outside_prefix')::bigint, 0) > 0 AS outside
FROM {SCHEMA}.passes s WHERE kind = 'sweep' AND state IN ('released', 'tripped') AND policy IS NOT NULL
ORDER BY id DESC LIMIT 1
"""

# Departures that are not among its orphans: there was a row then.
UNNOTED = f"""
SELECT m.storage_key FROM {SCHEMA}.marks m
WHERE m.verdict = 'departed' AND m.state = 'found' AND m.storage_key > $2::text AND NOT EXISTS (
    SELECT FROM {SCHEMA}.spellings o WHERE o.storage_key = m.storage_key AND o.pass_id = $1 AND NOT o.is_row)
ORDER BY m.storage_key LIMIT $3
"""

# Rows outside its prefixes, and names in further columns, it notes only as pairs of its own orphans.
ANYWHERE = f"""
SELECT EXISTS (SELECT FROM {SCHEMA}.marks WHERE verdict = 'departed' AND state = 'found')
   AND ($1::boolean OR (SELECT outside FROM ({SWEPT}) s))
"""

COMPARED = f"""
SELECT DISTINCT o.storage_key FROM {SCHEMA}.spellings o
WHERE o.storage_key = ANY($1::text[]) AND o.pass_id = $2 AND NOT o.is_row
"""

# Of a transaction that the sweep could not see. An age is negative for the ids of the last moments, and
# for frozen rows that are very old: the first count, and most of the others do not.
SINCE = "age({alias}.xmin) BETWEEN -10000000 AND age('{xid}'::xid8::xid)"

# Rows that came since the sweep: written since, or in a partition that was attached since.
WRITTEN = f"""({SINCE} OR {{alias}}.tableoid IN (
    WITH RECURSIVE tree AS (
        SELECT {{oid}}::oid AS relid, false AS attached
        UNION ALL
        SELECT i.inhrelid, tree.attached OR {SINCE.replace("{alias}", "i")}
        FROM tree JOIN pg_inherits i ON i.inhparent = tree.relid)
    SELECT relid FROM tree WHERE attached))"""

SHARE = 100
"""Comparing before a claim takes at most this part of the time."""
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
            return [
                NearMiss(storage_key=row["storage_key"], row_key=row["row_key"], rows=0 if index else rows)
                for index, row in enumerate(pairs)
            ]

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


class WrittenSince:
    """Rows written since the last sweep began, compared with its orphans before a claim."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media
        self._near = PostgresNearMisses(database)
        self._pass: int | None = None
        self._horizon = "0"
        self._noted = 0
        self._again_at = 0.0

    async def compare(self, prefixes: tuple[str, ...]) -> str:
        """Note the pairs. Returns a transaction id: only passes released before it may be claimed.

        What earlier transactions wrote has been read, at most `SHARE` times as long ago as it took.
        """
        self._noted = max(self._noted, await self._note_departed())
        async with self._database.connection() as connection:
            row = await connection.fetchrow(STANDING, self._pass, self._horizon)
            assert row is not None
            horizon, pass_id, begun, bucket, due, another = row
        if not due:
            return "0"
        started = anyio.current_time()
        if another or started >= self._again_at or int(self._horizon) <= self._noted:
            if begun is not None:
                async with self._database.connection() as connection:
                    await require_tables(connection, self._media)
                    await references.require_tables(connection, self._media)
                orphans = Orphans(pass_id=pass_id, bucket=bucket or "", prefixes=merge_prefixes(prefixes))
                await self._compare(orphans, None if await self._all_rows() else int(begun))
            self._pass, self._horizon = pass_id, horizon
            self._again_at = anyio.current_time() + SHARE * (anyio.current_time() - started)
        # A writer who could not see a note has ended once the horizon has passed it, and is compared then.
        return self._horizon if int(self._horizon) > self._noted else "0"

    async def _note_departed(self) -> int:
        """Note departures again whose notes went with an earlier sweep's; returns a transaction id since."""
        after, xid = "", 0
        while True:
            async with self._database.connection() as connection:
                swept = await connection.fetchrow(SWEPT)
                if swept is None:
                    return xid
                found = await connection.fetch(UNNOTED, swept["id"], after, PAGE)
                keys = [row["storage_key"] for row in found]
            if not keys:
                return xid

            async def work(connection: AnyConnection, keys: Sequence[str] = keys) -> int:
                await note_departed(connection, keys)
                return int(await connection.fetchval("SELECT pg_current_xact_id()::text"))

            after, xid = keys[-1], await self._database.transaction(work)

    async def _all_rows(self) -> bool:
        """Whether something departed, and rows may spell it that the sweep did not note without an orphan."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(ANYWHERE, bool(self._media.references)))

    async def _compare(self, orphans: Orphans, xid: int | None) -> None:
        """Compare the rows written since that transaction; None: all rows."""
        media = self._media
        columns = [(media.key_text, f"{media.table} WHERE {media.counts}", "m", media.oids[0])]
        columns += [
            (each.column, media.naming(each), "" if each.view else "f", each.oid) for each in media.references
        ]
        for key, rows, alias, oid in columns:
            written = ""
            if alias and xid is not None:
                written = f" AND {WRITTEN.format(alias=alias, xid=xid, oid=oid)}"
            written = f"{rows}{written}"
            async for keys in references.spelled_otherwise(self._database, key, written, orphans, PAGE):
                await self._near.note_outside(orphans.pass_id, orphans.folded(keys))


async def twins(
    connection: AnyConnection, media: MediaTables, marks: Sequence[Mark], prefixes: Sequence[str]
) -> Mapping[str, str]:
    """The marks whose object a row spells otherwise by now, with that spelling.

    Such a row lies outside the prefixes, or is newer than the mark; the sweep has checked all others. What
    departed had a row then, so there any row counts. Those of `WrittenSince` are noted. Others are looked up
    by the index, so only spellings that `spellings` can list are found.
    """
    going = [mark for mark in marks if mark.verdict is not Verdict.DANGLING]
    if not going:
        return {}
    keys = [mark.storage_key for mark in going]
    found = {row["storage_key"]: row["row_key"] for row in await connection.fetch(PAIRED, keys)}
    bucket = await connection.fetchval(f"SELECT coalesce(bucket, '') FROM {SCHEMA}.site") or ""
    plainly = not (media.references or media.pads)
    if plainly and not await _spelled_anywhere(connection, media, going, bucket, prefixes):
        return found
    spelled: dict[str, list[Mark]] = {}
    for mark in going:
        for other in spellings(mark.storage_key, bucket, prefixes):
            spelled.setdefault(other, []).append(mark)
    for row in await lookup(connection, media, list(spelled)):
        # A column that is padded with blanks finds the key itself as well, which is no other spelling.
        for mark in spelled.get(row.storage_key, ()):
            departed = mark.verdict is Verdict.DEPARTED
            if departed or is_twin(row.storage_key, row.created_at, mark, tuple(prefixes)):
                found[mark.storage_key] = row.storage_key
    outside = [key for key in spelled if _is_outside(key, tuple(prefixes))]
    for key in await references.named(connection, media, outside):
        found |= {mark.storage_key: key for mark in spelled[key]}
    return found


async def _spelled_anywhere(
    connection: AnyConnection,
    media: MediaTables,
    marks: Sequence[Mark],
    bucket: str,
    prefixes: Sequence[str],
) -> bool:
    """Whether any row may have one of the spellings, which is rare. The database builds the spellings itself.

    Sending all of them takes four times as long. Where an index is in byte order, a single look tells what no
    row begins with, and most of them are not even built.
    """
    keys = [mark.storage_key for mark in marks if storable(mark.storage_key)]
    unused, inside = await _unused(connection, media, bucket, prefixes) if media.ordered else ((), False)
    before = [root for root in roots(bucket) if storable(root) and not root.startswith(unused)]
    spelled = [form for key in keys for form in forms(key, prefixes)]
    if before == [""]:
        # A form is a whole spelling then.
        kept = (*prefixes, RESERVED_PREFIX) if inside else ("",)
        marked = {*keys}
        spelled = [
            form
            for form in spelled
            if form.startswith(kept) and not form.startswith(unused) and form not in marked
        ]
    whole = [each for key in keys for each in addresses(key, bucket) if not each.startswith(unused)]
    if not (spelled or whole):
        return False
    found: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {media.media} WHERE {media.equal_key} = ANY ("
        "ARRAY(SELECT root || form FROM unnest($1::text[]) form, unnest($2::text[]) root) || $3::text[])"
        f" AND {media.equal_key} <> ALL ($4::text[]))",
        spelled,
        before,
        whole,
        keys,
    )
    return found


async def _unused(
    connection: AnyConnection, media: MediaTables, bucket: str, prefixes: Sequence[str]
) -> tuple[tuple[str, ...], bool]:
    """The fronts with which no row begins, and whether all rows lie in the prefixes."""
    asked = [front for front in fronts(bucket, prefixes) if storable(front)]
    stretches = [
        *(bounds.of_prefix(front) for front in asked),
        *((each,) for each in bounds.outside(prefixes)),
    ]
    looks, values = list[str](), list[str]()
    for stretch in stretches:
        where, limits = bounds.condition(media.ordered_key, stretch, len(values) + 1)
        values += limits
        # Ordered, so that the index is read from that place on, and not the table up to the first hit.
        looks.append(
            f"(SELECT {media.ordered_key} FROM {media.media} WHERE {where}"
            f" ORDER BY {media.ordered_key} LIMIT 1) IS NULL"
        )
    none = await connection.fetchval(f"SELECT ARRAY[{', '.join(looks)}]", *values)
    return tuple(compress(asked, none)), all(none[len(asked) :])


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


def is_twin(key: str, created_at: datetime | None, mark: Mark, prefixes: tuple[str, ...]) -> bool:
    """Whether a row of that other spelling keeps the marked object."""
    return _is_outside(key, prefixes) or created_at is None or created_at >= mark.first_seen_at


def _is_outside(key: str, prefixes: tuple[str, ...]) -> bool:
    return not key.startswith(prefixes) or key.startswith(RESERVED_PREFIX)
