"""What the ledger has recorded: of one key, and of one pass. Reads only, and needs no lease."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from reconciler.catalog.db import bounds
from reconciler.catalog.db.connections import Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import Deletions, LedgerLine, PassKind

LONGEST = 1_000
"""Lines of one key that are read, the newest."""

# The ledger has no index on the key, since each deletion would pay for it: this reads all of it.
OF_KEY = f"""
SELECT l.at, l.event, l.what, l.record_id, l.verdict, l.reason, l.result, l.detail, l.bytes, l.pass_id,
       p.kind, p.cutoff, p.decided_by, p.decided_at
FROM {SCHEMA}.ledger l LEFT JOIN {SCHEMA}.passes p ON p.id = l.pass_id
WHERE l.storage_key = $1 AND l.mode = 'live' ORDER BY l.at DESC, l.id DESC LIMIT {LONGEST}
"""

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
    return LedgerLine(**{**row, "kind": PassKind(row["kind"]) if row["kind"] else None})
