"""The lines of the ledger about rows made, and removed again."""

from collections.abc import Sequence
from uuid import uuid4

import asyncpg

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import (
    Adoptable,
    Verdict,
)

NOTE = f"""
INSERT INTO {SCHEMA}.ledger (operation_id, epoch, event, mode, what, storage_key, record_id, verdict, reason,
                             bytes, etag, pass_id, owners)
SELECT $1, (SELECT epoch FROM {SCHEMA}.term), $2, 'live', 'record', l.storage_key, l.record_id,
       '{Verdict.ADOPT}', $3, l.bytes, l.etag, $4,
       CASE WHEN l.owner IS NULL THEN NULL ELSE ARRAY[l.owner] END
FROM unnest($5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[])
    AS l (storage_key, record_id, bytes, etag, owner)
"""


async def note_made(
    connection: AnyConnection,
    reason: str,
    adoption_id: int,
    made: Sequence[tuple[Adoptable, asyncpg.Record]],
) -> None:
    await connection.execute(
        NOTE,
        uuid4(),
        "adopted",
        reason,
        adoption_id,
        [row.storage_key for row, _ in made],
        [each["id"] for _, each in made],
        [row.size for row, _ in made],
        [row.etag for row, _ in made],
        [row.owner for row, _ in made],
    )


async def note_removed(
    connection: AnyConnection, reason: str, adoption_id: int, rows: Sequence[asyncpg.Record]
) -> None:
    await connection.execute(
        NOTE,
        uuid4(),
        "unadopted",
        reason,
        adoption_id,
        [row["storage_key"] for row in rows],
        [row["record_id"] for row in rows],
        [row["bytes"] for row in rows],
        [None for _ in rows],
        [row["owner"] for row in rows],
    )
