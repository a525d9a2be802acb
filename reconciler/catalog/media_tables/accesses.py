"""Writes when media were last accessed, and how often: what protects them from becoming *stale*."""

from collections.abc import Collection, Sequence

import asyncpg
import structlog

from reconciler.catalog.db.config import MediaColumns, quoted
from reconciler.catalog.db.connections import Database, PooledConnection, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.media_tables.user_code import BUSY, explained, in_their_settings, is_of
from reconciler.model import Access, Imported

log = structlog.get_logger(__name__)

NO_RIGHT = "42501"
GREATEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}
"""What each type counts to."""

# A claim locks a mark before its rows, and the triggers, which see our update, a row before its mark. So the
# marks are locked first, and what a claim holds is left for the next time.
# `waits` is where they are to be waited for: {skip} is empty then.
HELD = f"""
SELECT storage_key FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[])
EXCEPT SELECT storage_key FROM (
    SELECT storage_key FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[]) AND state = 'found'
    ORDER BY 1 FOR SHARE {{skip}}
) free
"""

# In the order of the keys, without keys that the triggers would refuse.
LOCK = """
SELECT s.key, {id} AS id FROM unnest($1::text[]) AS s (key) JOIN {table} ON {key} = s.key
WHERE {counts} AND NOT EXISTS (SELECT FROM {schema}.tombstones t
                               WHERE t.storage_key = s.key AND t.ends_at > clock_timestamp())
ORDER BY s.key FOR NO KEY UPDATE OF m {skip}
"""

ROWED = (
    "SELECT DISTINCT s.key FROM unnest($1::text[]) AS s (key) JOIN {table} ON {key} = s.key WHERE {counts}"
)

RECORD = """
UPDATE {table} SET {changes}
FROM (SELECT s.id, s.times, now() - s.seconds_ago * interval '1 second' AS at
      FROM unnest($1::text[], $2::int[], $3::float8[]) AS s (id, times, seconds_ago)) l
WHERE {among} AND {id} = l.id
"""


class RecordedAccesses:
    """Writes accesses to the gateway's rows, under whose triggers that runs."""

    def __init__(self, database: Database, media: MediaTables, columns: MediaColumns) -> None:
        self._database = database
        changes = list[str]()
        if (last := media.media_time("last_accessed_at")) is not None:
            moment = media.moment_of("last_accessed_at", "l.at")
            changes.append(f"{quoted(columns.last_accessed_at)} = greatest({last}, {moment})")
        if (count := media.media_time("access_count")) is not None:
            kind = media.media_type("access_count")
            more = f"coalesce({count}, 0)::numeric + l.times"
            most = GREATEST.get(kind)
            changes.append(
                f"{quoted(columns.access_count)} = "
                + (f"({more})" if most is None else f"least({more}, {most})::{kind}")
            )
        self.possible = bool(changes)
        """Whether the table has a column for it."""
        self._lock = LOCK.format(
            id=media.identity.text,
            table=media.table,
            key=media.equal_key,
            counts=media.counts,
            schema=SCHEMA,
            skip="{skip}",
        )
        self._rowed = ROWED.format(table=media.table, key=media.equal_key, counts=media.counts)
        self._record = RECORD.format(
            table=media.table,
            changes=", ".join(changes),
            among=media.identity.among("$1"),
            id=media.identity.text,
        )

    async def record(self, accesses: Sequence[Access]) -> Collection[str]:
        """Write them past what others have locked, and return the keys that are done with: a row that refuses
        it is logged and given up.

        Raises CatalogUnavailable, ConfigError.
        """

        async def work(connection: PooledConnection) -> Collection[str]:
            found = await self._found(connection, accesses, wait=False)
            await self._write(connection, found)
            return {access.key for _, access in found}

        return await self._database.transaction(work)

    async def count(self, connection: PooledConnection, accesses: Sequence[Access]) -> Imported:
        """Write them in the caller's transaction, waiting for what others have locked, and count them by what
        became of them. No two may be of one key.
        """
        counts = {access.key: access.count for access in accesses}
        found = await self._found(connection, accesses, wait=True)
        refused = {access.key for access in await self._write(connection, found)}
        left = counts.keys() - {access.key for _, access in found}
        leaving = {row["key"] for row in await connection.fetch(self._rowed, sorted(left))} if left else set()

        def times(keys: Collection[str]) -> int:
            return sum(counts[key] for key in keys)

        return Imported(
            counted=times(counts.keys() - left - refused),
            unknown=times(left - leaving),
            leaving=times(leaving),
            refused=times(refused),
        )

    async def _found(
        self, connection: PooledConnection, accesses: Sequence[Access], *, wait: bool
    ) -> Sequence[tuple[str, Access]]:
        """The rows' ids with the accesses to them, locked, in the order of the keys."""
        skip = "" if wait else "SKIP LOCKED"
        await by_index(connection)
        by_key = {access.key: access for access in accesses}
        held = {row["storage_key"] for row in await connection.fetch(HELD.format(skip=skip), list(by_key))}
        rows = await connection.fetch(self._lock.format(skip=skip), sorted(by_key.keys() - held))
        return [(row["id"], by_key[row["key"]]) for row in rows]

    async def _write(
        self, connection: PooledConnection, found: Sequence[tuple[str, Access]]
    ) -> Sequence[Access]:
        """Write to these rows, and return what one of them refuses; the others are written all the same."""
        ids, times = [row for row, _ in found], [access.count for _, access in found]
        ages = [access.seconds_ago for _, access in found]
        try:
            async with connection.transaction(), in_their_settings(connection):
                await connection.execute(self._record, ids, times, ages)
        except asyncpg.PostgresError as error:
            if is_of(error, (*BUSY, NO_RIGHT)):
                raise
            if len(found) == 1:
                access = found[0][1]
                log.warning("an access cannot be written", storage_key=access.key, reason=explained(error))
                return [access]
            half = len(found) // 2
            first = await self._write(connection, found[:half])
            return [*first, *await self._write(connection, found[half:])]
        return []
