"""The removal of rows that an adoption made and nobody has changed since."""

from collections.abc import Sequence

import asyncpg

from reconciler.catalog.db.connections import COLLISIONS, AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.media_tables.user_code import (
    BUSY,
    NotRemoved,
    explained,
    is_of,
    remove_rows,
)
from reconciler.catalog.recovery.adoption.noting import note_removed
from reconciler.catalog.recovery.adoption.rows import ROW_HASH
from reconciler.errors import CatalogUnavailable

MADE = f"""
SELECT storage_key, record_id, row_hash, owner, bytes FROM {SCHEMA}.adoption_objects
WHERE adoption_id = $1 AND state = 'adopted' AND storage_key > $2 ORDER BY storage_key LIMIT $3
"""


async def remove(
    connection: AnyConnection,
    media: MediaTables,
    adoption_id: int,
    found: Sequence[asyncpg.Record],
    author: str,
) -> tuple[int, int]:
    """How many of the rows found were removed, and how many stay. Raises CatalogUnavailable."""
    rows = await connection.fetch(
        f"SELECT {media.identity.text} AS id, {ROW_HASH} AS row_hash FROM {media.table}"
        f" WHERE {media.identity.among('$1')} FOR UPDATE",
        [row["record_id"] for row in found],
    )
    now = {row["id"]: row["row_hash"] for row in rows}
    ours = [row for row in found if now.get(row["record_id"]) == row["row_hash"]]
    going = await _removed(connection, media, ours)
    await connection.execute(
        f"UPDATE {SCHEMA}.adoption_objects SET state = 'undone'"
        " WHERE adoption_id = $1 AND storage_key = ANY($2::text[])",
        adoption_id,
        [row["storage_key"] for row in going],
    )
    await note_removed(connection, f"undone by {author}", adoption_id, going)
    return len(going), len(found) - len(going)


async def _removed(
    connection: AnyConnection, media: MediaTables, rows: Sequence[asyncpg.Record]
) -> Sequence[asyncpg.Record]:
    """Those that could be removed: all at once, or in halves where something keeps one of them."""
    if not rows:
        return ()
    try:
        async with connection.transaction():
            await remove_rows(connection, media, [row["record_id"] for row in rows])
    except COLLISIONS:
        raise
    except (asyncpg.PostgresError, NotRemoved) as error:
        if is_of(error, BUSY):
            raise CatalogUnavailable(f"{media.names[0]} is busy: {explained(error)}") from error
        if len(rows) == 1:
            return ()
    else:
        return rows
    middle = len(rows) // 2
    return [
        *await _removed(connection, media, rows[:middle]),
        *await _removed(connection, media, rows[middle:]),
    ]
