"""Who set which hold, and until when: the table of holds."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import asyncpg

from reconciler.catalog.db import bounds
from reconciler.catalog.db.config import quoted
from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.holds.conditions import held, hold_from, owner
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.pass_groups import superseded
from reconciler.errors import ErrorKind, Halt, NotDone
from reconciler.model import Hold, HoldFilter, HoldKind

CHUNK = 10_000
"""Holds that one transaction adds. No mark is claimed while it runs."""

AUTHOR_LENGTH = 200
"""Bytes. An index entry must hold the target (a key has up to 1,024 bytes) and the author."""

LOCK = 5_217_320_843_911
"""The advisory lock between claims and new holds; an arbitrary number of ours."""

# A hold made by the program (it has a pass) never shortens an earlier one of the same author.
ADD = f"""
INSERT INTO {SCHEMA}.holds (kind, target, author, reason, until, pass_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[])
ON CONFLICT (kind, target, author) DO UPDATE
SET reason = excluded.reason, until = excluded.until, pass_id = excluded.pass_id
WHERE excluded.pass_id IS NULL OR {SCHEMA}.holds.until < excluded.until
"""

# The holds that match a filter, by its parameters $1 to $5.
WANTED = """
    (until IS NULL OR until > clock_timestamp()) AND ($1::text IS NULL OR kind = $1)
    AND starts_with(target, $2) AND ($3::text IS NULL OR author = $3)
    AND ($4::bigint[] IS NULL OR pass_id = ANY($4)) AND ($5::text IS NULL OR strpos(reason, $5) > 0)
"""

NAMED = "kind = $1 AND target = ANY($2::text[]) AND ($3::text IS NULL OR author = $3)"

# The person who lifts them, in the parameter {by}, is recorded.
REMOVE = f"""
WITH lifted AS (
    DELETE FROM {SCHEMA}.holds WHERE {{which}} RETURNING *
), ended AS (
    SELECT * FROM lifted WHERE until IS NULL OR until > clock_timestamp()
), noted AS (
    INSERT INTO {SCHEMA}.ledger (epoch, event, mode, what, storage_key, verdict, reason, detail)
    SELECT (SELECT epoch FROM {SCHEMA}.term), 'cancelled', 'live', 'object', target, '', 'hold',
        format('hold on this %s by %s (%s) lifted by %s',
               replace(kind, '_', ' '), author, reason, {{by}}::text)
    FROM ended WHERE {{by}}::text <> ''
)
SELECT count(*) FROM ended
"""

REMOVE_NAMED = REMOVE.format(which=NAMED, by="$4")

LIFT = REMOVE.format(which=WANTED, by="$6")

ON = f"""
SELECT * FROM {SCHEMA}.holds WHERE {NAMED} AND (until IS NULL OR until > clock_timestamp())
ORDER BY target, author
"""

UNKNOWN = f"""
SELECT min(kind) FROM {SCHEMA}.holds
WHERE kind <> ALL($1::text[]) AND (until IS NULL OR until > clock_timestamp())
"""

PAGE = f"""
SELECT * FROM {SCHEMA}.holds
WHERE {WANTED} AND ($6::text IS NULL OR (kind, target, author) > ($6, $7, $8))
ORDER BY kind, target, author LIMIT $9
"""

COUNT = f"""
SELECT kind, count(*) AS holds FROM {SCHEMA}.holds
WHERE until IS NULL OR until > clock_timestamp() GROUP BY kind
"""

# Those of a virtual key, or of a kind that this program does not know, may be of any media.
UNDER = f"""
SELECT p.prefix, (
    SELECT count(*) FROM {SCHEMA}.holds h
    WHERE (h.until IS NULL OR h.until > clock_timestamp())
      AND (h.kind NOT IN ('key', 'prefix') OR starts_with(h.target, p.prefix)
           OR h.kind = 'prefix' AND starts_with(p.prefix, h.target))) AS holds
FROM unnest($1::text[]) AS p (prefix)
"""

PURGE = f"DELETE FROM {SCHEMA}.holds WHERE until <= clock_timestamp() RETURNING kind"

HELD_OWNERS = f"""
SELECT DISTINCT target FROM {SCHEMA}.holds
WHERE kind = 'virtual_key' AND (until IS NULL OR until > clock_timestamp())
"""

# A key too long for an index is never marked either. A row's further objects are held with it.
REMEMBER = """
INSERT INTO {schema}.held_keys (storage_key, virtual_key)
SELECT DISTINCT each.key, {owner} FROM {media}
CROSS JOIN LATERAL unnest(ARRAY[{keys}]) AS each (key)
WHERE {owner_id} = ANY($1::text[]::{owner_type}[]) AND each.key <> '' AND octet_length(each.key) <= 2048
  AND NOT EXISTS (
      SELECT FROM {schema}.held_keys e WHERE e.storage_key = each.key AND e.virtual_key = {owner})
UNION
SELECT g.storage_key, o.owner FROM {schema}.hidden g CROSS JOIN unnest(g.owners) AS o (owner)
WHERE g.owners && $1::text[] AND o.owner = ANY($1::text[])
ON CONFLICT DO NOTHING
"""

FORGET = f"""
DELETE FROM {SCHEMA}.held_keys e WHERE NOT EXISTS (
    SELECT FROM {SCHEMA}.holds h WHERE h.kind = 'virtual_key' AND h.target = e.virtual_key
    AND (h.until IS NULL OR h.until > clock_timestamp()))
"""

REMEMBERING = LOCK + 1
"""The advisory lock between recording the keys of a hold and dropping them after its end."""

LONG = "SET LOCAL statement_timeout = '10min'"
"""A virtual key may own millions of rows."""


class PostgresHolds:
    """`ports.Holds` on Postgres."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media

    async def add(self, holds: Sequence[Hold]) -> Sequence[str]:
        """Adds them in chunks; each chunk is in force from its own commit on."""
        last_said = {(hold.kind, hold.target, hold.author): hold for hold in holds}
        claimed: set[str] = set()
        for chunk in _chunks(list(last_said.values())):

            async def work(connection: AnyConnection, chunk: Sequence[Hold] = chunk) -> list[str]:
                return await add(connection, self._media, chunk)

            claimed.update(await self._database.transaction(work))
        await self.remember()
        return sorted(claimed)

    async def remember(self) -> None:
        async with self._database.connection() as connection:
            owners = [row["target"] for row in await connection.fetch(HELD_OWNERS)]
        if owners:
            await self._database.transaction(functools.partial(_remember, self._media, owners))

    async def on(self, kind: HoldKind, targets: Sequence[str]) -> Sequence[Hold]:
        async with self._database.connection() as connection:
            names = await _names(connection, self._media, kind, targets)
            return [hold_from(row) for row in await connection.fetch(ON, kind.value, names, None)]

    async def remove(
        self, kind: HoldKind, targets: Sequence[str], author: str | None = None, *, by: str = ""
    ) -> int:
        async with self._database.connection() as connection:
            names = await _names(connection, self._media, kind, targets)
            removed: int = await connection.fetchval(REMOVE_NAMED, kind.value, names, author, by)
        if kind is HoldKind.VIRTUAL_KEY:
            await forget(self._database)
        return removed

    async def lift(self, wanted: HoldFilter, *, by: str = "") -> int:
        async with self._database.connection() as connection:
            lifted: int = await connection.fetchval(LIFT, *await _wanted(connection, wanted), by)
        await forget(self._database)
        return lifted

    async def page(
        self, wanted: HoldFilter | None = None, after: Hold | None = None, limit: int = 1000
    ) -> Sequence[Hold]:
        last = (after.kind.value, after.target, after.author) if after else (None, None, None)
        async with self._database.connection() as connection:
            arguments = await _wanted(connection, wanted or HoldFilter())
            rows = await connection.fetch(PAGE, *arguments, *last, limit)
            return [hold_from(row) for row in rows]

    async def held(self, keys: Sequence[str]) -> Mapping[str, Hold]:
        async with self._database.connection() as connection:
            return await held(connection, self._media, keys)

    async def count(self) -> Mapping[HoldKind, int]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(COUNT)
            return {HoldKind(row["kind"]): row["holds"] for row in rows}

    async def under(self, prefixes: Sequence[str]) -> Mapping[str, int]:
        """How many holds are in force that may keep media under each prefix."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(UNDER, list(prefixes))
            return {row["prefix"]: row["holds"] for row in rows}


async def claims_wait(connection: AnyConnection) -> None:
    """Keep holds from being added for the rest of the caller's transaction, which claims marks."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", LOCK)


async def require_known(connection: AnyConnection) -> None:
    """Raise Halt where a hold is in force of a kind that this program cannot check."""
    kind = await connection.fetchval(UNKNOWN, list(HoldKind))
    if kind is not None:
        raise Halt(
            f"a newer version holds media by {kind}, which this version cannot ask: nothing is deleted; run"
            " the newer version, or lift those holds with it"
        )


async def add(connection: AnyConnection, media: MediaTables, holds: Sequence[Hold]) -> list[str]:
    """Put them in force in the caller's transaction, and return the keys under them that are claimed.

    Claims wait until that transaction ends. No two of the holds may share kind, target and author.
    Raises NotDone.
    """
    _check(holds)
    targets = dict[HoldKind, list[str]]((kind, []) for kind in HoldKind)
    for hold in holds:
        targets[hold.kind].append(hold.target)
    ids = dict(
        zip(
            targets[HoldKind.VIRTUAL_KEY],
            await _as_ids(connection, media, targets[HoldKind.VIRTUAL_KEY]),
            strict=True,
        )
    )
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
    await connection.execute(
        ADD,
        [hold.kind.value for hold in holds],
        [ids.get(hold.target, hold.target) if hold.kind is HoldKind.VIRTUAL_KEY else hold.target
         for hold in holds],
        [hold.author for hold in holds],
        [hold.reason for hold in holds],
        [hold.until for hold in holds],
        [hold.pass_id for hold in holds],
    )  # fmt: skip
    rows = await connection.fetch(
        _claimed_under(media), targets[HoldKind.KEY], targets[HoldKind.PREFIX], list(ids.values())
    )
    return [row["storage_key"] for row in rows]


async def _remember(media: MediaTables, owners: Sequence[str], connection: AnyConnection) -> None:
    """Record the keys that rows of these owners name, or named when their object was deleted."""
    await connection.execute(LONG)
    await connection.execute("SELECT pg_advisory_xact_lock($1)", REMEMBERING)
    columns = (media.key_text, *(f"m.{quoted(column)}::text" for column in media.variants))
    query = REMEMBER.format(
        schema=SCHEMA,
        keys=", ".join(f'({column} COLLATE "C")' for column in columns),
        owner=owner(media),
        media=media.media,
        owner_id=media.owner_id,
        owner_type=media.owner_type,
    )
    await connection.execute(query, list(owners))


async def forget(database: Database) -> None:
    """Drop the keys recorded for holds by virtual key that have ended."""

    async def work(connection: AnyConnection) -> None:
        await connection.execute(LONG)
        await connection.execute("SELECT pg_advisory_xact_lock($1)", REMEMBERING)
        await connection.execute(FORGET)

    await database.transaction(work)


async def purge(database: Database) -> None:
    """Drop holds past their end."""
    async with database.connection() as connection:
        ended = {row["kind"] for row in await connection.fetch(PURGE)}
    if HoldKind.VIRTUAL_KEY in ended:
        await forget(database)


def _claimed_under(media: MediaTables) -> str:
    """Keys whose object is being deleted or purged: of $1, under the prefixes $2, or of the owners $3."""
    return f"""
        SELECT m.storage_key FROM {SCHEMA}.marks m
        WHERE m.state = 'claimed' AND (
            m.storage_key = ANY($1::text[]) OR m.owners && $3::text[]
            OR EXISTS (SELECT FROM unnest($2::text[]) AS p (low) WHERE starts_with(m.storage_key, p.low))
            OR EXISTS (SELECT FROM (SELECT m.storage_key COLLATE "default" AS marked) own
                       JOIN {media.media} ON {media.equal_key} = own.marked
                       WHERE {owner(media)} = ANY($3::text[])))
        UNION
        SELECT h.storage_key FROM {SCHEMA}.hidden h
        WHERE h.state = 'purging' AND (
            h.storage_key = ANY($1::text[]) OR h.owners && $3::text[]
            OR EXISTS (SELECT FROM unnest($2::text[]) AS p (low) WHERE starts_with(h.storage_key, p.low)))
        ORDER BY storage_key
    """


async def _names(
    connection: AnyConnection, media: MediaTables, kind: HoldKind, targets: Sequence[str]
) -> list[str]:
    """The targets as the holds' table has them."""
    names = [target for target in targets if bounds.storable(target)]
    return await _as_ids(connection, media, names) if kind is HoldKind.VIRTUAL_KEY else names


async def _as_ids(connection: AnyConnection, media: MediaTables, ids: Sequence[str]) -> list[str]:
    """The virtual keys' ids as the table writes them; a uuid may be given in another spelling."""
    if not ids:
        return []
    try:
        rows = await connection.fetch(
            f"SELECT id::{media.owner_type}::text AS id"
            " FROM unnest($1::text[]) WITH ORDINALITY AS given (id, n) ORDER BY n",
            list(ids),
        )
    except asyncpg.DataError as error:
        raise NotDone(
            ErrorKind.INVALID,
            "not_a_virtual_key",
            f"not the id of a virtual key ({media.owner_type}): {error}",
            type=media.owner_type,
        ) from None
    return [row["id"] for row in rows]


async def _wanted(
    connection: AnyConnection, wanted: HoldFilter
) -> tuple[str | None, str, str | None, list[int] | None, str | None]:
    kind = wanted.kind.value if wanted.kind else None
    return kind, wanted.prefix, wanted.author, await superseded(connection, wanted.pass_id), wanted.reason


def _check(holds: Sequence[Hold]) -> None:
    for hold in holds:
        if not bounds.storable(hold.target):
            message = f"{hold.target!r} cannot be held: no key that the database can hold is like that"
            raise NotDone(ErrorKind.INVALID, "no_such_target", message, target=hold.target)
        if not hold.reason.strip() or not hold.author.strip():
            raise NotDone(
                ErrorKind.INVALID, "reason_or_author_missing", "a hold needs a reason and an author"
            )
        if len(hold.author.encode()) > AUTHOR_LENGTH:
            message = f"an author's name has at most {AUTHOR_LENGTH} bytes"
            raise NotDone(ErrorKind.INVALID, "author_too_long", message, limit=AUTHOR_LENGTH)


def _chunks(holds: Sequence[Hold]) -> Iterator[list[Hold]]:
    rest = iter(holds)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
