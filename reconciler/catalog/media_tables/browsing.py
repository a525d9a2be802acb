"""Rows as a person looks through them: filtered, sorted, page by page. Reads only."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import asyncpg

from reconciler.catalog.db import bounds
from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.media_tables.tables import MediaTables, record_from
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import ListedRow, MediaFilter, MediaSort, folded

Parameter: TypeAlias = Callable[[object, str], str]
"""Adds a value, and names it in SQL with its type."""

SORTED: Mapping[MediaSort, tuple[str, str]] = {
    MediaSort.CREATED_AT: ("coalesce(created_at, '-infinity')", "timestamptz"),
    MediaSort.LAST_ACCESSED_AT: ("coalesce(last_accessed_at, '-infinity')", "timestamptz"),
    MediaSort.SIZE_BYTES: ("coalesce(size_bytes, 0)", "numeric"),
}
"""What a column is sorted by, and its type. Keys are sorted by the bytes, which an index may answer."""

# A page begins behind the last row of the one before. The first of the two conditions on the place is for an
# index, which knows nothing of the row's id.
PAGE = """
SELECT *, place::text AS at FROM (SELECT *, {place} AS place FROM (SELECT {columns}, {key} AS ordered
                                  FROM {joined} WHERE {where}) rows) placed
WHERE {behind} ORDER BY place {order}, id COLLATE "C" {order} LIMIT {limit}
"""

USAGE = """
SELECT count(*) AS objects, coalesce(sum({size}), 0)::text AS bytes FROM {media} WHERE {owner} = $1::{type}
"""


class MediaList:
    """Reads the media table for a person."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media

    async def page(
        self,
        wanted: MediaFilter,
        sort: MediaSort,
        *,
        descending: bool,
        after: tuple[str, str] | None,
        limit: int,
    ) -> Sequence[ListedRow]:
        """The next rows that match, behind the place and the id `after`. Without an index on what they are
        sorted by, each page sorts all that match. Raises NotDone for what cannot be a virtual key's id.
        """
        values: list[object] = []

        def parameter(value: object, kind: str) -> str:
            values.append(value)
            return f"${len(values)}::{kind}"

        async with self._database.connection() as connection:
            if wanted.virtual_key_id is not None:
                await self._require_id(connection, wanted.virtual_key_id)
            where = " AND ".join(self._conditions(wanted, parameter))
            place, kind = SORTED.get(sort, ("ordered", "text"))
            behind = "true"
            if after is not None:
                than, at = "<" if descending else ">", f"{parameter(after[0], 'text')}::{kind}"
                last = parameter(after[1], "text")
                behind = f'place {than}= {at} AND (place {than} {at} OR id COLLATE "C" {than} {last})'
            query = PAGE.format(
                place=place,
                columns=self._media.columns,
                key=self._media.ordered_key,
                joined=self._media.joined,
                where=where,
                behind=behind,
                order="DESC" if descending else "ASC",
                limit=int(limit),
            )
            try:
                rows = await connection.fetch(query, *values)
            except asyncpg.DataError:
                raise NotDone(
                    ErrorKind.NOT_FOUND, "no_such_cursor", "there is no such place in this list"
                ) from None
        return [ListedRow(record=record_from(row), place=row["at"]) for row in rows]

    def _conditions(self, wanted: MediaFilter, parameter: Parameter) -> list[str]:
        media = self._media
        found = ["true"]
        ((low, high),) = bounds.of_prefix(wanted.prefix)
        if low:
            found.append(f"{media.ordered_key} >= {parameter(bounds.comparable(low), 'text')}")
        if high is not None:
            found.append(f"{media.ordered_key} < {parameter(bounds.comparable(high), 'text')}")
        if wanted.virtual_key_id is not None:
            found.append(f"{media.owner_id} = {parameter(wanted.virtual_key_id, 'text')}::{media.owner_type}")
        for name in ("media_type", "provider"):
            if (value := getattr(wanted, name)) is not None:
                column = media.rule_value(name) or "NULL::text"
                found.append(f"{column} = {parameter(folded(value), 'text')}")
        if wanted.since is not None:
            found.append(f"{media.created} >= {parameter(wanted.since, 'timestamptz')}")
        if wanted.until is not None:
            found.append(f"{media.created} < {parameter(wanted.until, 'timestamptz')}")
        return found

    async def usage(self, virtual_key_id: str) -> tuple[int, int]:
        """How many rows name this virtual key, and their bytes. Raises NotDone as `page` does."""
        media = self._media
        query = USAGE.format(size=media.size, media=media.media, owner=media.owner_id, type=media.owner_type)
        async with self._database.connection() as connection:
            own = await self._require_id(connection, virtual_key_id)
            row = await connection.fetchrow(query.replace("$1", "$1::text"), own)
        assert row is not None
        return row["objects"], int(row["bytes"])

    async def _require_id(self, connection: AnyConnection, given: str) -> str:
        media = self._media
        try:
            if not bounds.storable(given):
                raise asyncpg.DataError("no text")
            await connection.fetchval(f"SELECT $1::text::{media.owner_type}", given)
        except asyncpg.DataError:
            raise NotDone(
                ErrorKind.INVALID,
                "not_a_virtual_key",
                f"not the id of a virtual key ({media.owner_type})",
                type=media.owner_type,
            ) from None
        return given
