"""The rows of the media table, added up in every way."""

from collections.abc import Sequence
from datetime import date, datetime

from reconciler import model
from reconciler.catalog.db import bounds
from reconciler.catalog.db.connections import AnyConnection, Row
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model.keys import merge_prefixes

OTHER = "other"
WHOLE, OUTSIDE = "(all)", "(outside)"
"""No prefix, and none of them: names that no prefix has, since it ends in a slash."""

DAYS = 30
"""Days whose rows are counted by the day."""

# Reads the table once. Each row of the result is of one property, which `kind` names; of a day or of the
# whole, all are listed, of others the largest.
BREAKDOWN = """
WITH each AS (
    SELECT {virtual_key} AS virtual_key, {media_type} AS media_type, {provider} AS provider,
           {prefix} AS prefix,
           CASE WHEN {created} >= (clock_timestamp() AT TIME ZONE 'UTC')::date - {days} + 1
                THEN ({created} AT TIME ZONE 'UTC')::date::text END AS day, {size} AS size
    FROM {media} WHERE {within}
), parts AS (
    SELECT CASE WHEN grouping(virtual_key) = 0 THEN 'virtual_key'
                WHEN grouping(media_type) = 0 THEN 'media_type'
                WHEN grouping(provider) = 0 THEN 'provider' WHEN grouping(prefix) = 0 THEN 'prefix'
                WHEN grouping(day) = 0 THEN 'day' ELSE 'all' END AS kind,
           coalesce(virtual_key, media_type, provider, prefix, day) AS name,
           count(*) AS objects, coalesce(sum(size), 0) AS bytes
    FROM each GROUP BY GROUPING SETS ((), (virtual_key), (media_type), (provider), (prefix), (day))
), ranked AS (
    SELECT *, CASE WHEN kind IN ('day', 'all') THEN 0
                   ELSE row_number() OVER (PARTITION BY kind ORDER BY bytes DESC, objects DESC, name)
                   END AS place
    FROM parts
)
SELECT kind, CASE WHEN place > {top} THEN '{other}' ELSE name END AS name, sum(objects)::bigint AS objects,
       sum(bytes)::text AS bytes
FROM ranked GROUP BY kind, least(place, {top} + 1), 2 ORDER BY kind, least(place, {top} + 1), 2
"""


async def read(
    connection: AnyConnection, media: MediaTables, prefixes: Sequence[str] | None, top: int
) -> Sequence[Row]:
    """One row for each part; `added_up` makes the breakdown of them."""
    merged = merge_prefixes(prefixes or [""])
    within, values = bounds.condition(media.ordered_key, bounds.managed(merged), 1)
    arms = []
    for prefix in merged:
        inside, more = bounds.condition(media.ordered_key, bounds.of_prefix(prefix), len(values) + 1)
        values += [*more, prefix or WHOLE]
        arms.append(f"WHEN {inside} THEN ${len(values)}::text")
    query = BREAKDOWN.format(
        virtual_key=media.named(model.StorageBy.VIRTUAL_KEY),
        media_type=media.named(model.StorageBy.MEDIA_TYPE),
        provider=media.named(model.StorageBy.PROVIDER),
        prefix=f"CASE {' '.join(arms)} ELSE '{OUTSIDE}' END",
        created=media.created,
        days=DAYS,
        size=media.size,
        media=media.media,
        within=within,
        top=int(top),
        other=OTHER,
    )
    rows: Sequence[Row] = await connection.fetch(query, *values)
    return rows


def added_up(at: datetime, prefixes: Sequence[str] | None, rows: Sequence[Row]) -> model.Breakdown:
    by: dict[str, list[model.StoragePart]] = {
        name: [] for name in ("virtual_key", "media_type", "provider", "prefix")
    }
    days: list[model.Day] = []
    objects = size = 0
    for row in rows:
        if row["kind"] == "all":
            objects, size = row["objects"], int(row["bytes"])
        elif row["kind"] == "day":
            day = date.fromisoformat(row["name"]) if row["name"] else None
            days.append(model.Day(day=day, objects=row["objects"], bytes=int(row["bytes"])))
        else:
            part = model.StoragePart(names=(row["name"],), objects=row["objects"], bytes=int(row["bytes"]))
            by[row["kind"]].append(part)
    return model.Breakdown(at=at, prefixes=prefixes, objects=objects, bytes=size, by=by, days=days)
