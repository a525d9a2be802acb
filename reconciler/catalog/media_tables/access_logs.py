"""How far access logs have been read: written down with what they say, so that nothing counts twice."""

from collections.abc import Mapping, Sequence

from reconciler.catalog.db.connections import AnyConnection, Database, PooledConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.accesses import RecordedAccesses
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Access, Imported, LogPlace, LogStep

PLACES = f"SELECT bytes, digest FROM {SCHEMA}.access_logs WHERE head = $1"

FINISHED = f"""
SELECT l.name FROM {SCHEMA}.access_logs l
JOIN unnest($1::text[], $2::text[]) AS s (name, version) ON l.name = s.name AND l.version = s.version
"""

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('reconciler access log ' || $1, 0))"
LEAVE = f"DELETE FROM {SCHEMA}.access_logs WHERE head = $1 AND digest = $2"
REACH = f"""
INSERT INTO {SCHEMA}.access_logs (head, digest, bytes, name, version) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (head, digest) DO UPDATE SET name = excluded.name, version = excluded.version
"""
FORGET = f"DELETE FROM {SCHEMA}.access_logs WHERE read_at < clock_timestamp() - interval '400 days'"


class AccessLogs:
    """Access logs that are read. `accesses` writes to the rows."""

    def __init__(self, database: Database, accesses: RecordedAccesses) -> None:
        self._database = database
        self._accesses = accesses

    @property
    def possible(self) -> bool:
        """Whether the media table has a column for accesses."""
        return self._accesses.possible

    async def finished(self, versions: Mapping[str, str]) -> set[str]:
        """Which of these names, with their versions, were read to their end."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(FINISHED, list(versions), list(versions.values()))
        return {row["name"] for row in rows}

    async def places(self, head: str) -> frozenset[LogPlace]:
        """How far logs that begin so have been read."""
        async with self._database.connection() as connection:
            return await _places(connection, head)

    async def forget(self) -> None:
        """Forget logs that were last read long ago, whose lines protect nothing any more."""
        async with self._database.connection() as connection:
            await connection.execute(FORGET)

    async def write(self, step: LogStep, accesses: Sequence[Access]) -> Imported:
        """Write the accesses, each key once, and the place that was reached, both or neither.

        Waits for rows that others have locked. Raises NotDone where the log was read by another meanwhile;
        CatalogUnavailable, ConfigError.
        """

        async def work(connection: PooledConnection) -> Imported:
            await connection.execute(LOCK, step.head)
            if await _places(connection, step.head) != step.known:
                message = f"{step.name}: another import reads this log; begin again when that is done"
                raise NotDone(ErrorKind.CONFLICT, "log_read_elsewhere", message, log=step.name)
            if step.before is not None:
                await connection.execute(LEAVE, step.head, step.before.digest)
            await connection.execute(
                REACH, step.head, step.after.digest, step.after.bytes, step.name, step.version
            )
            return await self._accesses.count(connection, accesses)

        return await self._database.transaction(work)


async def _places(connection: AnyConnection, head: str) -> frozenset[LogPlace]:
    rows = await connection.fetch(PLACES, head)
    return frozenset(LogPlace(bytes=row["bytes"], digest=row["digest"]) for row in rows)
