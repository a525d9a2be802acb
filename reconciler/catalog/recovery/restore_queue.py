"""The restore queue: keys whose object or row has to come back."""

import contextlib
import functools
from collections.abc import Sequence

import asyncpg

from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.recovery import soft_deleted
from reconciler.model import HiddenObject, Queued

QUEUED = f"""
SELECT storage_key, queued_at, vouched FROM {SCHEMA}.restores
WHERE not_before IS NULL OR not_before <= clock_timestamp() ORDER BY queued_at LIMIT $1
"""

QUEUE = f"""
INSERT INTO {SCHEMA}.restores (storage_key, reason) SELECT key, $2 FROM unnest($1::text[]) AS q (key)
ON CONFLICT (storage_key) DO UPDATE SET queued_at = clock_timestamp(), not_before = NULL
"""

# A writer that has queued the key and is still open is not waited for: its entry or its row is found later.
IMPATIENT = "SET LOCAL lock_timeout = '100ms'"

# Leaves keys that a writer has queued again meanwhile, or is about to queue.
DEQUEUE = f"""
DELETE FROM {SCHEMA}.restores WHERE storage_key IN (
    SELECT storage_key FROM {SCHEMA}.restores WHERE storage_key = $1 AND queued_at = $2
    FOR UPDATE SKIP LOCKED)
"""

# Waits a minute, doubling up to an hour.
POSTPONE = f"""
UPDATE {SCHEMA}.restores
SET attempts = attempts + 1,
    not_before = clock_timestamp()
        + least(interval '1 minute' * power(2, least(attempts, 10)), interval '1 hour')
WHERE storage_key = $1
"""

HIDDEN = f"""
SELECT {soft_deleted.HIDDEN_COLUMNS} FROM {SCHEMA}.hidden h
WHERE h.storage_key = $1 AND {soft_deleted.RESTORABLE} AND {soft_deleted.KNOWN_MODE} ORDER BY h.id DESC
"""

RECOVERABLE = f"""
SELECT DISTINCT h.storage_key FROM {SCHEMA}.hidden h
WHERE h.storage_key = ANY($1::text[]) AND {soft_deleted.RESTORABLE}
"""

# A key claimed by the collector has no object because its row is about to be removed.
_NOT_IN_HAND = f"""
NOT EXISTS (SELECT FROM {SCHEMA}.marks m WHERE m.storage_key = h.storage_key AND m.state = 'claimed')
"""

ESTRANGED = f"{RECOVERABLE} AND {_NOT_IN_HAND}"

# The key loses its collation, as a parameter has none. Queued keys are being handled already.
NAMED_BESIDES = f"""
SELECT k.key FROM (
    SELECT DISTINCT h.storage_key COLLATE "default" AS key FROM {SCHEMA}.hidden h
    WHERE {soft_deleted.RESTORABLE} AND {_NOT_IN_HAND}
      AND NOT EXISTS (SELECT FROM {SCHEMA}.restores r WHERE r.storage_key = h.storage_key)) k
WHERE {{named}}
"""

WIDOWED = f"""
SELECT DISTINCT l.storage_key FROM {SCHEMA}.ledger l
WHERE l.storage_key = ANY($1::text[]) AND l.verdict = 'dangling' AND {soft_deleted.ABSENT}
"""


async def queued(connection: AnyConnection, limit: int) -> list[Queued]:
    rows = await connection.fetch(QUEUED, limit)
    return [
        Queued(storage_key=row["storage_key"], queued_at=row["queued_at"], vouched=row["vouched"])
        for row in rows
    ]


async def queue(database: Database, keys: Sequence[str], reason: str) -> None:
    """Queue each key in its own transaction, so that we hold no locks while we wait for a writer."""

    async def work(connection: AnyConnection, key: str) -> None:
        await connection.execute(IMPATIENT)
        await connection.execute(QUEUE, [key], reason)

    for key in keys:
        with contextlib.suppress(asyncpg.LockNotAvailableError):
            await database.transaction(functools.partial(work, key=key))


async def hidden(connection: AnyConnection, key: str) -> list[HiddenObject]:
    return [soft_deleted.hidden_from(row) for row in await connection.fetch(HIDDEN, key)]


async def named_besides(connection: AnyConnection, media: MediaTables) -> set[str]:
    found: set[str] = set()
    for each in media.references:
        query = NAMED_BESIDES.format(named=media.named_by(each, "k.key"))
        found |= {row["key"] for row in await connection.fetch(query)}
    return found


async def keys_of(connection: AnyConnection, query: str, keys: Sequence[str]) -> set[str]:
    """The keys among these that such a query selects."""
    return {row["storage_key"] for row in await connection.fetch(query, list(keys))}
