"""The gateway's two tables as fragments of SQL, for whatever names and types they have.

Aliases are fixed: `m` the media table, `k` the virtual keys', `r` our note of disabled keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from reconciler.catalog.config import TableMapping, qualified, quoted
from reconciler.catalog.schema import SCHEMA
from reconciler.model import Record, StorageBy, VirtualKey

END_OF_TIME = "'9000-01-01 00:00+00'::timestamptz"
"""Later than any age counts, and early enough that adding a duration stays within the calendar."""

NAME_LENGTH = 50
"""Of a media type or provider: what is longer is no name."""

START_OF_TIME = "'0001-01-02 00:00+00'::timestamptz"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnTypes:
    """What an inspection found: types by column field; an absent column is not in it.

    `byte_order` says how the storage key has to be written for comparisons in byte order, and
    `equality` how for looking keys up, so that an index serves each where there is one: "" as it
    is, else a COLLATE clause.
    """

    media: dict[str, str]
    keys: dict[str, str]
    media_oid: int
    keys_oid: int
    byte_order: str
    equality: str
    unique: bool
    virtual_key_index: bool


class Gateway:
    """SQL fragments over the mapped tables. Built once, after the inspection."""

    def __init__(self, tables: TableMapping, types: ColumnTypes) -> None:
        self._tables = tables
        self._types = types
        self.names = (qualified(tables.media_table), qualified(tables.keys_table))
        self.oids = (types.media_oid, types.keys_oid)
        self.media = f"{qualified(tables.media_table)} m"
        self.keys = f"{qualified(tables.keys_table)} k"
        self.id = f"m.{quoted(tables.media.id)}"
        self.id_type = types.media["id"]
        self.key_id_type = types.keys["id"]
        self.owner_id = f"m.{quoted(tables.media.virtual_key_id)}"
        self.owner_type = types.media["virtual_key_id"]
        self.key_id = f"k.{quoted(tables.keys.id)}"
        # A row whose flag is NULL says nothing, and what says nothing protects.
        self.key_enabled = f"coalesce(k.{quoted(tables.keys.is_enabled)}, true)"
        bare = f"m.{quoted(tables.media.storage_key)}"
        self.key_text = f"{bare}::text"
        self.ordered_key = f"{bare}{types.byte_order}"
        self.equal_key = f"{bare}{types.equality}"
        # What a store that keeps objects as files makes of a key, and whether that is another one.
        # Under "C", since collations that are not deterministic do not search.
        key = f'({self.key_text} COLLATE "C")'
        self.rewritten_key = rf"ltrim(regexp_replace({key}, '[/\\]+', '/', 'g'), '/')"
        self.is_rewritten = rf"(strpos({key}, '//') > 0 OR strpos({key}, '\') > 0 OR starts_with({key}, '/'))"
        self.unique = types.unique
        self.virtual_key_index = types.virtual_key_index
        self.joined = (
            f"{self.media} LEFT JOIN {self.keys} ON {self.key_id} = {self.owner_id}"
            f' LEFT JOIN {SCHEMA}.revoked_keys r ON r.key_id = {self.key_id}::text COLLATE "C"'
        )
        self.columns = self._record_columns()

    @property
    def size(self) -> str:
        """What a row says of its object's size, in bytes."""
        return f"greatest(m.{quoted(self._tables.media.size_bytes)}, 0)" if self._sized else "0"

    @property
    def _sized(self) -> bool:
        return "size_bytes" in self._types.media

    def named(self, by: StorageBy) -> str:
        """What a row says of this, as text: `unknown` where it says nothing, or has no such column.

        Types and providers come in more than one casing, and become labels.
        """
        if by is StorageBy.VIRTUAL_KEY:
            return f"coalesce({self.owner_id}::text, 'unknown')"
        field = by.value.replace("-", "_")
        if field not in self._types.media:
            return "'unknown'::text"
        column = f"m.{quoted(getattr(self._tables.media, field))}"
        folded = f'lower(btrim({column}::text) COLLATE "C")'
        return f"coalesce(nullif(left({folded}, {NAME_LENGTH}), ''), 'unknown')"

    def media_time(self, field: str) -> str | None:
        """The column as it is stored, for conditions that an index can answer; None where absent."""
        return f"m.{quoted(getattr(self._tables.media, field))}" if field in self._types.media else None

    def media_type(self, field: str) -> str:
        return self._types.media[field]

    def key_time(self, field: str) -> str | None:
        return f"k.{quoted(getattr(self._tables.keys, field))}" if field in self._types.keys else None

    def instant(self, parameter: str, *, media: str = "", keys: str = "") -> str:
        """A timestamptz parameter in the type of the column that it is compared with."""
        kind = self._types.media[media] if media else self._types.keys[keys]
        return f"{parameter}::timestamptz" + ("" if kind == "timestamptz" else " AT TIME ZONE 'UTC'")

    def _time(self, column: str | None, kind: str) -> str:
        """As timestamptz, without the infinities that some drivers write for "never" and "unset".

        Minus infinity becomes NULL, which is unset; the far future is cut to what Python can hold.
        """
        if column is None:
            return "NULL::timestamptz"
        zoned = column if kind == "timestamptz" else f"({column} AT TIME ZONE 'UTC')"
        return f"CASE WHEN {zoned} >= {START_OF_TIME} THEN least({zoned}, {END_OF_TIME}) END"

    def _media(self, field: str) -> str:
        return self._time(self.media_time(field), self._types.media.get(field, ""))

    def _owner_expires(self) -> str:
        return self._time(self.key_time("expires_at"), self._types.keys.get("expires_at", ""))

    def _record_columns(self) -> str:
        accessed = self._media("last_accessed_at")
        if "last_accessed_at" not in self._types.media:
            # Nobody can say that such a row was not accessed lately: it reads as accessed for ever.
            accessed = END_OF_TIME
        return ", ".join(
            (
                f"{self.id}::text AS id",
                f"{self.key_text} AS storage_key",
                f"{self.owner_id}::text AS virtual_key_id",
                f"{self.key_id}::text AS owner_id",
                f"{self.key_enabled} AS owner_enabled",
                f"{self._owner_expires()} AS owner_expires_at",
                f"CASE WHEN NOT {self.key_enabled} THEN r.first_seen_at END AS owner_disabled_since",
                (f"m.{quoted(self._tables.media.size_bytes)}::bigint" if self._sized else "NULL::bigint")
                + " AS size_bytes",
                f"{self._media('created_at')} AS created_at",
                f"{self._media('expires_at')} AS expires_at",
                f"{accessed} AS last_accessed_at",
                f"{self._media('deleted_at')} AS deleted_at",
                f"{self._version()} AS version",
            )
        )

    def _version(self) -> str:
        """A hash of what a verdict reads, the owner's state included; its text form needs the
        session's fixed time zone and date style. Counters and sizes are no part of it (R-26).
        """
        parts = [self.key_text, self.owner_id, f"({self.key_id} IS NOT NULL)", self.key_enabled]
        fields = ("created_at", "expires_at", "last_accessed_at", "deleted_at")
        parts += [column for field in fields if (column := self.media_time(field))]
        if (expires := self.key_time("expires_at")) is not None:
            parts.append(expires)
        return f"encode(sha256(convert_to(ROW({', '.join(parts)})::text, 'UTF8')), 'hex')"


def record_from(row: asyncpg.Record) -> Record:
    """One row of `Gateway.columns`."""
    owner = None
    if row["owner_id"] is not None:
        owner = VirtualKey(
            id=row["owner_id"],
            enabled=row["owner_enabled"],
            expires_at=row["owner_expires_at"],
            disabled_since=row["owner_disabled_since"],
        )
    return Record(
        id=row["id"],
        storage_key=row["storage_key"],
        virtual_key_id=row["virtual_key_id"],
        owner=owner,
        size_bytes=row["size_bytes"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_accessed_at=row["last_accessed_at"],
        deleted_at=row["deleted_at"],
        version=row["version"],
    )


def by_key(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The rows that name each key."""
    grouped: dict[str, list[Record]] = {}
    for record in records:
        grouped.setdefault(record.storage_key, []).append(record)
    return grouped
