"""Restores what was deleted: objects by the table `hidden`, rows by the ledger that kept them."""

from collections.abc import Collection, Sequence
from datetime import timedelta

import asyncpg

from reconciler.catalog.db.connections import AnyConnection, Database, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.pass_groups import superseded
from reconciler.catalog.recovery import restore_queue
from reconciler.catalog.recovery.row_return import RowReturn
from reconciler.catalog.recovery.soft_deleted import (
    HIDDEN_COLUMNS,
    KNOWN_MODE,
    RESTORABLE,
    UNRESTORED,
    hidden_from,
)
from reconciler.model import (
    QUARANTINE_PREFIX,
    HiddenObject,
    QuarantineBucket,
    Queued,
    Removal,
    RemovedRow,
    Return,
    Returned,
    UndoScope,
    Verdict,
)

LEFT_AFTER = timedelta(hours=1)
"""A restore that began so long ago is abandoned: none of its requests is still on its way."""

DELETED_NOW = "its key is being deleted at this moment; undo it again in a minute"

# The scope of parameters $1 to $4: keys with their variants, passes, and a period of time.
SCOPE = """
    ($1::text[] IS NULL OR {0}.storage_key = ANY($1) OR {0}.variant_of = ANY($1))
    AND ($2::bigint[] IS NULL OR {0}.pass_id = ANY($2))
    AND ($3::timestamptz IS NULL OR {0}.{1} >= $3) AND ($4::timestamptz IS NULL OR {0}.{1} < $4)
"""
OF_HIDDEN = SCOPE.format("h", "hidden_at")
OF_LEDGER = SCOPE.format("l", "at")

# Each branch gives only a page, so that neither is read as a whole for every page.
KEYS = f"""
(SELECT DISTINCT h.storage_key FROM {SCHEMA}.hidden h
 WHERE {RESTORABLE} AND {OF_HIDDEN} AND h.storage_key > $5 ORDER BY h.storage_key LIMIT $6)
UNION
(SELECT DISTINCT l.storage_key FROM {SCHEMA}.ledger l
 WHERE {UNRESTORED} AND {OF_LEDGER} AND l.storage_key > $5 ORDER BY l.storage_key LIMIT $6)
ORDER BY storage_key LIMIT $6
"""

# For each key the object deleted last, which had overwritten any earlier one.
OBJECTS = f"""
SELECT DISTINCT ON (h.storage_key) {HIDDEN_COLUMNS} FROM {SCHEMA}.hidden h
WHERE {RESTORABLE} AND {KNOWN_MODE} AND {OF_HIDDEN} AND h.storage_key = ANY($5::text[])
ORDER BY h.storage_key, h.id DESC
"""

ROWS = f"""
SELECT l.id, l.storage_key, l.record_id, l.verdict, l.pass_id FROM {SCHEMA}.ledger l
WHERE {UNRESTORED} AND {OF_LEDGER} AND l.storage_key = ANY($5::text[])
ORDER BY l.id DESC
"""

# Deleted objects in the scope of which no copy or version is left.
GONE = f"""
SELECT count(DISTINCT l.storage_key) FROM {SCHEMA}.ledger l
WHERE {OF_LEDGER} AND l.event = 'result' AND l.what = 'object' AND l.result = 'deleted'
  AND NOT EXISTS (SELECT FROM {SCHEMA}.hidden h
                  WHERE h.storage_key = l.storage_key AND h.operation_id = l.operation_id)
  AND NOT EXISTS (SELECT FROM {SCHEMA}.ledger r
                  WHERE r.event = 'restored' AND r.what = 'object' AND r.storage_key = l.storage_key
                    AND r.operation_id = l.operation_id)
"""

KNOWN = f"""
SELECT EXISTS (SELECT FROM {SCHEMA}.ledger l
               WHERE {OF_LEDGER} AND l.event = 'result' AND l.result = 'deleted')
    OR EXISTS (SELECT FROM {SCHEMA}.hidden h WHERE {RESTORABLE} AND {OF_HIDDEN})
"""

CLAIM_RETURNS = f"""
UPDATE {SCHEMA}.hidden SET state = 'restoring', claimed_at = clock_timestamp()
WHERE id = ANY($1::bigint[]) AND state IN ('hidden', 'restoring') AND NOT erased RETURNING id
"""

# Run before a row is put back: LIFT ends a mark that is not claimed; a claimed one refuses every row.
LIFT = f"DELETE FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[]) AND state = 'found'"
DELETE_TOMBSTONE = f"DELETE FROM {SCHEMA}.tombstones WHERE storage_key = ANY($1::text[])"
CLAIMED = f"""
SELECT storage_key FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[]) AND state = 'claimed'
ORDER BY storage_key FOR SHARE
"""

BACK = f"""
WITH back AS (
    UPDATE {SCHEMA}.hidden h SET state = 'restored' FROM unnest($1::bigint[], $3::text[]) AS b (id, result)
    WHERE h.id = b.id AND h.state = 'restoring' RETURNING h.*, b.result
)
INSERT INTO {SCHEMA}.ledger
    (operation_id, epoch, event, mode, what, storage_key, verdict, reason, result, bytes, etag, pass_id,
     owners)
SELECT operation_id, (SELECT epoch FROM {SCHEMA}.term), 'restored', 'live', 'object', storage_key, verdict,
       $2, result, bytes, etag, pass_id, owners
FROM back
"""

# Copies in other buckets, those that a claim may have made included. Read rarely, so no index serves it.
QUARANTINES = f"""
SELECT DISTINCT regexp_replace(quarantine_key, '[^/]+/[^/]+$', '') FROM (
    SELECT quarantine_key FROM {SCHEMA}.hidden
    UNION ALL
    SELECT quarantine_key FROM {SCHEMA}.marks WHERE state = 'claimed'
) AS copies WHERE starts_with(quarantine_key, $1)
"""


class _Rehearsed(Exception):
    """What a rehearsal has told."""

    def __init__(self, told: Sequence[Returned]) -> None:
        super().__init__()
        self.told = told


class PostgresRecovery:
    """`ports.Recovery` on Postgres."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media
        self._rows = RowReturn(media)

    async def removals(self, scope: UndoScope, after: str = "", limit: int = 1000) -> Sequence[Removal]:
        async with self._database.connection() as connection:
            within = await _scope(connection, scope)
            keys = [row["storage_key"] for row in await connection.fetch(KEYS, *within, after, limit)]
            objects = {
                row["storage_key"]: hidden_from(row) for row in await connection.fetch(OBJECTS, *within, keys)
            }
            rows: dict[str, list[RemovedRow]] = {}
            for row in await connection.fetch(ROWS, *within, keys):
                rows.setdefault(row["storage_key"], []).append(_removed_from(row))
        return [
            Removal(storage_key=key, object=objects.get(key), rows=tuple(rows.get(key, ()))) for key in keys
        ]

    async def gone(self, scope: UndoScope) -> int:
        async with self._database.connection() as connection:
            gone: int = await connection.fetchval(GONE, *await _scope(connection, scope))
        return gone

    async def knows(self, scope: UndoScope) -> bool:
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(KNOWN, *await _scope(connection, scope)))

    async def claim_returns(self, ids: Sequence[int]) -> set[int]:
        async with self._database.connection() as connection:
            return {row["id"] for row in await connection.fetch(CLAIM_RETURNS, ids)}

    async def put_back(
        self, removals: Sequence[Removal], author: str, *, came: Collection[str] = ()
    ) -> Sequence[Returned]:
        async def work(connection: AnyConnection) -> list[Returned]:
            return await self._put_back(connection, removals, author, came)

        return await self._database.transaction(work)

    async def rehearse(self, removals: Sequence[Removal]) -> Sequence[Returned]:
        async def work(connection: AnyConnection) -> Sequence[Returned]:
            raise _Rehearsed(await self._put_back(connection, removals, "", ()))

        try:
            return await self._database.transaction(work)
        except _Rehearsed as rehearsed:
            return rehearsed.told

    async def hidden(self, key: str) -> Sequence[HiddenObject]:
        async with self._database.connection() as connection:
            return await restore_queue.hidden(connection, key)

    async def recoverable(self, keys: Sequence[str]) -> set[str]:
        async with self._database.connection() as connection:
            return await restore_queue.keys_of(connection, restore_queue.RECOVERABLE, keys)

    async def quarantines(self) -> set[str]:
        async with self._database.connection() as connection:
            found = await connection.fetch(QUARANTINES, QUARANTINE_PREFIX)
        return {row[0] for row in found if QuarantineBucket.of_key(row[0])}

    async def estranged(self, keys: Sequence[str]) -> set[str]:
        async with self._database.connection() as connection:
            return await restore_queue.keys_of(connection, restore_queue.ESTRANGED, keys)

    async def named_besides(self) -> set[str]:
        async with self._database.connection() as connection:
            return await restore_queue.named_besides(connection, self._media)

    async def row_missing(self, keys: Sequence[str]) -> set[str]:
        async def work(connection: AnyConnection) -> set[str]:
            # The planner would read all of the ledger, which grows with each batch.
            await by_index(connection)
            return await restore_queue.keys_of(connection, restore_queue.WIDOWED, keys)

        return await self._database.transaction(work)

    async def queue(self, keys: Sequence[str], reason: str) -> None:
        await restore_queue.queue(self._database, keys, reason)

    async def queued(self, limit: int) -> Sequence[Queued]:
        async with self._database.connection() as connection:
            return await restore_queue.queued(connection, limit)

    async def dequeue(self, queued: Queued) -> None:
        async with self._database.connection() as connection:
            await connection.execute(restore_queue.DEQUEUE, queued.storage_key, queued.queued_at)

    async def postpone(self, key: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(restore_queue.POSTPONE, key)

    async def _put_back(
        self,
        connection: AnyConnection,
        removals: Sequence[Removal],
        author: str,
        came: Collection[str],
    ) -> list[Returned]:
        keys = [each.storage_key for each in removals]
        await connection.execute(LIFT, keys)
        claimed = {row["storage_key"] for row in await connection.fetch(CLAIMED, keys)}
        objects = [each.object for each in removals if each.object and each.storage_key not in claimed]
        if objects:
            results = [Return.RESTORED if one.storage_key in came else Return.PRESENT for one in objects]
            told = [each.value for each in results]
            await connection.execute(BACK, [one.id for one in objects], author, told)
        await connection.execute(DELETE_TOMBSTONE, [key for key in keys if key not in claimed])
        back = []
        for removal in removals:
            for row in removal.rows:
                if removal.storage_key in claimed:
                    outcome, reason = Return.FAILED, DELETED_NOW
                else:
                    outcome, reason = await self._rows.put_back(connection, row, author)
                back.append(_row(removal, row, outcome, reason))
        return back


def _removed_from(row: asyncpg.Record) -> RemovedRow:
    return RemovedRow(
        ledger_id=row["id"],
        record_id=row["record_id"],
        verdict=Verdict(row["verdict"]),
        pass_id=row["pass_id"],
    )


async def _scope(
    connection: AnyConnection, scope: UndoScope
) -> tuple[list[str] | None, list[int] | None, object, object]:
    passes = await superseded(connection, scope.pass_id)
    return list(scope.keys) or None, passes, scope.since, scope.until


def _row(removal: Removal, row: RemovedRow, outcome: Return, reason: str) -> Returned:
    return Returned(storage_key=removal.storage_key, record_id=row.record_id, outcome=outcome, reason=reason)
