"""Erasure on request: nothing of these keys may ever be restored."""

from collections.abc import Sequence

import asyncpg

from reconciler.catalog import holds
from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.recovery.recovery import LEFT_AFTER
from reconciler.catalog.recovery.soft_deleted import KEPT, NOT_KEPT
from reconciler.model import Erased

# The purge takes erased objects at once, unless a hold is set first; no restore takes them. An object whose
# restore has begun and was not abandoned comes back all the same: its requests may be on their way.
HIDE = f"""
UPDATE {SCHEMA}.hidden SET erased = true, despite_hold = despite_hold OR $3
WHERE storage_key = ANY($1::text[])
RETURNING storage_key, state = 'restoring' AND claimed_at > clock_timestamp() - $2::interval AS returning
"""

# Otherwise a new row that names the key would be let in for an object that never comes back.
NO_WAY_BACK = f"""
UPDATE {SCHEMA}.tombstones t SET recoverable = false FROM {SCHEMA}.hidden h
WHERE h.storage_key = ANY($1::text[]) AND h.erased AND h.state = 'hidden'
  AND t.storage_key = h.storage_key AND t.operation_id = h.operation_id
"""

REDACT = f"""
UPDATE {SCHEMA}.ledger SET {NOT_KEPT}
WHERE storage_key = ANY($1::text[]) AND {KEPT} RETURNING storage_key
"""

# The rows of such keys that others removed, and that are still to be kept.
LEFT = f"""
WITH noted AS (UPDATE {SCHEMA}.departures SET kept = NULL WHERE storage_key = ANY($1::text[]))
UPDATE {SCHEMA}.marks SET left_rows = NULL WHERE storage_key = ANY($1::text[]) AND left_rows IS NOT NULL
"""

UNQUEUE = f"DELETE FROM {SCHEMA}.restores WHERE storage_key = ANY($1::text[])"

NOTE = f"""
INSERT INTO {SCHEMA}.ledger (epoch, event, mode, what, storage_key, verdict, reason, detail)
SELECT (SELECT epoch FROM {SCHEMA}.term), 'erased', 'live', 'object', key, '', 'erasure', $2
FROM unnest($1::text[]) AS e (key)
"""

# Locks the marks in any state, before anything else. A confirmation in progress then ends before the next
# statement looks for what it left; a later one is left to the next erasure.
MARKED = f"""
SELECT storage_key, state FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[])
ORDER BY storage_key FOR SHARE
"""


# The ledger has no index on the key: this reads all of it, as REDACT does.
KNOWN = f"""
SELECT storage_key FROM {SCHEMA}.ledger WHERE storage_key = ANY($1::text[])
UNION SELECT storage_key FROM {SCHEMA}.hidden WHERE storage_key = ANY($1::text[])
UNION SELECT storage_key FROM {SCHEMA}.tombstones WHERE storage_key = ANY($1::text[])
UNION SELECT storage_key FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[])
UNION SELECT storage_key FROM {SCHEMA}.departures WHERE storage_key = ANY($1::text[])
UNION SELECT storage_key FROM {SCHEMA}.restores WHERE storage_key = ANY($1::text[])
"""

WAITS = f"SELECT EXISTS (SELECT FROM {SCHEMA}.hidden WHERE storage_key = $1 AND erased)"

LOOK = f"""
SELECT (SELECT count(*) FROM {SCHEMA}.hidden WHERE storage_key = ANY($1::text[])) AS objects,
       (SELECT count(*) FROM {SCHEMA}.ledger WHERE storage_key = ANY($1::text[]) AND {KEPT}) AS rows,
       ARRAY(SELECT DISTINCT storage_key FROM {SCHEMA}.hidden
             WHERE storage_key = ANY($1::text[]) AND state = 'restoring'
               AND claimed_at > clock_timestamp() - $2::interval) AS returning
"""


class Erasure:
    """Redacts the ledger, and has hidden objects purged. Live objects and rows are not ours to erase."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media

    async def waits(self, key: str) -> bool:
        """Whether something of an erased key is still to be purged."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(WAITS, key))

    async def erase(self, keys: Sequence[str], author: str, *, despite_hold: bool = False) -> Erased:
        """Erase the keys in one transaction. The result names keys that are being deleted or restored at this
        moment: these must be erased again. If any key is on hold, nothing is erased, except with
        `despite_hold` (R-51); then no later hold keeps the keys from the purge either (R-88).
        """

        async def work(connection: AnyConnection) -> Erased:
            await holds.claims_wait(connection)
            held = await holds.held(connection, self._media, keys)
            if held and not despite_hold:
                return Erased(objects=0, rows=0, held=held)
            marked = await connection.fetch(MARKED, list(keys))
            claimed = tuple(row["storage_key"] for row in marked if row["state"] == "claimed")
            unknown = await _unknown(connection, keys)
            hidden, rows = await _hide_and_redact(connection, keys, despite_hold=despite_hold)
            by = {each.author for each in held.values()}
            despite = f", despite the hold of {', '.join(sorted(by))}" if by else ""
            known = [key for key in keys if key not in unknown]
            await connection.execute(NOTE, known, f"by {author}{despite}")
            returning = tuple(sorted({row["storage_key"] for row in hidden if row["returning"]}))
            return Erased(
                objects=len(hidden), rows=rows, claimed=claimed, returning=returning, unknown=unknown
            )

        return await self._database.transaction(work)

    async def look(self, keys: Sequence[str]) -> Erased:
        """What `erase` would find at this moment."""
        async with self._database.connection() as connection:
            if held := await holds.held(connection, self._media, keys):
                return Erased(objects=0, rows=0, held=held)
            row = await connection.fetchrow(LOOK, list(keys), LEFT_AFTER)
            marked = await connection.fetch(
                f"SELECT storage_key FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[])"
                " AND state = 'claimed' ORDER BY storage_key",
                list(keys),
            )
            unknown = await _unknown(connection, keys)
        assert row is not None
        return Erased(
            objects=row["objects"],
            rows=row["rows"],
            claimed=tuple(each["storage_key"] for each in marked),
            returning=tuple(sorted(row["returning"])),
            unknown=unknown,
        )


async def _unknown(connection: AnyConnection, keys: Sequence[str]) -> tuple[str, ...]:
    """Those of which nothing is recorded, ascending."""
    known = {row["storage_key"] for row in await connection.fetch(KNOWN, list(keys))}
    return tuple(sorted({*keys} - known))


async def redact(connection: AnyConnection, keys: Sequence[str], new: Sequence[str], author: str) -> int:
    """As an erasure does, in the caller's transaction, which knows that none of the keys is on hold.

    `new` are those of which the ledger does not say so yet. Returns how many removed rows went out of it.
    """
    await connection.fetch(MARKED, list(keys))
    _, rows = await _hide_and_redact(connection, keys, despite_hold=False)
    await connection.execute(NOTE, list(new), f"by {author}")
    return rows


async def _hide_and_redact(
    connection: AnyConnection, keys: Sequence[str], *, despite_hold: bool
) -> tuple[Sequence[asyncpg.Record], int]:
    """The hidden objects, of which no restore takes any now, and how many removed rows are forgotten."""
    hidden = await connection.fetch(HIDE, list(keys), LEFT_AFTER, despite_hold)
    await connection.execute(NO_WAY_BACK, list(keys))
    rows = await connection.fetch(REDACT, list(keys))
    await connection.execute(LEFT, list(keys))
    await connection.execute(UNQUEUE, list(keys))
    return hidden, len(rows)
