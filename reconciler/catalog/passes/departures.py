"""The rows that left the media table, as the triggers note them, and the call that wakes us for them."""

from collections.abc import Callable, Sequence

import anyio
import structlog

from reconciler.catalog.db import connections
from reconciler.catalog.db.bounds import storable
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.connections import AnyConnection, Connection, Database
from reconciler.catalog.db.errors import translated
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.mark_rows import KNOWN
from reconciler.catalog.media_tables.departing import CHANNEL
from reconciler.errors import ReconcilerError
from reconciler.model import Departed

log = structlog.get_logger(__name__)

CHECK_SECONDS = 15.0
"""How often the listener makes sure that its connection lives: a dead one just stays silent."""

PATIENCE_SECONDS = 5.0

AGAIN_SECONDS = 5.0
"""The pause before the listener connects again. The poll looks meanwhile."""

# A pass that a crash ended has marks which no other would take up.
WAITING = f"""
SELECT EXISTS (SELECT FROM {SCHEMA}.departures)
    OR EXISTS (SELECT FROM {SCHEMA}.passes WHERE kind = 'departure' AND state = 'running')
"""

PAGE = f"SELECT id, storage_key, left_at, virtual_key FROM {SCHEMA}.departures ORDER BY id LIMIT $1"

PENDING = f"""
SELECT 0 AS id, storage_key, first_seen_at AS left_at, NULL AS virtual_key FROM {SCHEMA}.marks
WHERE verdict = 'departed' AND state = 'found' ORDER BY storage_key LIMIT $1
"""

MARKED = f"""
SELECT storage_key FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[]) AND verdict = 'departed'
"""

# The marks of such a pass join the next one.
ADOPT = f"""
UPDATE {SCHEMA}.marks m SET pass_id = $1, last_pass_id = $1, confirmed_id = $1
FROM {SCHEMA}.passes p
WHERE p.id = m.pass_id AND p.kind = 'departure' AND p.state = 'failed' AND m.state = 'found'
"""

# What is deleted in seconds is not kept for a mark that waits for days. A mark that is locked stays: its
# writer is writing the row again.
SUPERSEDE = f"""
WITH free AS (
    SELECT m.storage_key FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
    WHERE m.storage_key = ANY($1::text[]) AND m.state = 'found' AND m.variant_of IS NULL
      AND p.kind <> 'departure' AND {KNOWN}
    ORDER BY m.storage_key FOR UPDATE OF m SKIP LOCKED
)
DELETE FROM {SCHEMA}.marks m USING free WHERE m.storage_key = free.storage_key
"""

# A hold by virtual key is on what its rows named.
HELD = f"""
INSERT INTO {SCHEMA}.held_keys (storage_key, virtual_key)
SELECT DISTINCT d.storage_key, d.virtual_key FROM {SCHEMA}.departures d
JOIN {SCHEMA}.holds h ON h.kind = 'virtual_key' AND h.target = d.virtual_key
    AND (h.until IS NULL OR h.until > clock_timestamp())
WHERE d.id = ANY($1::bigint[]) AND octet_length(d.storage_key) <= 2048
ON CONFLICT DO NOTHING
"""

# The rows go with the marks, to be kept for an undo.
TAKE = f"""
WITH gone AS (DELETE FROM {SCHEMA}.departures WHERE id = ANY($1::bigint[]) RETURNING storage_key, kept),
     kept AS (SELECT storage_key, array_agg(kept) AS rows FROM gone WHERE kept IS NOT NULL GROUP BY 1)
UPDATE {SCHEMA}.marks m SET left_rows = coalesce(m.left_rows, '{{}}') || kept.rows
FROM kept WHERE m.storage_key = kept.storage_key AND m.verdict = 'departed' AND m.state = 'found'
"""


class PostgresDepartures:
    """`ports.Departures` on Postgres; the listener has a connection of its own."""

    def __init__(self, database: Database, config: CatalogConfig) -> None:
        self._database = database
        self._config = config

    async def waiting(self) -> bool:
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(WAITING))

    async def page(self, limit: int) -> Sequence[Departed]:
        async with self._database.connection() as connection:
            return [Departed(**dict(row)) for row in await connection.fetch(PAGE, limit)]

    async def pending(self, limit: int) -> Sequence[Departed]:
        async with self._database.connection() as connection:
            return [Departed(**dict(row)) for row in await connection.fetch(PENDING, limit)]

    async def marked(self, keys: Sequence[str]) -> frozenset[str]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(MARKED, [key for key in keys if storable(key)])
            return frozenset(row["storage_key"] for row in rows)

    async def listen(self, heard: Callable[[], None]) -> None:
        while True:
            try:
                with translated(self._config.where):
                    await self._listen(heard)
            except ReconcilerError as error:
                log.warning("departures are not announced, and looked for instead", reason=str(error))
            await anyio.sleep(AGAIN_SECONDS)

    async def _listen(self, heard: Callable[[], None]) -> None:
        """Until the connection fails. It does nothing else: in a transaction it would hear nothing."""
        with anyio.fail_after(self._config.connect_timeout.total_seconds() * 2):
            connection = await connections.connect(self._config)
        try:
            await connection.add_listener(CHANNEL, lambda *_: heard())
            # What was noted before we listened.
            heard()
            while True:
                await anyio.sleep(CHECK_SECONDS)
                await _answers(connection)
        finally:
            connection.terminate()


async def _answers(connection: Connection) -> None:
    """Raises TimeoutError where it does not."""
    with anyio.fail_after(PATIENCE_SECONDS):
        await connection.fetchval("SELECT 1")


async def adopt(connection: AnyConnection, pass_id: int) -> None:
    """Take up the marks of departure passes that failed, in the transaction that begins the pass."""
    await connection.execute(ADOPT, pass_id)


async def hold(connection: AnyConnection, ids: Sequence[int]) -> None:
    """Put the keys on hold whose rows were of a virtual key on hold."""
    await connection.execute(HELD, list(ids))


async def make_way(connection: AnyConnection, keys: Sequence[str]) -> None:
    """End other marks of the keys, before those of the departure are written."""
    await connection.execute(SUPERSEDE, list(keys))


async def take(connection: AnyConnection, ids: Sequence[int]) -> None:
    """After the marks are written: the notes go."""
    await connection.execute(TAKE, list(ids))
