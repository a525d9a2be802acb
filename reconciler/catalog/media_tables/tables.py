"""The gateway's two tables as fragments of SQL, for any names and types that they have.

Aliases are fixed: `m` the media table, `k` the virtual keys', `r` our record of disabled keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from reconciler.catalog.db import expressions
from reconciler.catalog.db.config import READ_COLUMNS, TableMapping, literal, qualified, quoted
from reconciler.catalog.db.expressions import BARE_KEYS, END_OF_TIME, ColumnType, Identity, Times
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import Record, StorageBy, VirtualKey

FOLDED = ("media_type", "provider", "model")
"""Properties of a row that are read as `MediaTables.rule_value`, under their own names."""

NAME_LENGTH = 50
"""The most characters of a media type or provider; a longer text is no name, and is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A further column that names objects, under the alias `f`, as a text that can be compared.

    `name` is the column's, as `schema.table.column`.
    `variant`: it is the media table's, so that only rows that count are read. `indexed`: an index
    answers which rows name a key. `view`: its rows do not say when they were written.
    """

    name: str
    table: str
    oid: int
    column: str
    variant: bool
    indexed: bool
    view: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnTypes:
    """The result of an inspection: types by column field; absent columns are left out.

    `keys` is empty where there is no table of keys. `identity` are the columns, by name, that identify the
    media table's rows. `references` are columns that name further objects. `byte_order` is what to append to
    the storage key for comparisons in byte order, and `equality` for looking up keys, so that an index serves
    each where there is one: "" for the bare key, else a COLLATE clause. `ordered`: one serves byte order.
    """

    media: dict[str, ColumnType]
    keys: dict[str, ColumnType]
    identity: tuple[tuple[str, ColumnType], ...]
    media_oid: int
    keys_oid: int | None
    byte_order: str
    ordered: bool
    equality: str
    unique: bool
    virtual_key_index: bool
    references: tuple[Reference, ...] = ()
    standing: str | None = None
    """SQL: how a virtual key's group stands under Conduit's policies; None where that is not asked, or not
    known."""


class MediaTables:
    """SQL fragments over the mapped tables. Built once, after the inspection."""

    def __init__(self, tables: TableMapping, types: ColumnTypes) -> None:
        self._tables = tables
        self._types = types
        self.has_keys = bool(tables.keys_table)
        self.names = (qualified(tables.media_table), qualified(tables.keys_table) if self.has_keys else None)
        self.oids = (types.media_oid, types.keys_oid)
        # Used to write and to sample; everything else reads `media`, which has only the rows that count.
        self.table = f"{qualified(tables.media_table)} m"
        self.counts = _counts(tables.media_where)
        self.media = self.table
        if tables.media_where:
            self.media = f"(SELECT * FROM {self.table} WHERE {self.counts}) m"
        self.times = Times(zone=tables.time_zone or "UTC", unit=tables.epoch_unit)
        self.identity = Identity(types.identity)
        self.owner_id, self.owner_type = "NULL::text", "text"
        if "virtual_key_id" in types.media:
            self.owner_id = f"m.{quoted(tables.media.virtual_key_id)}"
            self.owner_type = types.media["virtual_key_id"].sql
        self.joined = self.media
        if self.has_keys:
            self._join_keys(tables)
        bare = f"m.{quoted(tables.media.storage_key)}"
        self.key_text = f"{bare}::text"
        if types.media["storage_key"].kind not in BARE_KEYS:
            bare = f"({self.key_text})"
        # char(n) does not keep whether a key ends in blanks.
        self.pads = types.media["storage_key"].kind == "char(n)"
        self.ordered_key = f"{bare}{types.byte_order}"
        self.equal_key = f"{bare}{types.equality}"
        # The key into which a store that keeps objects as files rewrites one, and whether it differs.
        # Under "C", since nondeterministic collations do not support searches.
        key = f'({self.key_text} COLLATE "C")'
        self.rewritten_key = rf"ltrim(regexp_replace({key}, '[/\\]+', '/', 'g'), '/')"
        self.is_rewritten = rf"(strpos({key}, '//') > 0 OR strpos({key}, '\') > 0 OR starts_with({key}, '/'))"
        self.unique = types.unique
        self.ordered = types.ordered
        self.references = types.references
        self.variants = tables.variants
        self.virtual_key_index = types.virtual_key_index
        self.columns = self._record_columns()

    def _join_keys(self, tables: TableMapping) -> None:
        """Set the fragments over the keys' table. Without such a table, none of them is used."""
        types = self._types.keys
        self.keys = f"{qualified(tables.keys_table)} k"
        self.key_id = f"k.{quoted(tables.keys.id)}"
        self.key_id_type, self.key_id_kind = types["id"].sql, types["id"].kind
        self.key_enabled = expressions.flag(f"k.{quoted(tables.keys.is_enabled)}", types["is_enabled"].kind)
        self.owned = f"{self.key_id} = {self.as_key(self.owner_id)}"
        self.joined = (
            f"{self.media} LEFT JOIN {self.keys} ON {self.owned}"
            f' LEFT JOIN {SCHEMA}.revoked_keys r ON r.key_id = {self.key_id}::text COLLATE "C"'
        )

    @property
    def table_names(self) -> str:
        """Both tables' names, for messages."""
        return " or ".join(name for name in self.names if name)

    def names_by(self, reference: Reference) -> str:
        """A query for those keys of the array $1 that the column names."""
        keys = "SELECT k.key FROM unnest($1::text[]) AS k (key)"
        if reference.indexed:
            return f"{keys} WHERE {self.named_by(reference, 'k.key')}"
        # Reads the table once: a claim plans no hash join, and would read it for each key.
        named = (
            f"SELECT DISTINCT {reference.column} FROM {self.naming(reference)}"
            f" AND {reference.column} = ANY($1::text[])"
        )
        return f"{keys} WHERE k.key = ANY(ARRAY({named}))"

    def namings(self, reference: Reference) -> str:
        """How many rows name each of the keys in the array $1 in that column."""
        return (
            f"SELECT {reference.column} AS key, count(*) AS namings FROM {self.naming(reference)}"
            f" AND {reference.column} = ANY($1::text[]) GROUP BY 1"
        )

    def named_by(self, reference: Reference, key: str) -> str:
        """SQL: whether that column names the key, which is an expression without its own collation."""
        return f"EXISTS (SELECT FROM {self.naming(reference)} AND {reference.column} = {key})"

    def naming(self, reference: Reference) -> str:
        """The column's table, as `f`, with a condition for the rows that count."""
        counts = _counts(self._tables.media_where, "f") if reference.variant else "true"
        return f"{reference.table} f WHERE {counts}"

    def as_key(self, owner: str) -> str:
        """An owner's id to compare with the keys' ids: under their collation, as a foreign key does."""
        theirs, ours = self._types.keys["id"].collation, self._types.media["virtual_key_id"].collation
        return owner if theirs == ours or not theirs else f"{owner} COLLATE {theirs}"

    @property
    def size(self) -> str:
        """The size of a row's object, in bytes; 0 where it is unknown."""
        return f"coalesce({self._size}, 0)"

    @property
    def _size(self) -> str:
        if "size_bytes" not in self._types.media:
            return "NULL::bigint"
        return expressions.size(f"m.{quoted(self._tables.media.size_bytes)}")

    @property
    def content(self) -> str | None:
        """The columns of a `Content`; None where the table says nothing of an object's bytes."""
        if not {"size_bytes", "content_hash"} & self._types.media.keys():
            return None
        hashed = "NULL::text"
        if "content_hash" in self._types.media:
            hashed = f"m.{quoted(self._tables.media.content_hash)}::text"
        return (
            f"{self.key_text} AS storage_key, {self.owner_id}::text AS virtual_key_id,"
            f" {self._size} AS size_bytes, {hashed} AS content_hash"
        )

    def named(self, by: StorageBy) -> str:
        """A row's value of this, as text: `unknown` where it is empty, or there is no such column.

        Types and providers become labels, and are folded, since they come in more than one casing.
        """
        if by is StorageBy.VIRTUAL_KEY:
            return f"coalesce({self.owner_id}::text, 'unknown')"
        field = by.value.replace("-", "_")
        if field not in self._types.media:
            return "'unknown'::text"
        column = f"m.{quoted(getattr(self._tables.media, field))}"
        folded = f'lower(btrim({column}::text) COLLATE "C")'
        return f"coalesce(nullif(left({folded}, {NAME_LENGTH}), ''), 'unknown')"

    def rule_value(self, name: str) -> str | None:
        """What a rule compares: a property of `model.Match` as text, `key_group` of the joined virtual key.

        None where there is no such column. Types, providers and models are folded as `model.folded` does.
        """
        if name == "key_group":
            if self._tables.by_group_policy:
                return self._types.standing
            column = self.key_time("group_id") if self.has_keys else None
        else:
            column = self.media_time(name)
        if column is None or name in {"key_group", "virtual_key_id"}:
            return column and f'({column}::text COLLATE "C")'
        return f"""nullif(lower(btrim({column}::text) COLLATE "C"), '')"""

    def rule_kind(self, name: str) -> str:
        """The type of that column."""
        if name == "key_group" and self._tables.by_group_policy:
            return "text"
        return self._types.keys["group_id"].kind if name == "key_group" else self._kind(name)

    def media_time(self, field: str) -> str | None:
        """The stored column, for conditions that an index can answer; None where absent."""
        return f"m.{quoted(getattr(self._tables.media, field))}" if field in self._types.media else None

    def media_type(self, field: str) -> str:
        """The column's type, as a cast names it."""
        return self._types.media[field].sql

    def key_time(self, field: str) -> str | None:
        return f"k.{quoted(getattr(self._tables.keys, field))}" if field in self._types.keys else None

    def until(self, parameter: str, *, media: str = "", keys: str = "") -> str:
        """SQL: whether a column holds a plausible time, up to that timestamptz. False or NULL where not.

        It compares the stored column, so that an index can answer. It is true exactly where the time that
        `columns` reads from it is not NULL and not later.
        """
        column = self.media_time(media) if media else self.key_time(keys)
        kind = self._types.media[media].kind if media else self._types.keys[keys].kind
        assert column is not None
        low = self.times.earliest(kind)
        return f"({column} >= {low} AND {column} <= {self.times.bound(parameter, kind)})"

    @property
    def created(self) -> str:
        """When the row was made; NULL where that is unknown."""
        return self._media("created_at")

    @property
    def expires(self) -> str:
        """When the media ends; NULL where it does not."""
        return self._media("expires_at")

    def moment_of(self, field: str, parameter: str) -> str:
        """A timestamptz as the column of that field has it."""
        return self.times.bound(parameter, self._kind(field))

    @property
    def key_hash_type(self) -> str:
        """The type of the hash of a virtual key, as a cast names it."""
        return self._types.keys["key_hash"].sql

    def _media(self, field: str) -> str:
        column = self.media_time(field)
        return "NULL::timestamptz" if column is None else self.times.moment(column, self._kind(field))

    def _kind(self, field: str) -> str:
        return self._types.media[field].kind

    @property
    def owner_expires(self) -> str:
        """The time at which the key ends; NULL where it does not."""
        column = self.key_time("expires_at")
        if column is None:
            return "NULL::timestamptz"
        return self.times.moment(column, self._types.keys["expires_at"].kind)

    @property
    def accessed(self) -> str:
        """NULL means never accessed. An implausible time is unknown, and so are rows without such a column:
        they count as accessed at the end of time, which protects them.
        """
        column = self.media_time("last_accessed_at")
        if column is None:
            return END_OF_TIME
        read = f"coalesce({self._media('last_accessed_at')}, {END_OF_TIME})"
        return f"CASE WHEN {column} IS NOT NULL THEN {read} END"

    def _record_columns(self) -> str:
        return ", ".join(
            (
                f"{self.identity.text} AS id",
                f"{self.key_text} AS storage_key",
                f"{self.owner_id}::text AS virtual_key_id",
                *self._owner_columns(),
                f"{self._size} AS size_bytes",
                f"{self._media('created_at')} AS created_at",
                f"{self._media('expires_at')} AS expires_at",
                f"{self.accessed} AS last_accessed_at",
                f"{self._media('deleted_at')} AS deleted_at",
                f"{self._version()} AS version",
                *(f"{self.rule_value(name) or 'NULL::text'} AS {name}" for name in FOLDED),
            )
        )

    def _owner_columns(self) -> tuple[str, ...]:
        """The owner's columns. Without a table of keys each owner exists, and never ends."""
        if not self.has_keys:
            return (
                f"{self.owner_id}::text AS owner_id",
                "true AS owner_enabled",
                "NULL::timestamptz AS owner_expires_at",
                "NULL::timestamptz AS owner_disabled_since",
                "NULL::text AS owner_group",
            )
        return (
            f"{self.key_id}::text AS owner_id",
            f"{self.key_enabled} AS owner_enabled",
            f"{self.owner_expires} AS owner_expires_at",
            f"CASE WHEN NOT {self.key_enabled} THEN r.first_seen_at END AS owner_disabled_since",
            f"{self.rule_value('key_group') or 'NULL::text'} AS owner_group",
        )

    def _version(self) -> str:
        """A hash of what a verdict or a rule reads, with the owner's state. It covers texts, which need the
        session's fixed time zone and date style. Counters and sizes are no part of it (R-26).
        """
        parts = [self.key_text, self.owner_id]
        if self.has_keys:
            parts += [f"({self.key_id} IS NOT NULL)", self.key_enabled]
        read = [field for field in READ_COLUMNS if field != "virtual_key_id"]
        parts += [column for field in read if (column := self.media_time(field))]
        parts += [column for field in ("expires_at", "group_id") if (column := self.key_time(field))]
        parts += [self._types.standing] if self._types.standing else []
        return f"encode(sha256(convert_to(ROW({', '.join(parts)})::text, 'UTF8')), 'hex')"


def _counts(media_where: Sequence[tuple[str, str]], alias: str = "m") -> str:
    """SQL: whether a row of the media table counts, by the bytes of each column's text."""
    each = (f'{alias}.{quoted(column)}::text COLLATE "C" = {literal(value)}' for column, value in media_where)
    return " AND ".join(each) or "true"


def record_from(row: asyncpg.Record) -> Record:
    """One row of `MediaTables.columns`."""
    owner = None
    if row["owner_id"] is not None:
        owner = VirtualKey(
            id=row["owner_id"],
            enabled=row["owner_enabled"],
            expires_at=row["owner_expires_at"],
            disabled_since=row["owner_disabled_since"],
            group=row["owner_group"],
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
        media_type=row["media_type"],
        provider=row["provider"],
        model=row["model"],
    )


def by_key(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The rows that name each key."""
    grouped: dict[str, list[Record]] = {}
    for record in records:
        grouped.setdefault(record.storage_key, []).append(record)
    return grouped
