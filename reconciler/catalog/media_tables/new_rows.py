"""Makes a row of the media table for an object that was put on the gateway's behalf."""

from collections.abc import Collection

import asyncpg

from reconciler.catalog.db.config import TableMapping
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.media_tables import making
from reconciler.catalog.media_tables.making import Making
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.media_tables.user_code import BUSY, explained, in_their_settings, is_of
from reconciler.errors import ConfigError, ErrorKind, NotDone
from reconciler.model import CONTENT_TYPE, Adoptable, Reservation, Stored, ValueFrom, ValueSource, kind_of

OURS = (
    "storage_key",
    "virtual_key_id",
    "size_bytes",
    "media_type",
    "content_hash",
    "created_at",
    "access_count",
)
"""What is known of every object, so that nobody else gives it."""


class NewRows:
    """Inserts rows; how is found out once for each set of columns."""

    def __init__(self, media: MediaTables, tables: TableMapping) -> None:
        self._media = media
        self._tables = tables
        self._taken = {*(getattr(tables.media, each) for each in OURS), *dict(tables.media_where)}
        self._how: dict[frozenset[str], Making] = {}

    async def require(self, connection: AnyConnection, further: Collection[str], setting: str) -> Making:
        """How a row with these further columns is made. Raises ConfigError where it cannot be."""
        table = self._media.names[0]
        if taken := sorted(self._taken.intersection(further)):
            raise ConfigError(f"{setting}: {', '.join(taken)} of {table} is mapped, and written already")
        given = {name: ValueFrom(source=ValueSource.METADATA, name=name) for name in further}
        return await making.plan(connection, self._media, self._tables, given, setting)

    async def insert(self, connection: AnyConnection, reservation: Reservation, stored: Stored) -> None:
        """One row, under the users' triggers. Raises NotDone where the table refuses it."""
        names = frozenset(stored.columns)
        try:
            if names not in self._how:
                self._how[names] = await self.require(connection, names, "the columns that are given")
        except ConfigError as error:
            raise NotDone(ErrorKind.INVALID, "no_such_column", str(error), key=reservation.key) from None
        query = making.statement(self._how[names], self._media)
        row = Adoptable(
            storage_key=reservation.key,
            owner=reservation.owner.id,
            size=stored.size,
            etag="",
            created_at=await connection.fetchval("SELECT clock_timestamp()"),
            expires_at=None,
            media_type=kind_of(stored.content_type),
            provider=None,
            model=None,
            content_hash=self._hash(stored),
            values={CONTENT_TYPE: stored.content_type, **stored.columns},
        )
        why = "a row of its key is there"
        try:
            async with connection.transaction(), in_their_settings(connection):
                # An error of a value that does not fit is the row's fault too.
                if await connection.fetchrow(query, *self._how[names].arrays([row])) is not None:
                    return
        except asyncpg.PostgresError as error:
            if is_of(error, BUSY):
                raise
            why = explained(error)
        message = f"{self._media.names[0]} refuses the row of {reservation.key!r}: {why}"
        raise NotDone(ErrorKind.CONFLICT, "row_refused", message, key=reservation.key)

    def _hash(self, stored: Stored) -> str | None:
        """None where the column can hold an MD5 alone."""
        mapped = self._media.media_time("content_hash") is not None
        return None if mapped and self._media.media_type("content_hash") == "uuid" else stored.content_hash
