"""Writes when media were last accessed, and how often: what protects them from becoming *stale*."""

from collections.abc import Collection, Sequence

import asyncpg
import structlog

from reconciler.catalog.db.config import MediaColumns, quoted
from reconciler.catalog.db.connections import Database, PooledConnection, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.media_tables.user_code import BUSY, explained, in_their_settings, is_of
from reconciler.model import Access

log = structlog.get_logger(__name__)

NO_RIGHT = "42501"
GREATEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}
"""What each type counts to."""

# A claim locks a mark before its rows, and the triggers, which see our update, a row before its mark. So the
# marks are locked first, and what a claim holds is left for the next time.
HELD = f"""
SELECT storage_key FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[])
EXCEPT SELECT storage_key FROM (
    SELECT storage_key FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[]) AND state = 'found'
    ORDER BY 1 FOR SHARE SKIP LOCKED
) free
"""

# In the order of the keys, past rows that others have locked, and keys that the triggers would refuse.
LOCK = """
SELECT s.key, {id} AS id FROM unnest($1::text[]) AS s (key) JOIN {table} ON {key} = s.key
WHERE {counts} AND NOT EXISTS (SELECT FROM {schema}.tombstones t
                               WHERE t.storage_key = s.key AND t.ends_at > clock_timestamp())
ORDER BY s.key FOR NO KEY UPDATE OF m SKIP LOCKED
"""

RECORD = """
UPDATE {table} SET {changes}
FROM (SELECT s.id, s.times, now() - s.seconds_ago * interval '1 second' AS at
      FROM unnest($1::text[], $2::int[], $3::float8[]) AS s (id, times, seconds_ago)) l
WHERE {among} AND {id} = l.id
"""


class _Refused(Exception):
    """The users' own code refuses one of the rows."""


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
        )
        self._record = RECORD.format(
            table=media.table,
            changes=", ".join(changes),
            among=media.identity.among("$1"),
            id=media.identity.text,
        )

    async def record(self, accesses: Sequence[Access]) -> Collection[str]:
        """Write them, and return the keys that are done with: a row that refuses it is logged and given up.

        Raises CatalogUnavailable, ConfigError.
        """
        try:
            return await self._database.transaction(lambda connection: self._write(connection, accesses))
        except _Refused as error:
            if len(accesses) == 1:
                key = accesses[0].key
                log.warning("an access cannot be written", storage_key=key, reason=str(error))
                return {key}
        half = len(accesses) // 2
        return {*await self.record(accesses[:half]), *await self.record(accesses[half:])}

    async def _write(self, connection: PooledConnection, accesses: Sequence[Access]) -> Collection[str]:
        await by_index(connection)
        by_key = {access.key: access for access in accesses}
        held = {row["storage_key"] for row in await connection.fetch(HELD, list(by_key))}
        rows = await connection.fetch(self._lock, sorted(by_key.keys() - held))
        found = [(row["id"], by_key[row["key"]]) for row in rows]
        ids, times = [row for row, _ in found], [access.count for _, access in found]
        ages = [access.seconds_ago for _, access in found]
        try:
            async with connection.transaction(), in_their_settings(connection):
                await connection.execute(self._record, ids, times, ages)
        except asyncpg.PostgresError as error:
            if is_of(error, (*BUSY, NO_RIGHT)):
                raise
            raise _Refused(explained(error)) from None
        return {row["key"] for row in rows}
