"""Purges what can no longer be restored: copies, hidden versions, removed rows, old lines of the ledger."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.catalog import holds
from reconciler.catalog.db.connections import AnyConnection, Database, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.leadership.fencing import TERM_BEGAN, stand
from reconciler.catalog.media_tables import references
from reconciler.catalog.media_tables.records import names, require_tables
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.recovery.recovery import LEFT_AFTER
from reconciler.catalog.recovery.soft_deleted import HIDDEN_COLUMNS, KEPT, KNOWN_MODE, NOT_KEPT, hidden_from
from reconciler.model import HiddenObject, Term, Upload
from reconciler.model.moments import moment

CHUNK = 10_000
"""Lines of the ledger that one statement changes."""

# Past the window $2 at $1: objects that were not restored, and copies of those that were. At once: copies of
# objects that stayed, and erased objects. Also abandoned restores.
DUE = f"""
    h.state IN ('hidden', 'restored') AND h.hidden_at <= $1::timestamptz - $2::interval
    OR h.state = 'left over' OR h.state IN ('hidden', 'restored') AND h.erased
    OR h.state = 'restoring' AND (h.hidden_at <= $1 - $2 OR h.erased)
       AND h.claimed_at <= $1 - interval '{int(LEFT_AFTER.total_seconds())} seconds'
"""

# How far an abandoned purge came is not known. None of its requests is on its way any more, and the objects
# that it left are hidden as before, in case they are needed by now.
HAND_BACK = f"""
UPDATE {SCHEMA}.hidden h SET state = 'hidden'
WHERE h.state = 'purging' AND {KNOWN_MODE}
  AND greatest(h.claimed_at, {TERM_BEGAN}) + $2::interval <= $1::timestamptz
"""

# Purges claimed in a former term, judged by their time.
ABANDONED = f"""
SELECT count(*) FROM {SCHEMA}.hidden h
WHERE h.state = 'purging' AND {KNOWN_MODE} AND h.claimed_at < {TERM_BEGAN}
"""

# A version restored from behind a delete marker is the object itself: nothing of it may be purged.
FORGET = f"""
DELETE FROM {SCHEMA}.hidden h
WHERE h.state = 'restored' AND h.mode = 'versioned' AND h.hidden_at <= $1::timestamptz - $2::interval
"""

# Objects that may still be needed. The others are copies of an object at its own key, or have to be erased.
NEEDED = "(h.state IN ('hidden', 'restoring', 'purging') AND NOT h.erased)"

# Objects that a hold keeps: erased ones as well, unless they were erased despite holds.
HOLDABLE = f"({NEEDED} OR h.state IN ('hidden', 'restoring', 'purging') AND h.erased AND NOT h.despite_hold)"

# Objects that may be purged; whether a row names them is checked later. Objects on hold, or queued for a row
# that needs them, stay.
DOOMED = f"""
SELECT {{columns}} FROM {SCHEMA}.hidden h
WHERE ({DUE}) AND {KNOWN_MODE} AND NOT (h.state = 'restored' AND h.mode = 'versioned')
  AND NOT ({HOLDABLE} AND {{held}})
  AND NOT ({NEEDED} AND EXISTS (SELECT FROM {SCHEMA}.restores r WHERE r.storage_key = h.storage_key))
ORDER BY h.hidden_at, h.id LIMIT $3
"""

DOOMED_COLUMNS = f"{HIDDEN_COLUMNS}, {NEEDED} AS needed, {HOLDABLE} AS holdable"

# An undo claims the same rows, so only one of the two has each of them.
CLAIM = f"""
UPDATE {SCHEMA}.hidden SET state = 'purging', claimed_at = $2 WHERE id = ANY($1::bigint[])
"""

# Claimed objects, before they are purged: whether any is needed by now.
CLAIMED = f"""
SELECT h.id, h.storage_key, {NEEDED} AS needed, {{held}} OR {NEEDED} AND EXISTS (
    SELECT FROM {SCHEMA}.restores r WHERE r.storage_key = h.storage_key) AS wanted
FROM {SCHEMA}.hidden h
WHERE h.id = ANY($2::bigint[]) AND h.state = 'purging' AND {HOLDABLE} FOR UPDATE
"""

SPARE = f"UPDATE {SCHEMA}.hidden SET state = 'hidden' WHERE id = ANY($1::bigint[])"

# From now on a row of such a key is refused, unless the object is spared: the undo window may be shorter than
# the tombstone's.
NO_WAY_BACK = f"""
UPDATE {SCHEMA}.tombstones t SET recoverable = $2 FROM {SCHEMA}.hidden h
WHERE h.id = ANY($1::bigint[]) AND t.storage_key = h.storage_key AND t.operation_id = h.operation_id
  AND t.recoverable <> $2 AND NOT ($2 AND h.erased)
"""

PURGED = f"""
WITH gone AS (DELETE FROM {SCHEMA}.hidden WHERE id = ANY($1::bigint[]) AND state = 'purging' RETURNING *)
INSERT INTO {SCHEMA}.ledger
    (operation_id, epoch, event, mode, what, storage_key, verdict, reason, result, bytes, etag, pass_id,
     owners)
SELECT operation_id, $2, 'purged', 'live', 'object', storage_key, verdict,
       CASE WHEN erased THEN 'erasure' ELSE 'it could be brought back for long enough' END, 'deleted',
       bytes, etag, pass_id, owners
FROM gone
"""

# Another program removed the delete marker: the object is live again, and none of its bytes are ours to free.
BACK = f"""
WITH back AS (DELETE FROM {SCHEMA}.hidden WHERE id = ANY($1::bigint[]) AND state = 'purging' RETURNING *)
INSERT INTO {SCHEMA}.ledger
    (operation_id, epoch, event, mode, what, storage_key, verdict, reason, result, bytes, etag, pass_id,
     owners)
SELECT operation_id, $2, 'restored', 'live', 'object', storage_key, verdict, 'nothing hides it any more',
       'present', bytes, etag, pass_id, owners
FROM back
"""

# An upload has no verdict: it is not one of the bucket's objects.
ABORTED = f"""
INSERT INTO {SCHEMA}.ledger (epoch, event, mode, what, storage_key, verdict, reason, result)
SELECT $1, 'aborted', 'live', 'upload', u.storage_key, '', u.reason, 'deleted'
FROM unnest($2::text[], $3::text[]) AS u (storage_key, reason)
"""

SPENT = f"""
SELECT count(*) FROM {SCHEMA}.ledger
WHERE event = $1 AND event IN ('purged', 'aborted') AND at > clock_timestamp() - interval '24 hours'
"""

# Prompts are personal data, so a removed row is dropped once it can no longer be restored, and not before. As
# long as its object is hidden, or its key is on hold, an undo brings back both.
NOT_WANTED = f"""
NOT ({KEPT} AND ({{held}} OR EXISTS (
    SELECT FROM {SCHEMA}.hidden h
    WHERE h.storage_key = l.storage_key AND h.operation_id = l.operation_id AND {NEEDED})))
"""

FORGET_ROWS = f"""
UPDATE {SCHEMA}.ledger SET {NOT_KEPT}
WHERE id IN (SELECT l.id FROM {SCHEMA}.ledger l WHERE {KEPT}
             AND l.at <= clock_timestamp() - $1::interval AND {NOT_WANTED} LIMIT {CHUNK})
"""

# What waits longer to be deleted is not kept any longer for that.
FORGET_LEFT = f"""
UPDATE {SCHEMA}.marks SET left_rows = NULL
WHERE storage_key IN (SELECT storage_key FROM {SCHEMA}.marks
                      WHERE left_rows IS NOT NULL AND first_seen_at <= clock_timestamp() - $1::interval
                      LIMIT {CHUNK} FOR UPDATE SKIP LOCKED)
"""

FORGET_LINES = f"""
DELETE FROM {SCHEMA}.ledger
WHERE id IN (SELECT l.id FROM {SCHEMA}.ledger l
             WHERE l.at <= clock_timestamp() - $1::interval AND {NOT_WANTED} LIMIT {CHUNK})
"""


# Who asked for what over HTTP is remembered for as long.
FORGET_ASKED = f"""
WITH jobs AS (DELETE FROM {SCHEMA}.jobs WHERE id IN (
    SELECT id FROM {SCHEMA}.jobs WHERE ended_at <= clock_timestamp() - $1::interval LIMIT {CHUNK}))
DELETE FROM {SCHEMA}.audit WHERE id IN (
    SELECT id FROM {SCHEMA}.audit WHERE at <= clock_timestamp() - $1::interval LIMIT {CHUNK})
"""


# Objects that can be brought back, and the bytes of all that is not freed yet: also the copies of those that
# are back, or that were erased, until their purge.
HIDDEN_TOTALS = f"""
SELECT count(*) FILTER (WHERE state IN ('hidden', 'restoring') AND NOT erased) AS objects,
       coalesce(sum(greatest(bytes, 0)), 0)::text AS bytes
FROM {SCHEMA}.hidden
WHERE NOT (state = 'restored' AND mode = 'versioned')
"""

# The same by the bucket of the copies, which their keys name; NULL is the objects' own.
HIDDEN_BY_BUCKET = f"""
SELECT substring(quarantine_key FROM '^[^/]+/quarantine/([^/]+)/[^/]+/[^/]+/') AS bucket,
       count(*) AS objects, sum(greatest(bytes, 0))::text AS bytes FROM {SCHEMA}.hidden
WHERE NOT (state = 'restored' AND mode = 'versioned') GROUP BY 1 ORDER BY 1 NULLS FIRST
"""


class PostgresPurges:
    """`ports.Purges` on Postgres."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media
        held = holds.condition(media, "h.storage_key", "$1::timestamptz", owners="h.owners")
        self._to_delete = DOOMED.format(held=held, columns=DOOMED_COLUMNS)
        self._first = DOOMED.format(held=held, columns=f"h.storage_key, {NEEDED} AS needed")
        self._claimed = CLAIMED.format(held=held)
        held = holds.condition(media, "l.storage_key", "clock_timestamp()")
        self._forget_rows, self._forget_lines = (
            each.format(held=held) for each in (FORGET_ROWS, FORGET_LINES)
        )

    async def hand_back(self, term: Term, longest_call: timedelta) -> None:
        async def work(connection: AnyConnection) -> None:
            now = (await stand(connection, term)).now
            await connection.execute(HAND_BACK, now, longest_call)

        await self._database.transaction(work)

    async def abandoned(self) -> int:
        async with self._database.connection() as connection:
            count: int = await connection.fetchval(ABANDONED)
        return count

    async def named(self, window: timedelta, limit: int, *, rewrites_keys: bool = False) -> Sequence[str]:
        async def work(connection: AnyConnection) -> list[str]:
            await by_index(connection)
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
            rows = await connection.fetch(self._first, now, window, limit)
            keys = sorted({row["storage_key"] for row in rows if row["needed"]})
            return sorted(await self._named(connection, keys, rewritten=rewrites_keys))

        return await self._database.transaction(work)

    async def claim(
        self,
        term: Term,
        window: timedelta,
        limit: int,
        *,
        there: Collection[str] = (),
        rewrites_keys: bool = False,
    ) -> Sequence[HiddenObject]:
        async def work(connection: AnyConnection) -> list[HiddenObject]:
            now = (await stand(connection, term)).now
            await require_tables(connection, self._media)
            await holds.require_known(connection)
            await by_index(connection)
            await holds.claims_wait(connection)
            to_delete = f"{self._to_delete} FOR UPDATE OF h SKIP LOCKED"
            rows = await connection.fetch(to_delete, now, window, limit)
            # Read after the objects are locked: a row that exists by now keeps the object it names.
            asked = {row["storage_key"] for row in rows if row["needed"]}.difference(there)
            named = await self._named(connection, sorted(asked), rewritten=rewrites_keys)
            taken = [row for row in rows if not (row["needed"] and row["storage_key"] in named)]
            ids = [row["id"] for row in taken]
            await connection.execute(CLAIM, ids, now)
            await connection.execute(NO_WAY_BACK, ids, False)  # noqa: FBT003 - a parameter of SQL
            return [
                replace(hidden_from(row), needed=row["needed"], holdable=row["holdable"]) for row in taken
            ]

        return await self._database.transaction(work)

    async def horizon(self) -> int:
        async with self._database.connection() as connection:
            return int(await connection.fetchval("SELECT pg_current_xact_id()::text"))

    async def look_again(
        self, term: Term, ids: Sequence[int], *, there: Collection[str] = (), rewrites_keys: bool = False
    ) -> Collection[int]:
        async def work(connection: AnyConnection) -> set[int]:
            now = (await stand(connection, term)).now
            await by_index(connection)
            await holds.claims_wait(connection)
            rows = await connection.fetch(self._claimed, now, list(ids))
            asked = {row["storage_key"] for row in rows if row["needed"]}.difference(there)
            named = await self._named(connection, sorted(asked), rewritten=rewrites_keys)
            spared = {
                row["id"] for row in rows if row["wanted"] or (row["needed"] and row["storage_key"] in named)
            }
            await connection.execute(SPARE, list(spared))
            await connection.execute(NO_WAY_BACK, list(spared), True)  # noqa: FBT003 - a parameter of SQL
            return spared

        return await self._database.transaction(work)

    async def _named(self, connection: AnyConnection, keys: Sequence[str], *, rewritten: bool) -> set[str]:
        """The keys that a row of the media table names, or a value of a further column."""
        rows = await names(connection, self._media, keys, rewritten=rewritten)
        return {*rows, *await references.named(connection, self._media, keys)}

    async def done(self, term: Term, ids: Sequence[int]) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await by_index(connection)
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
            reasons = [f"begun {moment(each.begun_at)}, never completed" for each in uploads]
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
            now = (await stand(connection, term)).now
            await connection.execute(FORGET, now, window)
            await connection.execute(self._forget_rows, window)
            await connection.execute(FORGET_LEFT, window)
            await connection.execute(self._forget_lines, retention)
            await connection.execute(FORGET_ASKED, retention)

        await self._database.transaction(work)
