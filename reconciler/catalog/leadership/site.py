"""Which bucket this database is tied to, and what it last wrote to that bucket's identity: one row."""

import json
from datetime import datetime, timedelta
from uuid import UUID

from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.leadership import lineage as lineages
from reconciler.catalog.leadership.fencing import TERM_BEGAN, stand
from reconciler.errors import Halt
from reconciler.model import Identity, Lineage, Seals, Term

WITHDRAW = f"""
WITH gone AS (DELETE FROM {SCHEMA}.marks RETURNING *)
INSERT INTO {SCHEMA}.ledger
    (operation_id, event, what, storage_key, verdict, reason, detail, bytes, etag, pass_id, epoch, mode)
SELECT operation_id, 'cancelled', 'object', storage_key, verdict, reason,
    'found before the bucket was adopted', bytes, object_etag, pass_id, $1, 'live' FROM gone
"""

# Whether a claim that was cut short sent its deletes is unknown. So a row of such a key is refused or healed
# for as long as after any deletion, and the deletion can be undone from the copy, which was made before it. A
# copy that was never made, or whose object stayed, goes when the window is over.
INSERT_TOMBSTONE = f"""
INSERT INTO {SCHEMA}.tombstones (storage_key, verdict, operation_id, gone_at, ends_at, recoverable)
SELECT storage_key, verdict, operation_id, attempted_at, clock_timestamp() + $1::interval,
       quarantine_key IS NOT NULL
FROM {SCHEMA}.marks WHERE state = 'claimed' AND delete_object
ON CONFLICT (storage_key) DO UPDATE
SET verdict = excluded.verdict, operation_id = excluded.operation_id, gone_at = excluded.gone_at,
    recoverable = excluded.recoverable,
    ends_at = greatest({SCHEMA}.tombstones.ends_at, excluded.ends_at)
"""

HIDE = f"""
INSERT INTO {SCHEMA}.hidden
    (operation_id, hidden_at, storage_key, pass_id, verdict, mode, quarantine_key, version_ids, marker_ids,
     bytes, etag, last_modified, state)
SELECT operation_id, attempted_at, storage_key, pass_id, verdict, 'quarantine', quarantine_key,
       '{{}}', '{{}}', bytes, object_etag, object_last_modified, 'hidden'
FROM {SCHEMA}.marks m
WHERE state = 'claimed' AND delete_object AND quarantine_key IS NOT NULL AND NOT EXISTS (
    SELECT FROM {SCHEMA}.hidden h WHERE h.quarantine_key = m.quarantine_key)
"""


# The time by which the last call to the store for any claim must have ended.
LAST_CALL = f"""
SELECT max(greatest(attempted_at, {TERM_BEGAN})) + $1::interval FROM {SCHEMA}.marks WHERE state = 'claimed'
"""


class PostgresSite:
    """`ports.Site` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._granted: frozenset[str] | None = None

    async def identity(self) -> Identity | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"SELECT * FROM {SCHEMA}.site WHERE bucket IS NOT NULL")
            if row is None:
                return None
            return Identity(
                site_id=row["site_id"],
                bucket=row["bucket"],
                prefixes=tuple(row["prefixes"]),
                created_at=row["bound_at"],
                lineage=Lineage.read(json.loads(row["lineage"])) if row["lineage"] else None,
            )

    async def lineage(self) -> Lineage:
        async with self._database.connection() as connection:
            if self._granted is None:
                self._granted = await lineages.readable(connection)
            try:
                return await lineages.read(connection, self._database.config.tables, self._granted)
            except lineages.UNTOLD:
                # The right was taken away meanwhile.
                self._granted = await lineages.readable(connection)
                return await lineages.read(connection, self._database.config.tables, self._granted)

    async def bind(self, identity: Identity) -> None:
        """Raises Halt where the database has another site id: it is another installation's."""
        async with self._database.connection() as connection:
            # Inserts at first contact; a different id is never overwritten.
            bound = await connection.fetchval(
                f"INSERT INTO {SCHEMA}.site (site_id, bucket, prefixes, bound_at) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (singleton) DO UPDATE SET bucket = $2, prefixes = $3, bound_at = $4"
                " WHERE site.site_id = $1 RETURNING site_id",
                identity.site_id,
                identity.bucket,
                list(identity.prefixes),
                identity.created_at,
            )
        if bound is None:
            raise Halt(
                f"this database is of another site than {identity.site_id}; check RECONCILER_DATABASE_URL"
            )

    async def new_id(self) -> UUID:
        async with self._database.connection() as connection:
            # Two replicas at their first contact must agree, so the first one's id stays.
            await connection.execute(
                f"INSERT INTO {SCHEMA}.site (site_id) VALUES (gen_random_uuid()) ON CONFLICT DO NOTHING"
            )
            site_id: UUID = await connection.fetchval(f"SELECT site_id FROM {SCHEMA}.site")
        return site_id

    async def seals(self) -> Seals:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"SELECT nonce, pending_nonce FROM {SCHEMA}.site")
            return Seals(confirmed=row["nonce"], pending=row["pending_nonce"]) if row else Seals()

    async def propose(self, term: Term, confirmed: UUID | None, pending: UUID) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await connection.execute(
                f"UPDATE {SCHEMA}.site SET nonce = $1, pending_nonce = $2", confirmed, pending
            )

        await self._database.transaction(work)

    async def confirm(self, term: Term, nonce: UUID, lineage: Lineage) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await connection.execute(
                f"UPDATE {SCHEMA}.site SET nonce = $1, pending_nonce = NULL, lineage = $2::jsonb",
                nonce,
                json.dumps(lineage.written()),
            )

        await self._database.transaction(work)

    async def on_their_way(self, term: Term, longest_call: timedelta) -> timedelta:
        async def work(connection: AnyConnection) -> timedelta:
            now = (await stand(connection, term)).now
            ends: datetime | None = await connection.fetchval(LAST_CALL, longest_call)
            return max(timedelta(0), ends - now) if ends is not None else timedelta(0)

        return await self._database.transaction(work)

    async def withdraw(self, term: Term, upload_window: timedelta) -> int:
        async def work(connection: AnyConnection) -> int:
            await stand(connection, term)
            # Unfinished passes end too: they compared with another bucket, or with other rows.
            await connection.execute(
                f"UPDATE {SCHEMA}.passes SET state = 'failed', finished_at = clock_timestamp()"
                " WHERE state = 'running'"
            )
            await connection.execute(INSERT_TOMBSTONE, upload_window)
            await connection.execute(HIDE)
            return int((await connection.execute(WITHDRAW, term.epoch)).split()[-1])

        return await self._database.transaction(work)

    async def adopt(self, term: Term, identity: Identity) -> None:
        assert identity.seal is not None

        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            # A trigger skips ids of the ledger as the site id changes: a lost database may have told them.
            await connection.execute(
                f"INSERT INTO {SCHEMA}.site (site_id, bucket, prefixes, bound_at, nonce, lineage)"
                " VALUES ($1, $2, $3, $4, $5, $6::jsonb) ON CONFLICT (singleton) DO UPDATE SET site_id = $1,"
                " bucket = $2, prefixes = $3, bound_at = $4, nonce = $5, pending_nonce = NULL,"
                " lineage = $6::jsonb",
                identity.site_id,
                identity.bucket,
                list(identity.prefixes),
                identity.created_at,
                seal.nonce,
                json.dumps(lineage.written()) if lineage else None,
            )

        seal, lineage = identity.seal, identity.lineage
        await self._database.transaction(work)
