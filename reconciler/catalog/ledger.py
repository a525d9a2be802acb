"""The ledger: what was meant, what came of it. Append-only, written with what it tells of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from reconciler.catalog.connections import AnyConnection
from reconciler.catalog.schema import SCHEMA
from reconciler.model import Mark, Mode

# One statement for a batch; the time is the wall clock's.
INSERT = f"""
INSERT INTO {SCHEMA}.ledger
    (operation_id, epoch, event, mode, what, storage_key, record_id, verdict, reason, result, detail,
     bytes, etag, pass_id)
SELECT $1::uuid, $2::bigint, $3::text, $4::text, e.*
FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
            $12::bigint[], $13::text[], $14::bigint[]) AS e
"""

OBJECT, RECORD = "object", "record"
INTENT, RESULT, CANCELLED = "intent", "result", "cancelled"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line about one object or one row. `bytes` only where an object went or is meant to."""

    what: str
    mark: Mark
    record_id: str | None = None
    result: str | None = None
    detail: str | None = None
    bytes: int | None = None


async def append(
    connection: AnyConnection, event: str, operation_id: UUID | None, epoch: int, entries: Sequence[Entry]
) -> None:
    """Write the entries in the caller's transaction."""
    if not entries:
        return
    await connection.execute(
        INSERT,
        operation_id,
        epoch,
        event,
        Mode.LIVE.value,
        [each.what for each in entries],
        [each.mark.storage_key for each in entries],
        [each.record_id for each in entries],
        [each.mark.verdict.value for each in entries],
        [each.mark.reason for each in entries],
        [each.result for each in entries],
        [each.detail for each in entries],
        [each.bytes for each in entries],
        [each.mark.object_etag for each in entries],
        [each.mark.pass_id for each in entries],
    )
