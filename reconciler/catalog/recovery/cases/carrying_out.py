"""Erasures as the leader carries them out: keys found, rows wiped, texts redacted, traces looked for."""

from collections.abc import Sequence

from reconciler.catalog import holds
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.leadership.fencing import stand
from reconciler.catalog.media_tables.records import require_tables
from reconciler.catalog.recovery.cases.certifying import CertifiedErasures
from reconciler.catalog.recovery.cases.ordering import OrderedErasures
from reconciler.catalog.recovery.cases.statements import ADD_KEYS, COLUMNS, LONG, case_of
from reconciler.catalog.recovery.cases.wiping import CHUNK, COUNT, LEAVE, rows_of, wipe
from reconciler.catalog.recovery.erasure import redact
from reconciler.catalog.recovery.soft_deleted import KEPT
from reconciler.model import ErasureCase, ErasureKind, Mode, Term, Traces, Wiped

CDN = "cdn"
"""The channel of the outbox that asks a CDN to forget."""

OPEN = f"SELECT {COLUMNS} FROM {SCHEMA}.erasures e WHERE e.state = 'open' ORDER BY e.ordered_at, e.id"

KEYS = f"SELECT storage_key FROM {SCHEMA}.erasure_keys WHERE erasure_id = $1 ORDER BY storage_key"

# What is anybody else's as well stays: it is named among what was kept.
OWNED = f"""
SELECT storage_key FROM {SCHEMA}.hidden WHERE owners = ARRAY[$1::text]
UNION SELECT storage_key FROM {SCHEMA}.marks WHERE owners = ARRAY[$1::text]
UNION SELECT storage_key FROM {SCHEMA}.departures WHERE virtual_key = $1 AND storage_key IS NOT NULL
"""

OWNED_ONCE = f"SELECT DISTINCT storage_key FROM {SCHEMA}.ledger WHERE owners = ARRAY[$1::text]"

SHARED = f"""
SELECT storage_key FROM {SCHEMA}.hidden WHERE $1 = ANY(owners) AND owners <> ARRAY[$1::text]
UNION
SELECT storage_key FROM {SCHEMA}.ledger WHERE $1 = ANY(owners) AND owners <> ARRAY[$1::text] AND {KEPT}
"""

# What can be brought back, or read, of these keys, and was not erased yet.
READABLE = f"""
SELECT storage_key, noted FROM {SCHEMA}.erasure_keys k WHERE erasure_id = $1 AND (
    NOT noted
    OR EXISTS (SELECT FROM {SCHEMA}.hidden h WHERE h.storage_key = k.storage_key AND NOT h.erased)
    OR EXISTS (SELECT FROM {SCHEMA}.marks m WHERE m.storage_key = k.storage_key AND m.left_rows IS NOT NULL)
    OR EXISTS (SELECT FROM {SCHEMA}.departures d WHERE d.storage_key = k.storage_key AND d.kept IS NOT NULL)
    OR EXISTS (SELECT FROM {SCHEMA}.ledger l WHERE l.storage_key = k.storage_key AND {KEPT}))
ORDER BY storage_key
"""

NOTED = f"""
UPDATE {SCHEMA}.erasure_keys SET noted = true WHERE erasure_id = $1 AND storage_key = ANY($2::text[])
"""

SAY = f"UPDATE {SCHEMA}.erasures SET said = $2 WHERE id = $1 AND said IS DISTINCT FROM $2"

# Keys about which something is under way: a departure, a mark, a copy that waits for its purge.
UNDER_WAY = f"""
SELECT storage_key FROM {SCHEMA}.departures WHERE storage_key = ANY($1::text[])
UNION SELECT storage_key FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[])
UNION SELECT storage_key FROM {SCHEMA}.hidden
    WHERE storage_key = ANY($1::text[]) AND NOT (state = 'restored' AND mode = 'versioned')
"""

TRACES = f"""
SELECT count(DISTINCT storage_key) FILTER (
           WHERE event = 'result' AND what = 'object' AND result = 'deleted' AND at >= $2) AS deleted,
       count(*) FILTER (WHERE event = 'purged' AND at >= $2) AS purged,
       coalesce(array_agg(DISTINCT recovery ->> 'quarantine_key')
                FILTER (WHERE recovery ->> 'quarantine_key' IS NOT NULL), '{{}}') AS copies
FROM {SCHEMA}.ledger WHERE storage_key = ANY($1::text[])
"""

# What a CDN was asked to forget, and what it said; and what it has not answered.
UNCACHED = f"""
SELECT count(DISTINCT storage_key) AS answered, max(detail) AS answer, max(at) AS answered_at,
       (SELECT count(*) FROM {SCHEMA}.outbox o JOIN {SCHEMA}.channels c ON c.name = o.channel
        WHERE c.name = '{CDN}' AND o.storage_key = ANY($1::text[])) AS waiting
FROM {SCHEMA}.ledger WHERE event = 'uncached' AND storage_key = ANY($1::text[]) AND at >= $2
"""


class PostgresErasures(OrderedErasures, CertifiedErasures):
    """`ports.Erasures` on Postgres, and what a person asks of them."""

    async def open(self) -> Sequence[ErasureCase]:
        async with self._database.connection() as connection:
            return [case_of(row) for row in await connection.fetch(OPEN)]

    async def wipe(
        self, term: Term, case: ErasureCase, prefixes: Sequence[str], stays: Sequence[str] = ()
    ) -> Wiped:
        async def work(connection: AnyConnection) -> Wiped:
            standing = await stand(connection, term)
            if standing.paused or standing.mode not in {None, Mode.LIVE}:
                return Wiped()
            await require_tables(connection, self._media)
            await holds.claims_wait(connection)
            await holds.require_known(connection)
            return await wipe(connection, self._media, case, tuple(prefixes), stays)

        return await self._database.transaction(work)

    async def rows(self, case: ErasureCase) -> set[str]:
        """The storage keys of the rows that are still there."""
        where, values = rows_of(self._media, case)
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT DISTINCT {self._media.key_text} AS key FROM {self._media.media} WHERE {where}",
                *values,
            )
            return {row["key"] for row in rows}

    async def discover(self, term: Term, case: ErasureCase, *, thoroughly: bool) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            if case.kind is not ErasureKind.VIRTUAL_KEY:
                return
            await connection.execute(LONG)
            query = f"{OWNED} UNION {OWNED_ONCE}" if thoroughly else OWNED
            found = [row["storage_key"] for row in await connection.fetch(query, case.subject[0])]
            await connection.execute(ADD_KEYS, case.id, found)

        await self._database.transaction(work)

    async def shared(self, case: ErasureCase) -> set[str]:
        if case.kind is not ErasureKind.VIRTUAL_KEY:
            return set()
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(LONG)
            rows = await connection.fetch(SHARED, case.subject[0])
            return {row["storage_key"] for row in rows}

    async def keys(self, case: ErasureCase) -> Sequence[str]:
        async with self._database.connection() as connection:
            return [row["storage_key"] for row in await connection.fetch(KEYS, case.id)]

    async def redact(self, term: Term, case: ErasureCase) -> None:
        """Take removed rows out of the ledger, and have copies purged, but for what is on hold."""
        async with self._database.connection() as connection:
            noted = {row["storage_key"]: row["noted"] for row in await connection.fetch(READABLE, case.id)}
        keys = list(noted)
        for start in range(0, len(keys), CHUNK):
            part = keys[start : start + CHUNK]

            async def work(connection: AnyConnection, part: Sequence[str] = part) -> None:
                await stand(connection, term)
                await connection.execute(LONG)
                await holds.claims_wait(connection)
                held = await holds.held(connection, self._media, part)
                free = [key for key in part if key not in held]
                new = [key for key in free if not noted[key]]
                texts = await redact(connection, free, new, case.author)
                await connection.execute(NOTED, case.id, free)
                await connection.execute(COUNT, case.id, 0, texts, 0, 0)

            await self._database.transaction(work)

    async def under_way(self, keys: Sequence[str]) -> set[str]:
        async with self._database.connection() as connection:
            return {row["storage_key"] for row in await connection.fetch(UNDER_WAY, list(keys))}

    async def leave(self, term: Term, case: ErasureCase, keys: Sequence[str]) -> None:
        """Note that these keys have no record any more, so that the next pass judges their objects."""
        owner = case.subject[0] if case.kind is ErasureKind.VIRTUAL_KEY else None

        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await connection.execute(LEAVE, list(keys), [owner] * len(keys))

        await self._database.transaction(work)

    async def count(self, term: Term, case: ErasureCase, *, versions: int, uploads: int) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await connection.execute(COUNT, case.id, 0, 0, versions, uploads)

        await self._database.transaction(work)

    async def say(self, case: ErasureCase, why: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SAY, case.id, why)

    async def traces(self, case: ErasureCase, keys: Sequence[str]) -> Traces:
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(LONG)
            row = await connection.fetchrow(TRACES, list(keys), case.ordered_at)
            cdn = await connection.fetchrow(UNCACHED, list(keys), case.ordered_at)
        assert row is not None, "a count has a row"
        assert cdn is not None, "a count has a row"
        return Traces(
            deleted=row["deleted"],
            purged=row["purged"],
            copies=tuple(row["copies"]),
            uncached=cdn["answered"],
            uncached_at=cdn["answered_at"],
            cdn_said=cdn["answer"],
            cdn_waits=cdn["waiting"],
        )
