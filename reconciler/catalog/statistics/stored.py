"""The rows of the media table, in groups: by property, and by the rule that holds for them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from reconciler import model
from reconciler.catalog.db import bounds
from reconciler.catalog.db.connections import AnyConnection, Row
from reconciler.catalog.media_tables import matching
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.statistics.breakdown import OTHER

# Reads the table once. All parts after the largest ones are added up as one.
STORAGE = """
WITH parts AS (
    SELECT ARRAY[{names}] AS names, count(*) AS objects, coalesce(sum({size}), 0) AS bytes
    FROM {media} WHERE {within} GROUP BY 1
), ranked AS (
    SELECT *, row_number() OVER (ORDER BY bytes DESC, objects DESC, names) AS place FROM parts
)
SELECT least(place, {top} + 1) AS place, min(names) AS names, sum(objects)::bigint AS objects,
       sum(bytes)::text AS bytes, count(*) AS parts
FROM ranked GROUP BY 1 ORDER BY 1
"""

# Reads the table once. `place` is that of the rule that holds for the row.
BY_RULE = """
SELECT {place} AS place, count(*) AS objects, coalesce(sum({size}), 0)::text AS bytes
FROM {media} WHERE {within} GROUP BY 1
"""


async def read(
    connection: AnyConnection,
    media: MediaTables,
    prefixes: Sequence[str] | None,
    by: Sequence[model.StorageBy],
    top: int,
) -> Sequence[Row]:
    within, values = bounds.condition(media.ordered_key, bounds.managed(prefixes or [""]), 1)
    names = ", ".join(media.named(each) for each in by)
    query = STORAGE.format(names=names, size=media.size, media=media.media, within=within, top=int(top))
    rows: Sequence[Row] = await connection.fetch(query, *values)
    return rows


def grouped(at: datetime, rows: Sequence[Row], by: Sequence[model.StorageBy], top: int) -> model.Storage:
    rest = next((row for row in rows if row["place"] > top), None)
    return model.Storage(
        at=at,
        largest=[
            model.StoragePart(names=tuple(row["names"]), objects=row["objects"], bytes=int(row["bytes"]))
            for row in rows
            if row["place"] <= top
        ],
        other=model.StoragePart(
            names=(OTHER,) * len(by),
            objects=rest["objects"] if rest else 0,
            bytes=int(rest["bytes"]) if rest else 0,
        ),
        other_parts=rest["parts"] if rest else 0,
    )


async def by_rule(
    connection: AnyConnection, media: MediaTables, policy: model.Policy
) -> Mapping[int, model.StoragePart]:
    """What each rule holds for, by its place."""
    within, values = bounds.condition(media.ordered_key, bounds.managed(policy.prefixes), 1)
    place = matching.place(media, policy.rules)
    query = BY_RULE.format(place=place, size=media.size, media=media.media, within=within)
    return {
        row["place"]: model.StoragePart(names=(), objects=row["objects"], bytes=int(row["bytes"]))
        for row in await connection.fetch(query, *values)
    }
