"""Erasures as a person orders them, looks at them, and does them again after a restore."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

import asyncpg

from reconciler.catalog import holds
from reconciler.catalog.db.bounds import storable
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.recovery.cases.statements import ADD_KEYS, COLUMNS, LONG, ErasureTables, case_of
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Certified, ErasureCase, ErasureKind

ORDER = f"""
INSERT INTO {SCHEMA}.erasures (id, kind, subject, author, reason, made_until, replays)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""

SAME = f"SELECT id FROM {SCHEMA}.erasures WHERE state = 'open' AND kind = $1 AND subject = $2::text[]"

# With how many keys it has so far, and the number of its certificate.
SHOW = f"""
SELECT {COLUMNS}, (SELECT count(*) FROM {SCHEMA}.erasure_keys k WHERE k.erasure_id = e.id) AS keys,
       (SELECT min(c.number) FROM {SCHEMA}.certificates c WHERE c.erasure_id = e.id) AS number
FROM {SCHEMA}.erasures e
"""

PAGE = f"""
{SHOW} WHERE ($2::uuid[] IS NULL OR e.id = ANY($2))
  AND ($3::timestamptz IS NULL OR (e.ordered_at, e.id) < ($3, $4::uuid))
ORDER BY e.ordered_at DESC, e.id DESC LIMIT $1
"""

IMPORT = f"""
INSERT INTO {SCHEMA}.certificates (digest, number, document, copied) VALUES ($1, $2, $3, true)
ON CONFLICT DO NOTHING
"""

# Every storage key that the database knows of, wherever it is written.
KNOWN_KEYS = f"""
SELECT storage_key FROM {SCHEMA}.ledger UNION SELECT storage_key FROM {SCHEMA}.hidden
UNION SELECT storage_key FROM {SCHEMA}.marks UNION SELECT storage_key FROM {SCHEMA}.departures
UNION SELECT storage_key FROM {SCHEMA}.tombstones
"""

KNOWN_OWNERS = f"""
SELECT DISTINCT o.owner FROM {SCHEMA}.ledger CROSS JOIN unnest(owners) AS o (owner)
UNION SELECT DISTINCT o.owner FROM {SCHEMA}.hidden CROSS JOIN unnest(owners) AS o (owner)
UNION SELECT DISTINCT o.owner FROM {SCHEMA}.marks CROSS JOIN unnest(owners) AS o (owner)
UNION SELECT DISTINCT virtual_key FROM {SCHEMA}.departures WHERE virtual_key IS NOT NULL
"""


class OrderedErasures(ErasureTables):
    """What a person asks of them."""

    async def order(
        self,
        kind: ErasureKind,
        subject: Sequence[str],
        author: str,
        reason: str,
        *,
        made_until: datetime | None = None,
        replays: str | None = None,
    ) -> UUID:
        """Write an erasure down; the leader begins it within seconds. One that is open for the same subject
        stands for both. Raises NotDone where the subject cannot be one of this database's.
        """

        async def work(connection: AnyConnection) -> UUID:
            return await self._order(connection, kind, subject, author, reason, made_until, replays)

        return await self._database.transaction(work)

    async def _order(
        self,
        connection: AnyConnection,
        kind: ErasureKind,
        subject: Sequence[str],
        author: str,
        reason: str,
        made_until: datetime | None,
        replays: str | None,
    ) -> UUID:
        subject = sorted(set(subject))
        if not subject or not all(storable(each) for each in subject):
            raise NotDone(ErrorKind.INVALID, "no_target", "say what to erase")
        if kind is ErasureKind.VIRTUAL_KEY:
            subject = [await self._as_owner(connection, subject[0])]
        if (same := await connection.fetchval(SAME, kind.value, subject)) is not None:
            found: UUID = same
            return found
        made = uuid4()
        await connection.execute(ORDER, made, kind.value, subject, author, reason, made_until, replays)
        if kind is ErasureKind.KEYS:
            await connection.execute(ADD_KEYS, made, subject)
        return made

    async def _as_owner(self, connection: AnyConnection, owner: str) -> str:
        """The id as the table writes it."""
        try:
            async with connection.transaction():
                written: str = await connection.fetchval(
                    f"SELECT $1::text::{self._media.owner_type}::text", owner
                )
        except asyncpg.DataError as error:
            raise NotDone(
                ErrorKind.INVALID, "no_such_id", f"{owner!r} cannot be the id of a virtual key: {error}"
            ) from None
        return written

    async def held(self, kind: ErasureKind, subject: Sequence[str]) -> bool:
        """Whether anything of it is on hold at the moment."""
        async with self._database.connection() as connection:
            keys = list(subject)
            if kind is ErasureKind.VIRTUAL_KEY:
                owner = await self._as_owner(connection, subject[0])
                if await connection.fetchval(
                    f"SELECT EXISTS (SELECT FROM {SCHEMA}.holds WHERE kind = 'virtual_key' AND target = $1"
                    " AND (until IS NULL OR until > clock_timestamp()))",
                    owner,
                ):
                    return True
                keys = [
                    row["key"]
                    for row in await connection.fetch(
                        f"SELECT DISTINCT {self._media.key_text} AS key FROM {self._media.media}"
                        f" WHERE {self._media.owner_id} = $1::text::{self._media.owner_type}",
                        owner,
                    )
                ]
            return bool(await holds.held(connection, self._media, keys))

    async def page(
        self,
        ids: Sequence[UUID] | None = None,
        limit: int = 100,
        before: tuple[datetime, UUID] | None = None,
    ) -> Sequence[ErasureCase]:
        """The erasures, the newest first, or those with these ids; behind time and id `before`."""
        at, last = before or (None, None)
        async with self._database.connection() as connection:
            rows = await connection.fetch(PAGE, limit, None if ids is None else list(ids), at, last)
            return [case_of(row) for row in rows]

    async def certificates(
        self, case_id: UUID | None = None, number: int | None = None
    ) -> Sequence[Certified]:
        """The certificates, in their order; of one erasure, or with that number."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT digest, number, document FROM {SCHEMA}.certificates"
                " WHERE ($1::uuid IS NULL OR erasure_id = $1) AND ($2::bigint IS NULL OR number = $2)"
                " ORDER BY number, at",
                case_id,
                number,
            )
            return [Certified(**dict(row)) for row in rows]

    async def known_owners(self) -> set[str]:
        """Every virtual key that a row or a note of ours names."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(LONG)
            rows = await connection.fetch(
                f"SELECT DISTINCT {self._media.owner_id}::text AS owner FROM {self._media.table}"
                f" UNION {KNOWN_OWNERS}"
            )
            return {row["owner"] for row in rows if row["owner"] is not None}

    async def known_keys(self) -> set[str]:
        """Every storage key that a row or a note of ours names."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(LONG)
            rows = await connection.fetch(
                f"SELECT {self._media.key_text} AS storage_key FROM {self._media.table} UNION {KNOWN_KEYS}"
            )
            return {row["storage_key"] for row in rows if row["storage_key"] is not None}

    async def replay(
        self,
        certificates: Sequence[Certified],
        wanted: Sequence[tuple[ErasureKind, Sequence[str], datetime, str]],
        author: str,
        reason: str,
    ) -> Sequence[UUID]:
        """Order these erasures again, of kind, subject, end and digest, and know the certificates from now
        on, in one transaction.
        """

        async def work(connection: AnyConnection) -> list[UUID]:
            made = [
                await self._order(connection, kind, subject, author, reason, until, digest)
                for kind, subject, until, digest in wanted
            ]
            for each in certificates:
                await connection.execute(IMPORT, each.digest, each.number, each.document)
            return made

        return await self._database.transaction(work)
