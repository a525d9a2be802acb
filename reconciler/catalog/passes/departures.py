"""The rows that left the media table, as the triggers note them, and the call that wakes us for them."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import anyio
import structlog

from reconciler.catalog.db import connections
from reconciler.catalog.db.bounds import storable
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.connections import AnyConnection, Connection, Database
from reconciler.catalog.db.errors import translated
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.leadership.fencing import stand
from reconciler.catalog.mark_rows import KNOWN
from reconciler.catalog.media_tables.departing import CHANNEL
from reconciler.errors import ReconcilerError
from reconciler.model import Departed, Term

log = structlog.get_logger(__name__)

CHECK_SECONDS = 15.0
"""How often the listener makes sure that its connection lives: a dead one just stays silent."""

PATIENCE_SECONDS = 5.0

NEWEST = 20
"""Released departure passes that stay, however old they are: the next one is compared with the last."""

AGAIN_SECONDS = 5.0
"""The pause before the listener connects again. The poll looks meanwhile."""

# A pass that a crash ended has marks which no other would take up.
WAITING = f"""
SELECT EXISTS (SELECT FROM {SCHEMA}.departures)
    OR EXISTS (SELECT FROM {SCHEMA}.passes WHERE kind = 'departure' AND state = 'running')
"""

PAGE = f"SELECT id, storage_key, left_at, virtual_key FROM {SCHEMA}.departures ORDER BY id LIMIT $1"

# Without an index on the key, for which every deletion would pay: they are few, or a person waits a moment.
OF_KEY = f"""
SELECT id, storage_key, left_at, virtual_key, kept IS NOT NULL AS row_kept FROM {SCHEMA}.departures
WHERE storage_key = $1 ORDER BY id
"""

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
# writer is writing the row again. Text is joined to columns of marks so that no smaller index than that of
# the keys may answer: Postgres would read the whole of that one, in `TAKE` for each note.
SUPERSEDE = f"""
WITH free AS (
    SELECT m.storage_key FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
    WHERE m.storage_key = ANY($1::text[]) AND m.state || '' = 'found' AND m.variant_of IS NULL
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

# The rows go with the marks, to be kept for an undo, and so do their owners: a hold by virtual key that comes
# later finds no row to ask.
TAKE = f"""
WITH gone AS (
    DELETE FROM {SCHEMA}.departures WHERE id = ANY($1::bigint[]) RETURNING storage_key, virtual_key, kept
), taken AS (
    SELECT storage_key, array_agg(kept) FILTER (WHERE kept IS NOT NULL) AS rows,
           array_agg(DISTINCT virtual_key) FILTER (WHERE virtual_key IS NOT NULL) AS owners
    FROM gone GROUP BY 1
)
UPDATE {SCHEMA}.marks m SET left_rows = nullif(coalesce(m.left_rows, '{{}}') || taken.rows, '{{}}'),
    owners = ARRAY(SELECT DISTINCT unnest(coalesce(m.owners, '{{}}') || taken.owners) ORDER BY 1)
FROM taken
WHERE m.storage_key = taken.storage_key AND m.verdict || '' = 'departed' AND m.state || '' = 'found'
"""

# The pass that is no longer among the newest of its kind that were released.
_OLDER = f"""(
    SELECT id FROM {SCHEMA}.passes WHERE kind = 'departure' AND state = 'released'
    ORDER BY id DESC OFFSET {NEWEST - 1} LIMIT 1)"""

# Without its pass a mark is never claimed, and a finished pass gains no marks. They all departed. The sum is
# what the index is on. As a join it would read all marks for each pass where the planner believes them few.
_WITHOUT_MARKS = f"""
(SELECT m.pass_id FROM {SCHEMA}.marks m WHERE m.verdict = 'departed' AND m.pass_id + 0 = p.id LIMIT 1) IS NULL
"""

# One that found nothing is nobody's to ask about. Each pass that is released lets one go.
FORGET_EMPTY = f"""
DELETE FROM {SCHEMA}.passes p WHERE p.id = {_OLDER} AND p.decided_at IS NULL AND {_WITHOUT_MARKS}
  AND NOT EXISTS (SELECT FROM jsonb_each_text(p.tally -> 'found') f WHERE f.value <> '0')
"""

# An array, which is made once.
FORGET = f"""
DELETE FROM {SCHEMA}.passes WHERE id = ANY(ARRAY(
    SELECT p.id FROM {SCHEMA}.passes p
    WHERE p.kind = 'departure' AND p.finished_at <= clock_timestamp() - $1::interval
      AND p.state <> 'tripped' AND p.id < {_OLDER} AND {_WITHOUT_MARKS}
    ORDER BY p.finished_at LIMIT 1000))
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

    async def of_key(self, key: str) -> Sequence[Departed]:
        """The notes of one key that no pass has taken up, the oldest first. For a person who asks."""
        if not storable(key):
            return ()
        async with self._database.connection() as connection:
            return [Departed(**dict(row)) for row in await connection.fetch(OF_KEY, key)]

    async def forget(self, term: Term, retention: timedelta) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await connections.by_index(connection)
            await connection.execute(FORGET, retention)

        await self._database.transaction(work)

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


async def forget_empty(connection: AnyConnection) -> None:
    """As a departure pass is released: let an older one go that found nothing."""
    await connection.execute(FORGET_EMPTY)
