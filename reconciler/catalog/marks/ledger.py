"""The ledger: intents and their results. Append-only, written in the transaction of what it records."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import Mark, Mode

COLUMNS = (
    "operation_id",
    "epoch",
    "event",
    "mode",
    "what",
    "storage_key",
    "record_id",
    "verdict",
    "reason",
    "result",
    "detail",
    "bytes",
    "etag",
    "pass_id",
    "recovery",
    "variant_of",
    "owners",
)

OBJECT, RECORD = "object", "record"
INTENT, RESULT, CANCELLED = "intent", "result", "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The operation that the lines belong to."""

    id: UUID
    epoch: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line about one object or one row. `bytes` is set only where an object was or is to be deleted.

    `recovery` is JSON: where the object still is.
    """

    what: str
    mark: Mark
    record_id: str | None = None
    result: str | None = None
    detail: str | None = None
    bytes: int | None = None
    recovery: str | None = None


async def append(
    connection: AnyConnection, event: str, operation_id: UUID | None, epoch: int, entries: Sequence[Entry]
) -> None:
    """Write the entries in the caller's transaction."""
    if not entries:
        return
    # COPY takes a third of the time of an INSERT from arrays, on client and server.
    await connection.copy_records_to_table(
        "ledger",
        schema_name=SCHEMA,
        columns=COLUMNS,
        records=[
            (
                operation_id,
                epoch,
                event,
                Mode.LIVE.value,
                each.what,
                each.mark.storage_key,
                each.record_id,
                each.mark.verdict.value,
                each.mark.reason,
                each.result,
                each.detail,
                each.bytes,
                each.mark.object_etag,
                each.mark.pass_id,
                each.recovery,
                each.mark.variant_of,
                each.mark.owners,
            )
            for each in entries
        ],
    )
