"""The certificates of erasures: numbered, chained, and copied to the bucket."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import TypeAlias

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.leadership.fencing import stand
from reconciler.catalog.recovery.cases.statements import ErasureTables
from reconciler.catalog.recovery.cases.wiping import rows_of
from reconciler.model import Certified, ErasureCase, ErasureKind, Term

NUMBERING = 7_236_837_005_911_077
"""The advisory lock under which a certificate gets its number, and its place in the chain."""

NEWEST = f"SELECT digest, number, document FROM {SCHEMA}.certificates ORDER BY number DESC, at DESC LIMIT 1"

CERTIFY = f"""
INSERT INTO {SCHEMA}.certificates (digest, number, erasure_id, document) VALUES ($1, $2, $3, $4)
"""

DONE = f"""
UPDATE {SCHEMA}.erasures SET state = 'done', subject = NULL, said = NULL, finished_at = clock_timestamp()
WHERE id = $1 AND state = 'open' RETURNING id
"""

# For whoever follows the ledger, and has to erase it too.
TELL = f"""
INSERT INTO {SCHEMA}.ledger (epoch, event, mode, what, storage_key, verdict, reason, detail, owners)
VALUES ($1, 'erased', 'live', 'virtual_key', '', '', 'erasure', $2, $3::text[])
"""

UNCOPIED = f"SELECT digest, number, document FROM {SCHEMA}.certificates WHERE NOT copied ORDER BY number, at"

COPIED = f"UPDATE {SCHEMA}.certificates SET copied = true WHERE digest = $1"

DIGESTS = f"SELECT digest FROM {SCHEMA}.certificates"

Compose: TypeAlias = Callable[[int, str | None, datetime], Certified]
"""Makes the certificate of that number, behind the one of that digest, at that time."""


class CertifiedErasures(ErasureTables):
    """What is written once an erasure is done."""

    async def certify(
        self,
        term: Term,
        case: ErasureCase,
        spared: Collection[str],
        compose: Compose,
    ) -> Certified | None:
        async def work(connection: AnyConnection) -> Certified | None:
            standing = await stand(connection, term)
            await connection.execute("SELECT pg_advisory_xact_lock($1)", NUMBERING)
            # A writer may have come since: what it wrote is looked for once more, and the erasure goes on.
            where, values = rows_of(self._media, case)
            rows = await connection.fetch(
                f"SELECT DISTINCT {self._media.key_text} AS key FROM {self._media.media} WHERE {where}",
                *values,
            )
            if {row["key"] for row in rows} - {*spared}:
                return None
            newest = await connection.fetchrow(NEWEST)
            made = compose(
                newest["number"] + 1 if newest else 1, newest["digest"] if newest else None, standing.now
            )
            if await connection.fetchval(DONE, case.id) is None:
                return None
            await connection.execute(CERTIFY, made.digest, made.number, case.id, made.document)
            await connection.execute(f"DELETE FROM {SCHEMA}.erasure_keys WHERE erasure_id = $1", case.id)
            if case.kind is ErasureKind.VIRTUAL_KEY:
                told = f"certificate {made.number}, {made.digest}"
                await connection.execute(TELL, term.epoch, told, list(case.subject))
            return made

        return await self._database.transaction(work)

    async def uncopied(self) -> Sequence[Certified]:
        async with self._database.connection() as connection:
            return [Certified(**dict(row)) for row in await connection.fetch(UNCOPIED)]

    async def copied(self, certificate: Certified) -> None:
        async with self._database.connection() as connection:
            await connection.execute(COPIED, certificate.digest)

    async def digests(self) -> set[str]:
        async with self._database.connection() as connection:
            return {row["digest"] for row in await connection.fetch(DIGESTS)}

    async def newest(self) -> Certified | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(NEWEST)
            return Certified(**dict(row)) if row else None
