"""The rows of an erasure: which they are, and their removal."""

from collections.abc import Sequence

import asyncpg

from reconciler.catalog import holds
from reconciler.catalog.db.connections import COLLISIONS, AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import kept_rows, variants
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.media_tables.user_code import NotRemoved, explained, remove_rows
from reconciler.catalog.recovery.cases.statements import ADD_KEYS
from reconciler.catalog.recovery.soft_deleted import NOT_KEPT
from reconciler.model import ErasureCase, ErasureKind, Wiped
from reconciler.model.keys import is_managed

CHUNK = 500
"""Rows or keys of one transaction."""

# Nothing of it is on its way any more.
UNRESERVE = f"""
DELETE FROM {SCHEMA}.reservations
WHERE CASE WHEN $1 THEN owner = ANY($2::text[]) ELSE storage_key = ANY($2::text[]) END
  AND ($3::timestamptz IS NULL OR created_at <= $3) RETURNING storage_key
"""

COUNT = f"""
UPDATE {SCHEMA}.erasures SET rows_removed = rows_removed + $2, texts_removed = texts_removed + $3,
    versions_removed = versions_removed + $4, uploads_aborted = uploads_aborted + $5
WHERE id = $1
"""

# The key's object goes as that of any record which left the table: marked, claimed, and judged again.
LEAVE = f"""
INSERT INTO {SCHEMA}.departures (storage_key, left_at, virtual_key)
SELECT k.key, clock_timestamp(), k.owner FROM unnest($1::text[], $2::text[]) AS k (key, owner)
WHERE NOT EXISTS (SELECT FROM {SCHEMA}.departures d WHERE d.storage_key = k.key)
"""

# The line of a row that is removed, in full for what listens to the ledger, and redacted at once.
LEFT = f"""
INSERT INTO {SCHEMA}.ledger (epoch, event, mode, what, storage_key, record_id, verdict, reason, result,
                             owners, row_columns, row_types, row_values)
SELECT (SELECT epoch FROM {SCHEMA}.term), 'result', 'live', 'record', {{key}} COLLATE "C", {{id}}, '',
       'erasure', 'left', ARRAY[{{owner}}::text], $2, $3, {{row}}
FROM {{table}} WHERE {{among}} RETURNING id
"""

FORGET_ROWS = f"UPDATE {SCHEMA}.ledger SET {NOT_KEPT} WHERE id = ANY($1::bigint[])"


async def wipe(
    connection: AnyConnection,
    media: MediaTables,
    case: ErasureCase,
    prefixes: tuple[str, ...],
    stays: Sequence[str],
) -> Wiped:
    """Rows go as a gateway removes them: the keys that they named are noted, and their objects are judged
    by the next pass. Rows that are locked, on hold or outside the prefixes stay.
    """
    owned, subject = case.kind is ErasureKind.VIRTUAL_KEY, list(case.subject)
    reserved = await connection.fetch(UNRESERVE, owned, subject, case.made_until)
    await connection.execute(ADD_KEYS, case.id, [row["storage_key"] for row in reserved])
    where, values = rows_of(media, case)
    rows = await connection.fetch(
        f"SELECT {media.identity.text} AS id, {media.key_text} AS key, {media.owner_id}::text AS owner"
        f" FROM {media.media} WHERE {where} AND {media.identity.text} <> ALL(${len(values) + 1}::text[])"
        f" LIMIT {CHUNK} FOR UPDATE SKIP LOCKED",
        *values,
        list(stays),
    )
    held = await holds.held(connection, media, [row["key"] for row in rows])
    ours = {row["id"]: row for row in rows if is_managed(row["key"], prefixes) and row["key"] not in held}
    further = await variants.naming(connection, media, list(ours)) if media.variants else []
    gone, refused = await _remove(connection, media, list(ours))
    left = {row["key"]: row["owner"] for row in ours.values() if row["id"] in gone}
    left |= {key: ours[row]["owner"] for row, key in further if row in gone and is_managed(key, prefixes)}
    await connection.execute(ADD_KEYS, case.id, sorted({*left, *(row["key"] for row in rows)}))
    await connection.execute(LEAVE, list(left), list(left.values()))
    await connection.execute(COUNT, case.id, len(gone), 0, 0, 0)
    return Wiped(
        rows=len(gone),
        stays=tuple(row["id"] for row in rows if row["id"] not in gone),
        refused=tuple(refused),
        more=len(rows) == CHUNK,
    )


async def _remove(
    connection: AnyConnection, media: MediaTables, ids: Sequence[str]
) -> tuple[set[str], list[str]]:
    """Remove locked rows, one by one where they do not go together: the ids, and why others stay."""
    if not ids:
        return set(), []
    try:
        async with connection.transaction():
            await _note_rows(connection, media, ids)
            await remove_rows(connection, media, ids)
    except COLLISIONS:
        raise
    except (asyncpg.PostgresError, NotRemoved) as error:
        if len(ids) == 1:
            return set(), [explained(error)]
    else:
        return {*ids}, []
    gone, refused = set[str](), list[str]()
    for each in ids:
        one, why = await _remove(connection, media, [each])
        gone |= one
        refused += why
    return gone, refused


async def _note_rows(connection: AnyConnection, media: MediaTables, ids: Sequence[str]) -> None:
    columns = kept_rows.kept(await kept_rows.columns(connection, media.oids[0]))
    note = LEFT.format(
        key=media.key_text,
        id=media.identity.text,
        owner=media.owner_id,
        row=kept_rows.as_array(columns),
        table=media.table,
        among=media.identity.among("$1"),
    )
    names, types = [each.name for each in columns], [each.type for each in columns]
    lines = await connection.fetch(note, list(ids), names, types)
    await connection.execute(FORGET_ROWS, [row["id"] for row in lines])


def rows_of(media: MediaTables, case: ErasureCase) -> tuple[str, list[object]]:
    """A condition for the case's rows, and its values."""
    until = f" AND coalesce({media.created} <= $2::timestamptz, $2 IS NULL OR {media.created} IS NULL)"
    if case.kind is ErasureKind.VIRTUAL_KEY:
        where = f"{media.owner_id} = $1::text::{media.owner_type}"
        return where + until, [case.subject[0], case.made_until]
    return f"{media.equal_key} = ANY($1::text[])" + until, [list(case.subject), case.made_until]
