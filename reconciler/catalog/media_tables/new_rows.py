"""Makes rows of the media table, for objects that were put on the gateway's behalf."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from reconciler.catalog.db.config import TableMapping, literal, quoted
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.media_tables import columns
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.media_tables.user_code import BUSY, explained, in_their_settings, is_of
from reconciler.errors import ConfigError, ErrorKind, NotDone
from reconciler.model import Reservation, Stored, kind_of

# The columns that a row has a value of whatever is inserted: a default, an identity, a default of the type.
FILLED = """
SELECT a.attname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
  AND (a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL)
"""

NEW_ID = {
    "uuid": "gen_random_uuid()",
    "text": "gen_random_uuid()::text",
    "varchar": "gen_random_uuid()::text",
}
"""What identifies a new row, by the column's type, where the table does not say it itself."""

KNOWN = "SELECT $1::text AS key, $2::text AS owner, $3::bigint AS size, $4::text AS hash, $5::text AS kind"
GIVEN = 5
"""What is known of every row."""


class NewRows:
    """Inserts rows; made for the columns that the table has now."""

    def __init__(
        self, media: MediaTables, values: Mapping[str, str], types: Mapping[str, str], filled: frozenset[str]
    ) -> None:
        self._media = media
        self._values = values
        self._types = types
        self._filled = filled

    @classmethod
    async def of(cls, connection: AnyConnection, media: MediaTables, tables: TableMapping) -> NewRows:
        found = await columns.find(connection, media.oids[0])
        filled = frozenset(row["attname"] for row in await connection.fetch(FILLED, media.oids[0]))
        generated = {name for name, each in found.columns.items() if each.generated}
        types = {name: each.type.sql for name, each in found.columns.items() if name not in generated}
        values = _values(media, tables, {name: each.type.kind for name, each in found.columns.items()})
        optional = frozenset(name for name, each in found.columns.items() if not each.required)
        mapped = {name: text for name, text in values.items() if name in types}
        for name in tables.media.id.split(","):
            kind = found.columns[name.strip()].type.kind
            if name.strip() not in {*mapped, *filled} and kind in NEW_ID:
                mapped[name.strip()] = NEW_ID[kind]
        return cls(media, mapped, types, filled | optional | frozenset(generated))

    def require(self, further: Mapping[str, str], setting: str) -> None:
        """Raises ConfigError where a row with these further columns would lack what the table requires."""
        table = self._media.names[0]
        for name in further:
            if name not in self._types:
                raise ConfigError(f"{setting}: {table} has no column {name} that can be written")
            if name in self._values:
                raise ConfigError(f"{setting}: {name} of {table} is mapped, and written already")
        lacking = sorted(self._types.keys() - {*self._values, *self._filled, *further})
        if lacking:
            raise ConfigError(
                f"{setting}: {table} requires {', '.join(lacking)}, and has no default for it; give a value"
            )

    async def insert(self, connection: AnyConnection, reservation: Reservation, stored: Stored) -> str:
        """One row, under the users' triggers; returns its id. Raises NotDone where the table refuses it."""
        names, texts = [*self._values], [*self._values.values()]
        more = list[str | None]()
        for name, value in stored.columns.items():
            kind = self._types.get(name)
            if kind is None or name in self._values:
                message = f"{self._media.names[0]} has no column {name} that can be given"
                raise NotDone(ErrorKind.INVALID, "no_such_column", message, column=name)
            more.append(value)
            names.append(name)
            texts.append(f"${GIVEN + len(more)}::text::{kind}")
        query = (
            f"INSERT INTO {self._media.names[0]} AS m ({', '.join(map(quoted, names))})"
            f" SELECT {', '.join(texts)} FROM ({KNOWN}) v RETURNING {self._media.identity.text}"
        )
        given = (stored.size, stored.content_hash, kind_of(stored.content_type))
        try:
            async with connection.transaction(), in_their_settings(connection):
                # PostgresError of a parameter that does not fit is the row's fault too.
                found: str = await connection.fetchval(
                    query, reservation.key, reservation.owner.id, *given, *more
                )
        except asyncpg.PostgresError as error:
            if is_of(error, BUSY):
                raise
            message = f"{self._media.names[0]} refuses the row of {reservation.key!r}: {explained(error)}"
            raise NotDone(ErrorKind.CONFLICT, "row_refused", message, key=reservation.key) from None
        return found


def _values(media: MediaTables, tables: TableMapping, kinds: Mapping[str, str]) -> dict[str, str]:
    """SQL for each mapped column, over what is known of every row, `v`."""
    named = tables.media
    values = {
        named.storage_key: "v.key",
        named.virtual_key_id: f"v.owner::{media.owner_type}",
    }
    if media.media_time("size_bytes"):
        values[named.size_bytes] = f"v.size::{media.media_type('size_bytes')}"
    if media.media_time("content_hash") and kinds.get(named.content_hash) != "uuid":
        values[named.content_hash] = f"v.hash::{media.media_type('content_hash')}"
    if media.media_time("media_type"):
        values[named.media_type] = f"v.kind::{media.media_type('media_type')}"
    if media.media_time("created_at"):
        values[named.created_at] = media.moment_of("created_at", "clock_timestamp()")
    if media.media_time("access_count"):
        values[named.access_count] = "0"
    # A row that does not count would leave its object an orphan.
    values |= {column: literal(text) for column, text in tables.media_where}
    return values
