"""Hidden objects: one row for each deleted object that can be restored, from its deletion to its purge."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import asyncpg

from reconciler import model
from reconciler.catalog.db import arrays
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.records import lookup
from reconciler.catalog.media_tables.tables import MediaTables, by_key
from reconciler.model.records import owners_of

# A copy of an object that stayed after all is only left over: it is not needed.
NOTE = f"""
INSERT INTO {SCHEMA}.hidden
    (operation_id, hidden_at, storage_key, pass_id, verdict, mode, quarantine_key, version_ids, marker_ids,
     bytes, etag, last_modified, variant_of, state, owners)
SELECT $1::uuid, $2::timestamptz, h.storage_key, h.pass_id, h.verdict, h.mode, h.quarantine_key,
       h.version_ids::text[], h.marker_ids::text[],
       h.bytes, h.etag, h.last_modified, h.variant_of, CASE WHEN h.went THEN 'hidden' ELSE 'left over' END,
       h.owners::text[]
FROM unnest($3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::bigint[], $11::text[], $12::timestamptz[], $13::text[], $14::boolean[], $15::text[])
    AS h (storage_key, pass_id, verdict, mode, quarantine_key, version_ids, marker_ids, bytes, etag,
          last_modified, variant_of, went, owners)
"""

KNOWN_MODE = "h.mode IN ('quarantine', 'versioned')"
"""Objects that a newer program hid in another way are neither purged nor restored by this one."""

RESTORABLE = "h.state IN ('hidden', 'restoring') AND NOT h.erased"

KEPT = "(removed IS NOT NULL OR row_values IS NOT NULL)"
"""A line of the ledger that still has a removed row, in any version's form."""

NOT_KEPT = "removed = NULL, row_columns = NULL, row_types = NULL, row_values = NULL"

PARTIAL = model.Return.PARTIAL.value

_PUT_BACK = f"""
    EXISTS (SELECT FROM {SCHEMA}.ledger r
            WHERE r.event = 'restored' AND r.what = 'record' AND r.storage_key = l.storage_key
              AND r.operation_id = l.operation_id AND r.record_id = l.record_id
"""

_IN_LEDGER = "(l.removed IS NOT NULL OR l.row_values IS NOT NULL) AND l.event = 'result'"

# A row that the ledger still has in full, and that was not put back, or only in part.
UNRESTORED = f"{_IN_LEDGER} AND NOT {_PUT_BACK} AND r.result IS DISTINCT FROM '{PARTIAL}')"

# A row that the ledger still has in full, and that was not put back, not even in part.
ABSENT = f"{_IN_LEDGER} AND NOT {_PUT_BACK})"

HIDDEN_COLUMNS = (
    "h.id, h.storage_key, h.operation_id, h.verdict, h.mode, h.quarantine_key, h.version_ids,"
    " h.marker_ids, h.bytes, h.etag, h.last_modified, h.hidden_at, h.erased, h.pass_id,"
    " h.despite_hold"
)


def in_mode(key: model.ClaimedKey, policy: model.Policy, operation_id: UUID) -> model.ClaimedKey:
    """The claimed key with its delete mode; a key whose object is not deleted gets no quarantine key."""
    mode = policy.delete_mode
    if mode is key.mode is model.DeleteMode.DIRECT:
        return key
    copied = mode is model.DeleteMode.QUARANTINE and key.decision.delete_object
    name = model.quarantine_key(operation_id, key.mark.storage_key, policy.quarantine) if copied else None
    return replace(key, mode=mode, quarantine_key=name)


def intended(key: model.ClaimedKey) -> str | None:
    """For the ledger's intent, as JSON: the delete mode and the quarantine key."""
    if key.mode is model.DeleteMode.DIRECT:
        return None
    return json.dumps({"mode": key.mode.value, "quarantine_key": key.quarantine_key})


def as_json(hidden: model.Hidden) -> str:
    """For the ledger's result, as JSON: what a restore of the object needs."""
    return json.dumps(
        {
            "mode": hidden.mode.value,
            "quarantine_key": hidden.quarantine_key,
            "version_ids": hidden.version_ids,
            "marker_ids": hidden.marker_ids,
            "etag": hidden.etag,
            "bytes": hidden.size,
        }
    )


async def note(
    connection: AnyConnection,
    media: MediaTables,
    operation_id: UUID,
    keys: Sequence[model.ClaimedKey],
    went: Collection[str],
    hidden: Mapping[str, model.Hidden],
    now: datetime,
) -> None:
    """Record where the keys' objects are; a key that is not in `went` has only left a copy behind."""
    noted = [(key, hidden[key.mark.storage_key]) for key in keys if key.mark.storage_key in hidden]
    if not noted:
        return
    # The rows, which are removed later, are still there: their owners decide which holds keep the object.
    rows = by_key(await lookup(connection, media, [key.mark.storage_key for key, _ in noted]))
    await connection.execute(
        NOTE,
        operation_id,
        now,
        [key.mark.storage_key for key, _ in noted],
        [key.mark.pass_id for key, _ in noted],
        [key.mark.verdict.value for key, _ in noted],
        [one.mode.value for _, one in noted],
        [one.quarantine_key for _, one in noted],
        [arrays.written(one.version_ids) for _, one in noted],
        [arrays.written(one.marker_ids) for _, one in noted],
        [one.size for _, one in noted],
        [one.etag for _, one in noted],
        [one.last_modified for _, one in noted],
        [key.mark.variant_of for key, _ in noted],
        [key.mark.storage_key in went for key, _ in noted],
        [arrays.written(owners_of(rows.get(key.mark.storage_key, ()))) for key, _ in noted],
    )


def hidden_from(row: asyncpg.Record) -> model.HiddenObject:
    """One row of `HIDDEN_COLUMNS`."""
    return model.HiddenObject(
        id=row["id"],
        storage_key=row["storage_key"],
        operation_id=row["operation_id"],
        verdict=model.Verdict(row["verdict"]),
        hidden=model.Hidden(
            mode=model.DeleteMode(row["mode"]),
            size=model.believable_size(row["bytes"]),
            etag=row["etag"],
            last_modified=model.believable(row["last_modified"]),
            quarantine_key=row["quarantine_key"],
            version_ids=tuple(row["version_ids"]),
            marker_ids=tuple(row["marker_ids"]),
        ),
        hidden_at=row["hidden_at"],
        erased=row["erased"],
        pass_id=row["pass_id"],
        despite_hold=row["despite_hold"],
    )
