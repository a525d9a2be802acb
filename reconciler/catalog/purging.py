"""What can no longer be brought back goes: copies, hidden versions, removed rows, old lines of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from reconciler.catalog import holds
from reconciler.catalog.connections import AnyConnection, Database
from reconciler.catalog.hiding import HIDDEN_COLUMNS, hidden_from
from reconciler.catalog.recovery import LEFT_AFTER
from reconciler.catalog.schema import SCHEMA
from reconciler.catalog.terms import stand
from reconciler.model import HiddenObject, Term, Upload

CHUNK = 10_000
"""Lines of the ledger that one statement changes."""

# Past the window $2 at $1: what nobody brought back, or a copy of what was brought back. At once: a copy
# of what stayed, and what was erased on request. A return that was left, and a purge that was left for $3.
DUE = f"""
    h.state IN ('hidden', 'restored') AND h.hidden_at <= $1::timestamptz - $2::interval
    OR h.state = 'left over' OR h.state IN ('hidden', 'restored') AND h.erased
    OR h.state = 'restoring' AND (h.hidden_at <= $1 - $2 OR h.erased)
       AND h.claimed_at <= $1 - interval '{int(LEFT_AFTER.total_seconds())} seconds'
    OR h.state = 'purging' AND h.claimed_at <= $1 - $3::interval
"""

# What was brought back from behind a marker is the object itself: nothing of it may go.
FORGET = f"""
DELETE FROM {SCHEMA}.hidden h
WHERE h.state = 'restored' AND h.mode = 'versioned' AND h.hidden_at <= $1::timestamptz - $2::interval
"""

# Who undoes claims the same rows: one of the two has each of them alone. What is on hold stays where it
# is, and so does what a row waits for; but for copies that are needed no more, and for what has to be erased.
CLAIM = f"""
UPDATE {SCHEMA}.hidden h SET state = 'purging', claimed_at = $1
WHERE h.id IN (
    SELECT h.id FROM {SCHEMA}.hidden h
    WHERE ({DUE}) AND NOT (h.state = 'restored' AND h.mode = 'versioned')
      AND NOT (h.state IN ('hidden', 'purging') AND NOT h.erased
               AND {holds.named_condition("h.storage_key", "$1::timestamptz")})
      AND NOT (h.state IN ('hidden', 'restoring') AND NOT h.erased
               AND EXISTS (SELECT FROM {SCHEMA}.restores r WHERE r.storage_key = h.storage_key))
    ORDER BY h.hidden_at, h.id LIMIT $4 FOR UPDATE SKIP LOCKED)
RETURNING {HIDDEN_COLUMNS}
"""

# From now on a row of such a key is refused: the window may be shorter than the tombstone's.
NO_WAY_BACK = f"""
UPDATE {SCHEMA}.tombstones t SET recoverable = false FROM {SCHEMA}.hidden h
WHERE h.id = ANY($1::bigint[]) AND t.storage_key = h.storage_key AND t.operation_id = h.operation_id
"""

PURGED = f"""
WITH gone AS (DELETE FROM {SCHEMA}.hidden WHERE id = ANY($1::bigint[]) AND state = 'purging' RETURNING *)
INSERT INTO {SCHEMA}.ledger
    (operation_id, epoch, event, mode, what, storage_key, verdict, reason, result, bytes, etag, pass_id)
SELECT operation_id, $2, 'purged', 'live', 'object', storage_key, verdict,
       CASE WHEN erased THEN 'erasure' ELSE 'it could be brought back for long enough' END, 'deleted',
       bytes, etag, pass_id
FROM gone
"""

# Somebody else took its marker away: it is an object like any other, and nothing of it is ours to free.
BACK = f"""
WITH back AS (DELETE FROM {SCHEMA}.hidden WHERE id = ANY($1::bigint[]) AND state = 'purging' RETURNING *)
INSERT INTO {SCHEMA}.ledger
    (operation_id, epoch, event, mode, what, storage_key, verdict, reason, result, bytes, etag, pass_id)
SELECT operation_id, $2, 'restored', 'live', 'object', storage_key, verdict, 'nothing hides it any more',
       'present', bytes, etag, pass_id
FROM back
"""

# No verdict was passed on an upload: it is none of the bucket's objects.
ABORTED = f"""
INSERT INTO {SCHEMA}.ledger (epoch, event, mode, what, storage_key, verdict, reason, result)
SELECT $1, 'aborted', 'live', 'upload', u.storage_key, '', u.reason, 'deleted'
FROM unnest($2::text[], $3::text[]) AS u (storage_key, reason)
"""

SPENT = f"""
SELECT count(*) FROM {SCHEMA}.ledger
WHERE event = $1 AND event IN ('purged', 'aborted') AND at > clock_timestamp() - interval '24 hours'
"""

# Prompts are personal data: a removed row goes with the chance to bring it back.
FORGET_ROWS = f"""
UPDATE {SCHEMA}.ledger SET removed = NULL
WHERE id IN (SELECT id FROM {SCHEMA}.ledger WHERE removed IS NOT NULL
             AND at <= clock_timestamp() - $1::interval LIMIT {CHUNK})
"""

FORGET_LINES = f"""
DELETE FROM {SCHEMA}.ledger
WHERE id IN (SELECT id FROM {SCHEMA}.ledger WHERE at <= clock_timestamp() - $1::interval LIMIT {CHUNK})
"""


# What is deleted and not freed.
HIDDEN_TOTALS = f"""
SELECT count(*) AS objects, coalesce(sum(greatest(bytes, 0)), 0)::text AS bytes FROM {SCHEMA}.hidden
WHERE NOT (state = 'restored' AND mode = 'versioned')
"""


class PostgresPurges:
    """`ports.Purges` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, term: Term, window: timedelta, dead_after: timedelta, limit: int
    ) -> Sequence[HiddenObject]:
        async def work(connection: AnyConnection) -> list[HiddenObject]:
            now = (await stand(connection, term)).now
            await connection.execute(FORGET, now, window)
            rows = await connection.fetch(CLAIM, now, window, dead_after, limit)
            await connection.execute(NO_WAY_BACK, [row["id"] for row in rows])
            return [hidden_from(row) for row in rows]

        return await self._database.transaction(work)

    async def done(self, term: Term, ids: Sequence[int]) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await connection.execute(PURGED, list(ids), term.epoch)

        await self._database.transaction(work)

    async def back(self, term: Term, ids: Sequence[int]) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await connection.execute(BACK, list(ids), term.epoch)

        await self._database.transaction(work)

    async def aborted(self, term: Term, uploads: Sequence[Upload]) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            reasons = [f"begun {each.begun_at:%Y-%m-%dT%H:%M:%SZ}, never completed" for each in uploads]
            await connection.execute(ABORTED, term.epoch, [each.key for each in uploads], reasons)

        if uploads:
            await self._database.transaction(work)

    async def spent(self, event: str) -> int:
        async with self._database.connection() as connection:
            spent: int = await connection.fetchval(SPENT, event)
        return spent

    async def hidden(self) -> tuple[int, int]:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(HIDDEN_TOTALS)
        assert row is not None
        return row["objects"], int(row["bytes"])

    async def forget(self, term: Term, window: timedelta, retention: timedelta) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await connection.execute(FORGET_ROWS, window)
            await connection.execute(FORGET_LINES, retention)

        await self._database.transaction(work)
