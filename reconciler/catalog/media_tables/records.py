"""The gateway's rows, read from the primary in short statements: no snapshot outlives one."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler.catalog.db import bounds
from reconciler.catalog.db.config import qualified
from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import group_policies, matching, quotas, references, rights, variants
from reconciler.catalog.media_tables.nomination import Nominator
from reconciler.catalog.media_tables.tables import MediaTables, by_key, record_from
from reconciler.errors import Halt
from reconciler.model import (
    RESERVED_PREFIX,
    Content,
    GroupPolicy,
    KeyRange,
    Policy,
    Record,
    Variant,
    Verdict,
)
from reconciler.model.keys import prefix_end
from reconciler.model.spelling import Orphans

SMALL = 50_000
"""Rows up to which a sample is drawn from all of them."""

OVERSAMPLING = 4
"""Pages read for each key wanted, since some keys lie under other prefixes."""

AS_SETS = 4
"""How many times the cost of one sorted read all pages may cost, before a join as sets is cheaper."""

BYTES_A_ROW = 200
"""The least size of a row, assumed where the table was never analysed."""


# The tables that the names mean now. Unique indexes of a partitioned table cover its partitions' rows; a
# subscription may name only partitions.
TABLES = """
WITH RECURSIVE tables (oid) AS (
    SELECT named::oid FROM unnest(ARRAY[to_regclass($1), to_regclass($2)]) AS named
    UNION SELECT i.inhrelid FROM pg_inherits i JOIN tables t ON t.oid = i.inhparent
)
SELECT to_regclass($1)::oid AS media, to_regclass($2)::oid AS keys,
       has_table_privilege(to_regclass($1)::oid, 'DELETE') AS may_delete,
       EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
               WHERE c.relkind = 'r' AND c.oid IN (to_regclass($1), to_regclass($2))) AS inherited,
       EXISTS (SELECT FROM pg_subscription_rel s JOIN tables t ON t.oid = s.srrelid) AS subscribed
"""


@dataclass(frozen=True, slots=True)
class _Statement:
    sql: str
    values: list[str]


class GatewayRecords:
    """`ports.Records` on Postgres."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media
        self._nominator = Nominator(database, media)

    async def now(self) -> datetime:
        async with self._database.connection() as connection:
            # The wall clock, not the start of a transaction.
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return now

    async def keys_in(self, span: KeyRange, limit: int) -> Sequence[str]:
        where = self._span(span)
        distinct = "" if self._media.unique else "DISTINCT "
        # An array instead of rows: a client decodes it five times as fast. The order uses the index's
        # collation, so that the index alone answers.
        query = (
            f"SELECT ARRAY(SELECT {distinct}{self._media.ordered_key} FROM {self._media.media}"
            f" WHERE {where.sql} ORDER BY {self._media.ordered_key} LIMIT ${len(where.values) + 1})::text[]"
        )
        async with self._database.connection() as connection:
            keys: list[str] = await connection.fetchval(query, *where.values, limit)
        return keys

    async def reads_in_order(self, prefixes: Sequence[str], page_size: int) -> bool:
        key = self._media.ordered_key
        once = in_pages = 0.0
        async with self._database.connection() as connection:
            for prefix in prefixes:
                where, values = bounds.condition(key, bounds.of_prefix(prefix), 1)
                query = f"SELECT {key} FROM {self._media.media} WHERE {where} ORDER BY {key}"
                whole = await _estimate(connection, query, values)
                page = await _estimate(connection, f"{query} LIMIT {page_size}", values)
                once += whole["Total Cost"]
                in_pages += page["Total Cost"] * max(1.0, whole["Plan Rows"] / page_size)
        return in_pages <= AS_SETS * once

    def _span(self, span: KeyRange) -> _Statement:
        """The span as a condition; it never includes our reserved prefix."""
        key = self._media.ordered_key
        sql, values = bounds.condition(key, bounds.of_prefix(span.prefix), 1)
        for operator, value in ((">", span.after), ("<=", span.upto)):
            if value:
                values.append(bounds.comparable(value))
                sql += f" AND {key} {operator} ${len(values)}::text"
        if RESERVED_PREFIX.startswith(span.prefix):
            end = prefix_end(RESERVED_PREFIX)
            assert end is not None
            values += [RESERVED_PREFIX, end]
            sql += f" AND NOT ({key} >= ${len(values) - 1}::text AND {key} < ${len(values)}::text)"
        return _Statement(sql, values)

    async def lookup(self, keys: Sequence[str], *, rewritten: bool = False) -> Sequence[Record]:
        async with self._database.connection() as connection:
            named = await names(connection, self._media, keys, rewritten=rewritten)
        return [record for records in named.values() for record in records]

    async def contents(self, keys: Sequence[str]) -> Sequence[Content]:
        media = self._media
        if media.content is None:
            return ()
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT {media.content} FROM {media.media} WHERE {media.equal_key} = ANY($1::text[])",
                [key for key in keys if bounds.storable(key)],
            )
        return [Content(**row) for row in rows]

    async def referenced(self, keys: Sequence[str]) -> frozenset[str]:
        async with self._database.connection() as connection:
            return frozenset(await references.named(connection, self._media, keys))

    async def columns_naming(self, key: str) -> Sequence[str]:
        """The declared columns other than the media table's key that name it, as `schema.table.column`."""
        async with self._database.connection() as connection:
            return await references.columns_naming(connection, self._media, key)

    async def reserved_until(self, key: str) -> datetime | None:
        """Until when an upload keeps the key that has no row; None where none does."""
        async with self._database.connection() as connection:
            return await references.reserved_until(connection, key)

    async def spelled_otherwise(self, orphans: Orphans, page_size: int) -> AsyncIterator[Sequence[str]]:
        for reference in self._media.references:
            rows = self._media.naming(reference)
            async for page in references.spelled_otherwise(
                self._database, reference.column, rows, orphans, page_size
            ):
                yield page

    async def variants(self, rows: Mapping[str, str], prefixes: Sequence[str]) -> Sequence[Variant]:
        async with self._database.connection() as connection:
            return await variants.going_along(connection, self._media, rows, prefixes)

    async def sample_keys(self, prefix: str, count: int) -> Sequence[str]:
        async with self._database.connection() as connection:
            rows, pages = await self._estimated_size(connection)
            if rows > SMALL and OVERSAMPLING * count < pages:
                keys = await self._sampled(connection, prefix, OVERSAMPLING * count / pages, pages / rows)
                if len(keys) >= count // 2:
                    return _thinned(keys, count)
            return await self._evenly(connection, prefix, count)

    async def _estimated_size(self, connection: AnyConnection) -> tuple[float, int]:
        # Estimated as the planner does: the density at the last ANALYZE, and the table's current size.
        row = await connection.fetchrow(
            "SELECT pages, CASE WHEN reltuples > 0 AND relpages > 0 THEN reltuples / relpages * pages"
            " ELSE pages * current_setting('block_size')::int / $2::float END AS rows"
            " FROM (SELECT reltuples, relpages,"
            " pg_relation_size(oid) / current_setting('block_size')::int AS pages"
            " FROM pg_class WHERE oid = to_regclass($1)) size",
            qualified(self._database.config.tables.media_table),
            BYTES_A_ROW,
        )
        assert row is not None
        return row["rows"], row["pages"]

    async def _sampled(
        self, connection: AnyConnection, prefix: str, of_pages: float, of_rows: float
    ) -> list[str]:
        where, values = bounds.condition(self._media.ordered_key, bounds.of_prefix(prefix), 3)
        # Reads some pages, since SYSTEM reads no others, and takes about one row of each, since the rows
        # of a page were written together and name neighbouring keys.
        keys: list[str] = await connection.fetchval(
            f"SELECT ARRAY(SELECT DISTINCT {self._media.key_text} FROM {self._media.table}"
            f" TABLESAMPLE SYSTEM ($1) WHERE random() < $2 AND {where} AND {self._media.counts})",
            100 * of_pages,
            of_rows,
            *values,
        )
        return sorted(keys)

    async def _evenly(self, connection: AnyConnection, prefix: str, count: int) -> list[str]:
        key = self._media.ordered_key
        where, values = bounds.condition(key, bounds.of_prefix(prefix), 2)
        # Takes every n-th key of the prefix; the server reads all keys, and sends only these.
        keys: list[str] = await connection.fetchval(
            "SELECT ARRAY(SELECT key FROM (SELECT key, row_number() OVER (ORDER BY key) AS n,"
            f" count(*) OVER () AS total FROM (SELECT DISTINCT {key} AS key FROM {self._media.media}"
            f" WHERE {where}) each) numbered WHERE n % greatest(total / $1, 1) = 0 ORDER BY n)::text[]",
            count,
            *values,
        )
        return _thinned(keys, count)

    async def count(self, prefixes: Sequence[str]) -> int:
        return await self._count(bounds.managed(prefixes))

    async def count_outside(self, prefixes: Sequence[str]) -> int:
        return await self._count(bounds.outside(prefixes))

    async def outside(self, prefixes: Sequence[str], page_size: int) -> AsyncIterator[Sequence[str]]:
        key = self._media.ordered_key
        for low, high in bounds.outside(prefixes):
            after: str | None = None
            while True:
                where, values = bounds.condition(key, ((low, high),), 2)
                beyond = "" if after is None else f" AND {key} > ${len(values) + 2}::text"
                async with self._database.connection() as connection:
                    keys: list[str] = await connection.fetchval(
                        f"SELECT ARRAY(SELECT DISTINCT {key} FROM {self._media.media}"
                        f" WHERE {where}{beyond} ORDER BY {key} LIMIT $1)::text[]",
                        page_size,
                        *values,
                        *([] if after is None else [after]),
                    )
                if keys:
                    yield keys
                if len(keys) < page_size:
                    break
                after = keys[-1]

    async def first_keys(self, prefixes: Sequence[str]) -> tuple[str | None, str | None]:
        """The first storage key inside the prefixes and the first one outside; None where there is none."""
        return await self._first(bounds.managed(prefixes)), await self._first(bounds.outside(prefixes))

    async def _first(self, within: bounds.Bounds) -> str | None:
        key = self._media.ordered_key
        async with self._database.connection() as connection:
            for stretch in within:
                where, values = bounds.condition(key, (stretch,), 1)
                found: str | None = await connection.fetchval(
                    f"SELECT {self._media.key_text} FROM {self._media.media} WHERE {where}"
                    f" ORDER BY {key} LIMIT 1",
                    *values,
                )
                if found is not None:
                    return found
        return None

    async def _count(self, within: bounds.Bounds) -> int:
        total = 0
        async with self._database.connection() as connection:
            for stretch in within:
                where, values = bounds.condition(self._media.ordered_key, (stretch,), 1)
                # One statement for each interval, so that each is one scan of the index.
                total += await connection.fetchval(
                    f"SELECT count(*) FROM {self._media.media} WHERE {where}", *values
                )
        return total

    def nominate(
        self, verdict: Verdict, policy: Policy, now: datetime, page_size: int = 1000
    ) -> AsyncIterator[Sequence[Record]]:
        return self._nominator.pages(verdict, policy, now, page_size)

    def misfits(self, policy: Policy) -> Sequence[str]:
        return matching.misfits(self._media, policy)

    async def counted(self, rows: Sequence[Record], policy: Policy, now: datetime) -> Sequence[Record]:
        """The rows with what their owners keep, where a quota counts them. Raises Retryable."""
        async with self._database.connection() as connection:
            found = await quotas.usages(connection, self._media, policy, rows, now)
        return [replace(row, usage=found.get(row.id)) for row in rows]

    async def group_policies(self) -> Sequence[GroupPolicy]:
        if self._media.rule_value("key_group") is None:
            return ()
        async with self._database.connection() as connection:
            return await group_policies.read(connection, self._database.config.tables)

    async def observe_keys(self, now: datetime) -> None:
        media = self._media
        if not media.has_keys:
            return

        async def work(connection: AnyConnection) -> None:
            # Drop keys that are enabled again, or gone: if one is disabled once more, its grace restarts.
            await connection.execute(
                f"DELETE FROM {SCHEMA}.revoked_keys r WHERE NOT EXISTS (SELECT FROM {media.keys}"
                f' WHERE {media.key_id}::text COLLATE "C" = r.key_id AND NOT {media.key_enabled})'
            )
            # The gateway's tables do not record since when a key is disabled: the first pass to see it does.
            await connection.execute(
                f"INSERT INTO {SCHEMA}.revoked_keys (key_id, first_seen_at)"
                f" SELECT {media.key_id}::text, $1 FROM {media.keys}"
                f" WHERE NOT {media.key_enabled} ON CONFLICT DO NOTHING",
                now,
            )

        await self._database.transaction(work)

    async def keys_ended(self, since: datetime, now: datetime, grace: timedelta) -> bool:
        media = self._media
        if not media.has_keys:
            return False
        query = (
            f"SELECT EXISTS (SELECT FROM {media.keys}"
            f' LEFT JOIN {SCHEMA}.revoked_keys r ON r.key_id = {media.key_id}::text COLLATE "C"'
            f" CROSS JOIN LATERAL (VALUES (CASE WHEN NOT {media.key_enabled} THEN r.first_seen_at END),"
            f" ({media.owner_expires})) AS e (at)"
            " WHERE e.at > $1::timestamptz - $3::interval AND e.at <= $2::timestamptz - $3::interval)"
        )
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(query, since, now, grace))


async def lookup(connection: AnyConnection, media: MediaTables, keys: Sequence[str]) -> list[Record]:
    """Every row that names one of the keys. Reads without a lock, so that no locked row looks absent."""
    wanted = [key for key in keys if bounds.storable(key)]
    padded = [key for key in wanted if media.pads and key.endswith(" ")]
    rows = await connection.fetch(
        f"SELECT {media.columns} FROM {media.joined} WHERE {media.equal_key} = ANY($1::text[])",
        [*wanted, *(key.rstrip(" ") for key in padded)] if padded else wanted,
    )
    found = [record_from(row) for row in rows]
    # A padded key may end in any number of blanks, so its row names each such key and protects it.
    named = by_key(found) if padded else {}
    return found + [replace(row, storage_key=key) for key in padded for row in named.get(key.rstrip(" "), ())]


async def names(
    connection: AnyConnection, media: MediaTables, keys: Sequence[str], *, rewritten: bool
) -> dict[str, list[Record]]:
    """Rows naming one of the keys, by key; with `rewritten` also those whose key a store rewrites to one."""
    named = by_key(await lookup(connection, media, keys))
    if rewritten:
        await add_rewritten(connection, media, keys, named)
    return named


async def require_tables(connection: AnyConnection, media: MediaTables) -> None:
    """Raise Halt unless both names still mean the tables that were inspected (R-5).

    A view in their place, or a new table that is being filled, would hide rows. Rows of an inheriting
    table may have the ids of others (R-41). Also raises Halt if the role may no longer remove rows.
    """
    found = await connection.fetchrow(TABLES, *media.names)
    if found is None or (found["media"], found["keys"]) != media.oids:
        raise Halt(
            f"{media.table_names} was replaced while this program ran; nothing is deleted until it is"
            " started again and has inspected the new table"
        )
    if found["inherited"]:
        raise Halt(
            f"other tables inherit from {media.table_names} now, and no index keeps an"
            " id from being in two of them; rows are removed by id, so nothing is deleted until they are"
            " partitions, or the inheritance has ended"
        )
    if not found["may_delete"]:
        # If a row cannot be removed, its object must not be deleted either.
        raise Halt(rights.revoked(media.names[0], await connection.fetchval("SELECT current_user::text")))
    if found["subscribed"]:
        raise Halt(
            f"{media.names[0]} or {media.names[1]} is filled by a logical subscription now: this database"
            " is a copy that may lag behind its publisher; nothing is deleted until RECONCILER_DATABASE_URL"
            " names the publisher, or the subscription is dropped because this is the primary now"
        )


async def add_rewritten(
    connection: AnyConnection, media: MediaTables, keys: Sequence[str], named: dict[str, list[Record]]
) -> None:
    """Add to `named` the rows whose own key differs, but a store rewrites it to one of these keys (R-25).

    They need the object as the others do, and are not removed themselves. No index serves this; it is
    called only where the store rewrites keys.
    """
    rows = await connection.fetch(
        f"SELECT {media.columns}, {media.rewritten_key} AS rewritten FROM {media.joined}"
        f" WHERE {media.is_rewritten} AND {media.rewritten_key} = ANY($1::text[])",
        [key for key in keys if bounds.storable(key)],
    )
    for row in rows:
        named.setdefault(row["rewritten"], []).append(record_from(row))


async def _estimate(connection: AnyConnection, query: str, values: Sequence[str]) -> Mapping[str, float]:
    """The planner's estimate: `Total Cost`, in its own units, and `Plan Rows`."""
    answer = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *values)
    plan: Mapping[str, float] = json.loads(answer)[0]["Plan"]
    return plan


def _thinned(keys: list[str], count: int) -> list[str]:
    step = max(len(keys) // max(count, 1), 1)
    return keys[::step]
