"""Variants: further objects of a record, such as its thumbnail. They are marked when the record is claimed.

Their marks are released with the record's pass and due at once, but no claim takes one while the record is
marked. After that, the record is gone, and its variant goes unless something else names it; or the record
stays, and its variant's mark is cancelled. So a crash at any point leaves marks, as everywhere.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from reconciler.catalog.db.config import quoted
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import references
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model import RETENTION_VERDICTS, ClaimedKey, Variant
from reconciler.model.keys import LONGEST_KEY, is_managed

MARK = f"""
INSERT INTO {SCHEMA}.marks
    (storage_key, verdict, reason, bytes, pass_id, first_seen_at, last_seen_at, last_pass_id, sightings,
     due_at, variant_of, owners)
SELECT v.key, r.verdict, 'a further object of ' || r.storage_key || ': ' || r.reason, 0, r.pass_id,
       $3::timestamptz, $3, r.pass_id, 1, r.due_at, r.storage_key, r.owners
FROM unnest($1::text[], $2::text[]) AS v (record, key)
JOIN {SCHEMA}.marks r ON r.storage_key = v.record
ORDER BY v.key COLLATE "C"
ON CONFLICT (storage_key) DO NOTHING
"""


async def mark(
    connection: AnyConnection,
    media: MediaTables,
    claimed: Sequence[ClaimedKey],
    prefixes: Sequence[str],
    now: datetime,
) -> None:
    """Mark the variants of the rows that were just claimed, in the claim's transaction.

    Only records removed by retention take variants along; a dangling record's are orphans for the sweep.
    """
    if not media.variants:
        return
    going = {
        ref.id: key.mark.storage_key
        for key in claimed
        if key.mark.verdict in RETENTION_VERDICTS
        for ref in key.decision.records
    }
    named = await naming(connection, media, sorted(going))
    pairs = sorted({(going[row], key) for row, key in named if _may_go(key, prefixes)})
    if pairs:
        await connection.execute(MARK, [record for record, _ in pairs], [key for _, key in pairs], now)


async def going_along(
    connection: AnyConnection, media: MediaTables, rows: Mapping[str, str], prefixes: Sequence[str]
) -> list[Variant]:
    if not media.variants or not rows:
        return []
    pairs = [
        (key, rows[row])
        for row, key in await naming(connection, media, sorted(rows))
        if _may_go(key, prefixes)
    ]
    keys = sorted({key for key, _ in pairs})
    own = await connection.fetch(
        f"SELECT {media.key_text} AS key FROM {media.media} WHERE {media.equal_key} = ANY($1::text[])",
        keys,
    )
    kept = {row["key"] for row in own} | await references.named(connection, media, keys, variants=False)
    names: Counter[str] = Counter()
    for each in media.references:
        if each.variant:
            counted = await connection.fetch(media.namings(each), keys)
            names.update({row["key"]: row["namings"] for row in counted})
    return [
        Variant(storage_key=key, variant_of=record, names=names[key])
        for key, record in pairs
        if key not in kept
    ]


async def naming(connection: AnyConnection, media: MediaTables, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Row and key of each object that those rows name in a variant's column."""
    columns = ", ".join(f"m.{quoted(column)}::text" for column in media.variants)
    rows = await connection.fetch(
        f"SELECT {media.identity.text} AS id, v.key FROM {media.media}"
        f" CROSS JOIN LATERAL unnest(ARRAY[{columns}]) AS v (key)"
        f" WHERE {media.identity.among('$1')} AND v.key <> ''",
        list(ids),
    )
    return [(row["id"], row["key"]) for row in rows]


def _may_go(key: str, prefixes: Sequence[str]) -> bool:
    return is_managed(key, tuple(prefixes)) and len(key.encode()) <= LONGEST_KEY
