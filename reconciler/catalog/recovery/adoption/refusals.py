"""What keeps an object from being adopted, as the database knows it."""

from collections.abc import Collection, Sequence

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import making, references
from reconciler.catalog.media_tables.near_misses.twins import twins
from reconciler.catalog.media_tables.records import lookup
from reconciler.catalog.media_tables.tables import MediaTables, by_key
from reconciler.model import (
    Adoptable,
    Left,
    Mark,
    Verdict,
)

# Locks the marks, so that none of them is claimed before the row is there; see the package.
KNOWN = f"""
SELECT m.storage_key, CASE WHEN m.verdict = 'departed' THEN '{Left.DEPARTED}'
                           WHEN m.state = 'claimed' THEN '{Left.CLAIMED}' ELSE '{Left.MARKED}' END AS reason
FROM {SCHEMA}.marks m WHERE m.storage_key = ANY($1::text[]) ORDER BY m.storage_key FOR SHARE
"""

# After the marks are locked: what a confirmation has left by then is seen. Where a row was made before and is
# gone, somebody removed it: the notes of the triggers do not outlive the pass that reads them.
LEFT = f"""
SELECT storage_key, '{Left.DELETED}' AS reason FROM {SCHEMA}.tombstones
WHERE storage_key = ANY($1::text[]) AND ends_at > clock_timestamp()
UNION ALL
SELECT storage_key, CASE WHEN erased THEN '{Left.ERASED}' ELSE '{Left.DELETED}' END FROM {SCHEMA}.hidden
WHERE storage_key = ANY($1::text[]) AND state IN ('hidden', 'restoring', 'purging')
UNION ALL
SELECT storage_key, '{Left.DEPARTED}' FROM {SCHEMA}.departures WHERE storage_key = ANY($1::text[])
UNION ALL
SELECT storage_key, '{Left.RESERVED}' FROM {SCHEMA}.reservations
WHERE storage_key = ANY($1::text[]) AND state = 'open' AND expires_at > clock_timestamp()
UNION ALL
SELECT storage_key, CASE WHEN state = 'undone' THEN '{Left.UNDONE}' ELSE '{Left.DEPARTED}' END
FROM {SCHEMA}.adoption_objects
WHERE storage_key = ANY($1::text[]) AND (state = 'undone' OR state = 'adopted' AND record_id IS NOT NULL)
"""

# What a sweep leaves to be an orphan: the same, and what an earlier adoption has found out of the ledger.
BARRED = f"""
{LEFT} UNION ALL
SELECT storage_key, reason FROM {SCHEMA}.adoption_objects
WHERE storage_key = ANY($1::text[]) AND state = 'left'
  AND split_part(reason, ':', 1) = ANY(ARRAY['{Left.DELETED}', '{Left.ERASED}', '{Left.DEPARTED}',
                                              '{Left.RETENTION}'])
"""


async def known(
    connection: AnyConnection, media: MediaTables, rows: Sequence[Adoptable], prefixes: Sequence[str]
) -> dict[str, str]:
    """Why keys must not be adopted, from what is recorded of them: the weightiest last."""
    keys = [row.storage_key for row in rows]
    if not keys:
        return {}
    marked = {row["storage_key"]: row["reason"] for row in await connection.fetch(KNOWN, keys)}
    rows_now = by_key(await lookup(connection, media, keys))
    found: dict[str, str] = dict.fromkeys(rows_now, Left.HAS_ROW)
    found |= dict.fromkeys(await references.named(connection, media, keys), Left.HAS_ROW)
    seen = [_as_mark(row) for row in rows if row.storage_key not in found]
    for key, other in (await twins(connection, media, seen, prefixes)).items():
        found[key] = f"{Left.NEAR_MISS}: a row spells it {other}"
    found |= marked
    for key, reason in await connection.fetch(LEFT, keys):
        if key not in rows_now:
            found[key] = reason
    return found


async def without_owner(
    connection: AnyConnection, media: MediaTables, rows: Sequence[Adoptable]
) -> dict[str, str]:
    """Those whose owner is no virtual key."""
    found = await existing(connection, media, {row.owner for row in rows if row.owner is not None})
    return {row.storage_key: f"{Left.UNKNOWN_OWNER}: {row.owner}" for row in rows if row.owner not in found}


async def existing(connection: AnyConnection, media: MediaTables, owners: Collection[str]) -> set[str]:
    """Those that are virtual keys, by their ids as the database writes them."""
    wanted = [each for each in owners if making.plausible(each, media.key_id_kind)]
    query = (
        f"SELECT {media.key_id}::text AS id FROM {media.keys}"
        f" WHERE {media.key_id} = ANY($1::text[]::{media.key_id_type}[])"
    )
    found = {row["id"] for row in await connection.fetch(query, wanted)}
    return found.intersection(owners)


def _as_mark(row: Adoptable) -> Mark:
    """Any row that spells it otherwise counts, as for an object whose row has departed."""
    return Mark(
        storage_key=row.storage_key,
        verdict=Verdict.DEPARTED,
        reason="",
        bytes=row.size,
        pass_id=0,
        object_etag=row.etag,
        object_last_modified=row.created_at,
        first_seen_at=row.created_at,
        last_seen_at=row.created_at,
        sightings=1,
        due_at=row.created_at,
    )
