"""What the ledger has recorded: in all, of one key, of one pass. Reads only, and needs no lease."""

from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg

from reconciler.catalog.db import bounds
from reconciler.catalog.db.connections import AnyConnection, Database, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.pass_groups import superseded
from reconciler.model import Deletions, LedgerFilter, LedgerLine, PassKind

LONGEST = 1_000
"""Lines of one key that are read, the newest."""

LINES = f"""
SELECT l.id, l.at, l.event, l.what, l.storage_key, l.record_id, l.owners, l.verdict, l.reason, l.result,
       l.detail, l.bytes, l.pass_id, l.operation_id, p.kind, p.cutoff,
       CASE WHEN p.state <> 'discarded' THEN p.decided_by END AS decided_by,
       CASE WHEN p.state <> 'discarded' THEN p.decided_at END AS decided_at,
       (p.state = 'discarded' OR p.state = 'tripped' AND p.decided_at IS NULL) IS TRUE AS unapproved
FROM {SCHEMA}.ledger l LEFT JOIN {SCHEMA}.passes p ON p.id = l.pass_id
WHERE l.mode = 'live'
"""

# The ledger has no index on the key, since each deletion would pay for it: this reads all of it.
OF_KEY = f"{LINES} AND l.storage_key = $1 ORDER BY l.at DESC, l.id DESC LIMIT {LONGEST}"

# A page begins behind the last line of the one before. So no transaction stays open while a reader reads,
# and all pages together read the index on the time once.
PAGE = f"""{LINES}
  AND (l.at, l.id) > ($1::timestamptz, $2::bigint) AND ($3::timestamptz IS NULL OR l.at < $3)
  AND ($4::text IS NULL OR l.storage_key = $4 OR l.variant_of = $4)
  AND ($5::bigint[] IS NULL OR l.pass_id = ANY($5)) AND ($6::text IS NULL OR $6 = ANY(l.owners))
ORDER BY l.at, l.id LIMIT $7
"""

FIRST = datetime.min.replace(tzinfo=UTC)

# What a pass found is deleted after its cutoff, so the index on the time serves.
OF_PASS = f"""
SELECT what, verdict, event, result, count(*) AS keys, coalesce(sum(bytes), 0)::bigint AS bytes,
       (array_agg(storage_key ORDER BY storage_key))[1:$3] AS examples
FROM {SCHEMA}.ledger
WHERE at >= $2 AND pass_id = ANY($1::bigint[]) AND mode = 'live' AND event IN ('result', 'restored')
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""


class History:
    """Reads the ledger for a person."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_key(self, key: str) -> Sequence[LedgerLine]:
        """The lines of one key, the oldest first; none for a key that Postgres cannot hold."""
        if not bounds.storable(key):
            return ()
        async with self._database.connection() as connection:
            return [_line(row) for row in reversed(await connection.fetch(OF_KEY, key))]

    async def page(self, wanted: LedgerFilter, after: LedgerLine | None, limit: int) -> Sequence[LedgerLine]:
        """The next lines that match, in the order in which they were written, behind the line `after`."""
        if wanted.key is not None and not bounds.storable(wanted.key):
            return ()
        # No line has the id 0, so that one at `since` itself is behind it.
        place = (after.at, after.id) if after else (wanted.since or FIRST, 0)

        async def work(connection: AnyConnection) -> Sequence[asyncpg.Record]:
            ids = await superseded(connection, wanted.pass_id)
            await by_index(connection)
            owner = wanted.virtual_key_id
            rows: Sequence[asyncpg.Record] = await connection.fetch(
                PAGE, *place, wanted.until, wanted.key, ids, owner, limit
            )
            return rows

        return [_line(row) for row in await self._database.transaction(work)]

    async def of_pass(self, ids: Sequence[int], since: datetime, examples: int) -> Sequence[Deletions]:
        """What became of what these passes found, by what, verdict and result."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(OF_PASS, ids, since, examples)
            return [
                Deletions(
                    what=row["what"],
                    verdict=row["verdict"],
                    result="restored" if row["event"] == "restored" else row["result"] or "",
                    keys=row["keys"],
                    bytes=row["bytes"],
                    examples=tuple(row["examples"]),
                )
                for row in rows
            ]


def _line(row: asyncpg.Record) -> LedgerLine:
    kind = PassKind(row["kind"]) if row["kind"] else None
    return LedgerLine(**{**row, "kind": kind, "owners": tuple(row["owners"] or ())})
