"""The rows made for objects, together or in halves."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import asyncpg

from reconciler.catalog.db.connections import COLLISIONS, AnyConnection
from reconciler.catalog.media_tables import making
from reconciler.catalog.media_tables.guard import REFUSED
from reconciler.catalog.media_tables.making import Making
from reconciler.catalog.media_tables.records import lookup
from reconciler.catalog.media_tables.tables import MediaTables, by_key
from reconciler.catalog.media_tables.user_code import (
    BUSY,
    explained,
    in_their_settings,
    is_of,
)
from reconciler.errors import CatalogUnavailable
from reconciler.model import (
    Adoptable,
    Left,
)
from reconciler.ports import Judge

ROW_HASH = "encode(sha256(convert_to(m::text, 'UTF8')), 'hex')"
"""Of all its columns, under the session's own settings: what is changed since is not ours to remove."""


class _NotMade(Exception):
    """The table has another row now than the one that was to be made."""


class _Going(Exception):
    """Some of the rows would go at the next retention pass. `why` by key."""

    def __init__(self, why: Mapping[str, str]) -> None:
        super().__init__()
        self.why = why


async def insert(
    connection: AnyConnection,
    media: MediaTables,
    rows: Sequence[Adoptable],
    how: Making,
    judge: Judge,
    why: dict[str, str],
) -> list[tuple[Adoptable, asyncpg.Record]]:
    """Insert all at once; where one makes that fail, in halves, so that it fails alone."""
    if not rows:
        return []
    try:
        async with connection.transaction():
            return await _insert_all(connection, media, rows, how, judge, why)
    except _Going as going:
        why |= going.why
        staying = [row for row in rows if row.storage_key not in going.why]
        return await insert(connection, media, staying, how, judge, why)
    except COLLISIONS:
        raise
    except (asyncpg.PostgresError, _NotMade) as error:
        if is_of(error, BUSY):
            raise CatalogUnavailable(f"{media.names[0]} is busy: {explained(error)}") from error
        if len(rows) == 1:
            why[rows[0].storage_key] = _refused(error)
            return []
    middle = len(rows) // 2
    made = await insert(connection, media, rows[:middle], how, judge, why)
    return made + await insert(connection, media, rows[middle:], how, judge, why)


async def _insert_all(
    connection: AnyConnection,
    media: MediaTables,
    rows: Sequence[Adoptable],
    how: Making,
    judge: Judge,
    why: dict[str, str],
) -> list[tuple[Adoptable, asyncpg.Record]]:
    async with in_their_settings(connection):
        made = await connection.fetch(making.statement(how, media), *how.arrays(rows))
    ids = {row["storage_key"]: row["id"] for row in made}
    keys = list(ids)
    there = by_key(await lookup(connection, media, keys))
    now = datetime.now(UTC)
    going = {}
    for key in keys:
        if [row.id for row in there.get(key, ())] != [ids[key]]:
            raise _NotMade("its row does not count, or a trigger changed its key")
        if verdict := judge(there[key][0], now):
            going[key] = f"{Left.RETENTION}: {verdict}"
    if going:
        # Taken back with the others, which are made again.
        raise _Going(going)
    hashes = {
        row["id"]: row
        for row in await connection.fetch(
            f"SELECT {media.identity.text} AS id, {ROW_HASH} AS row_hash FROM {media.table}"
            f" WHERE {media.identity.among('$1')}",
            list(ids.values()),
        )
    }
    for row in rows:
        if row.storage_key not in ids:
            why[row.storage_key] = Left.HAS_ROW
    return [(row, hashes[ids[row.storage_key]]) for row in rows if row.storage_key in ids]


def _refused(error: Exception) -> str:
    if is_of(error, (REFUSED,)):
        return Left.CLAIMED
    return f"{Left.REFUSED}: {explained(error)}"
