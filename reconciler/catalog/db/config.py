"""How to reach the database, and which of its tables and columns are the gateway's."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import timedelta
from urllib.parse import urlsplit

from reconciler.model import READ


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaColumns:
    """Columns of the media table; an empty name says that the schema has no such column.

    `id`, `storage_key` and `virtual_key_id` are always needed. `id` may be several, `id,created_at`; where
    one alone is not unique, the primary key that contains it identifies rows. What an absent column means:

    - `size_bytes`: sizes are unknown (0 in counts).
    - `created_at`: every row is of unknown age, which protects it from *stale* and *dangling*.
    - `expires_at`: nothing expires. `deleted_at`: nothing is soft-deleted.
    - `last_accessed_at`: there is no proof that a row was *not* accessed lately, so none is *stale*.
    - `media_type`, `provider`, `model`: no rule matches by it, and stored media are not broken down by it.
    - `content_hash`: only sizes are compared with the objects'.
    - `access_count`: accesses are not counted.

    The columns of `WHERE_PRESENT` under their default names are used where they exist.
    """

    id: str = "Id"
    storage_key: str = "StorageKey"
    virtual_key_id: str = "VirtualKeyId"
    size_bytes: str = "SizeBytes"
    created_at: str = "CreatedAt"
    expires_at: str = "ExpiresAt"
    last_accessed_at: str = "LastAccessedAt"
    deleted_at: str = "DeletedAt"
    media_type: str = "MediaType"
    provider: str = "Provider"
    model: str = "Model"
    content_hash: str = ""
    access_count: str = "AccessCount"


READ_COLUMNS = tuple(each.name for each in fields(MediaColumns) if each.name in READ)
"""The columns that a verdict or a rule reads, without the key."""

WHERE_PRESENT = frozenset(
    {"deleted_at", "media_type", "provider", "model", "group_id", "key_hash", "access_count"}
)
"""Columns that a schema may lack without being mapped to "": no verdict depends on them unless a rule does,
or only later versions of the gateway have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyColumns:
    """Columns of the virtual keys' table. Without `expires_at` ("") keys do not expire.

    Without `group_id` no rule matches by group, and without `key_hash` nobody who presents a virtual key is
    known; under their default names they are used where they exist.
    """

    id: str = "Id"
    is_enabled: str = "IsEnabled"
    expires_at: str = "ExpiresAt"
    group_id: str = "VirtualKeyGroupId"
    key_hash: str = "KeyHash"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMapping:
    """Which tables are the gateway's: `table` or `schema.table`, as Postgres stores them, unquoted.

    Without `keys_table` ("") media have no owners that end. `media_where` limits the rows that count to those
    with these texts in these columns. `variants` are columns of the media table that name further objects,
    `also_referenced` (`table.column` or `schema.table.column`) columns of any table that do.
    """

    media_table: str = "public.MediaRecords"
    keys_table: str = "public.VirtualKeys"
    media: MediaColumns = field(default_factory=MediaColumns)
    keys: KeyColumns = field(default_factory=KeyColumns)
    media_where: tuple[tuple[str, str], ...] = ()
    variants: tuple[str, ...] = ()
    also_referenced: tuple[str, ...] = ()
    time_zone: str | None = None
    """The IANA name of the time zone of columns without one; None (not declared) means UTC."""
    epoch_unit: str | None = None
    """The unit of numeric time columns, counted since 1970: `s`, `ms` or `us`; None where there are none."""
    by_group_policy: bool = False
    """Rules match how a key's group stands under Conduit's policies, and not the group itself."""

    @property
    def is_default(self) -> bool:
        """Whether it names the gateway's own schema: only that one is ever created by us."""
        default = TableMapping()
        return (
            split_table(self.media_table) == split_table(default.media_table)
            and split_table(self.keys_table) == split_table(default.keys_table)
            and self.media == default.media
            and self.keys == default.keys
            and not (self.media_where or self.variants)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogConfig:
    """One Postgres database, the primary.

    The pool has at most `pool_size` connections; the lease and each staging area have one more each.
    `statement_cache_size` 0 suits a pooler that hands out another server connection for each
    transaction. `url_now` is called before each new connection, where the password may change while the
    program runs; it must not raise. `on_call` is called after each call with its outcome (`ok`, `retried`,
    `failed`) and its duration in seconds, None for an attempt that is repeated.
    """

    database_url: str = field(repr=False)
    url_now: Callable[[], str] | None = field(default=None, repr=False)
    tables: TableMapping = field(default_factory=TableMapping)
    pool_size: int = 10
    statement_timeout: timedelta = timedelta(seconds=60)
    lock_timeout: timedelta = timedelta(seconds=5)
    connect_timeout: timedelta = timedelta(seconds=5)
    statement_cache_size: int = 100
    on_call: Callable[[str, float | None], None] | None = field(default=None, repr=False, compare=False)

    def url(self) -> str:
        """The URL to connect to, with the current password."""
        return self.database_url if self.url_now is None else self.url_now()

    @property
    def where(self) -> str:
        """`host:port/database`, for messages: never the password."""
        parts = urlsplit(self.database_url)
        host = parts.netloc.rpartition("@")[2] or "localhost"
        return f"{host}/{parts.path.lstrip('/')}" if parts.path.strip("/") else host


def split_table(name: str) -> tuple[str, str]:
    """Schema and table of `table` or `schema.table`; without a schema it is `public`."""
    schema, dot, table = name.partition(".")
    return (schema, table) if dot else ("public", name)


def split_columns(names: str) -> tuple[str, ...]:
    """The columns that `id` or `id,created_at` names."""
    return tuple(name.strip() for name in names.split(","))


def quoted(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text as an SQL constant, right under either value of standard_conforming_strings."""
    written = "'" + text.replace("'", "''") + "'"
    return f"E{written}".replace("\\", "\\\\") if "\\" in text else written


def qualified(name: str) -> str:
    """`table` or `schema.table` as an SQL name with its schema."""
    schema, table = split_table(name)
    return f"{quoted(schema)}.{quoted(table)}"


def column_settings(columns: MediaColumns | KeyColumns) -> dict[str, str]:
    """Each mapped column by the name of its field."""
    return {each.name: getattr(columns, each.name) for each in fields(columns)}
