"""What the ledger has recorded: in all, of one key, of one pass. Reads only, and needs no lease."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg

from reconciler.catalog.db import bounds
from reconciler.catalog.db.connections import AnyConnection, Database, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.pass_groups import superseded
from reconciler.model import Deletions, LedgerFilter, LedgerLine, PassKind
from reconciler.model.history import WITHDRAWN

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

MATCHING = """
      (l.at, l.id) > ($1::timestamptz, $2::bigint) AND ($3::timestamptz IS NULL OR l.at < $3)
  AND ($4::text IS NULL OR l.storage_key = $4 OR l.variant_of = $4)
  AND ($5::bigint[] IS NULL OR l.pass_id = ANY($5)) AND (
      $6::text IS NULL OR $6 = ANY(l.owners) OR l.what = 'virtual_key' AND l.storage_key = $6)
"""

# A page begins behind the last line of the one before. So no transaction stays open while a reader reads,
# and all pages together read the index on the time once.
PAGE = f"{LINES} AND {MATCHING} ORDER BY l.at, l.id LIMIT $7"

# The line before the newest $7.
BEFORE = f"""
SELECT l.at, l.id FROM {SCHEMA}.ledger l WHERE l.mode = 'live' AND {MATCHING}
ORDER BY l.at DESC, l.id DESC LIMIT 1 OFFSET $7
"""

EVENTS = {"restored": "restored", "cancelled": WITHDRAWN}
"""Lines whose event is the result."""

FIRST = datetime.min.replace(tzinfo=UTC)

# What a pass found is deleted after its cutoff, so the index on the time serves.
# Of what was cancelled, marks that a person withdrew: a claim that gave one up belongs to an operation.
OF_PASS = f"""
SELECT what, verdict, event, result, count(*) AS keys, coalesce(sum(bytes), 0)::bigint AS bytes,
       (array_agg(storage_key ORDER BY storage_key))[1:$3] AS examples
FROM {SCHEMA}.ledger
WHERE at >= $2 AND pass_id = ANY($1::bigint[]) AND mode = 'live'
  AND (event IN ('result', 'restored') OR event = 'cancelled' AND operation_id IS NULL)
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""

# What a pass finds again keeps the number of the pass that found it first. So what went until the next pass
# of its kind, under earlier numbers, is as near as the ledger comes to what this one saw go.
OF_EARLIER = f"""
SELECT pass_id, count(*) FILTER (WHERE what = 'object') AS objects,
       count(*) FILTER (WHERE what = 'record') AS records
FROM {SCHEMA}.ledger
WHERE at >= $2 AND at < coalesce((SELECT min(n.cutoff) FROM {SCHEMA}.passes n JOIN {SCHEMA}.passes p
                                  ON n.kind = p.kind AND n.id > p.id WHERE p.id = $1), 'infinity')
  AND pass_id < $1 AND verdict = ANY($3::text[]) AND mode = 'live' AND event = 'result' AND result = 'deleted'
GROUP BY 1 ORDER BY 1
"""


class Place(NamedTuple):
    """Where a line stands among the others."""

    at: datetime
    id: int


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

    async def page(self, wanted: LedgerFilter, after: Place | None, limit: int) -> Sequence[LedgerLine]:
        """The next lines that match, in the order in which they were written, behind the line at `after`."""
        return [_line(row) for row in await self._matching(PAGE, wanted, after, limit)]

    async def before(self, wanted: LedgerFilter, newest: int) -> Place | None:
        """The place of the line before the newest so many that match; None where there is none."""
        return next((Place(*row) for row in await self._matching(BEFORE, wanted, None, newest)), None)

    async def _matching(
        self, query: str, wanted: LedgerFilter, after: Place | None, number: int
    ) -> Sequence[asyncpg.Record]:
        if wanted.key is not None and not bounds.storable(wanted.key):
            return ()
        # No line has the id 0, so that one at `since` itself is behind it.
        place = after or Place(wanted.since or FIRST, 0)

        async def work(connection: AnyConnection) -> Sequence[asyncpg.Record]:
            ids = await superseded(connection, wanted.pass_id)
            await by_index(connection)
            owner = wanted.virtual_key_id
            rows: Sequence[asyncpg.Record] = await connection.fetch(
                query, *place, wanted.until, wanted.key, ids, owner, number
            )
            return rows

        return await self._database.transaction(work)

    async def of_pass(self, ids: Sequence[int], since: datetime, examples: int) -> Sequence[Deletions]:
        """What became of what these passes found, by what, verdict and result."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(OF_PASS, ids, since, examples)
            return [
                Deletions(
                    what=row["what"],
                    verdict=row["verdict"],
                    result=EVENTS.get(row["event"], row["result"] or ""),
                    keys=row["keys"],
                    bytes=row["bytes"],
                    examples=tuple(row["examples"]),
                )
                for row in rows
            ]

    async def of_earlier(
        self, pass_id: int, since: datetime, verdicts: Sequence[str]
    ) -> Mapping[int, tuple[int, int]]:
        """Objects and records of these verdicts that went under the numbers of earlier passes, from its
        beginning, `since`, to the next of its kind.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(OF_EARLIER, pass_id, since, verdicts)
        return {row["pass_id"]: (row["objects"], row["records"]) for row in rows}


def _line(row: asyncpg.Record) -> LedgerLine:
    kind = PassKind(row["kind"]) if row["kind"] else None
    return LedgerLine(**{**row, "kind": kind, "owners": tuple(row["owners"] or ())})
