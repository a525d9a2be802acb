"""Where the gateway keeps its rows."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from reconciler.settings import identifiers, values
from reconciler.settings.types import (
    Column,
    Columns,
    NoColumn,
    NoTable,
    Section,
    Table,
    written,
)


class MediaColumns(Section):
    """Columns of the media table; the defaults are the gateway's own PascalCase names.

    All but the first two may be set to nothing (`""`) where the table has no such column.
    """

    id: Columns = "Id"
    """Primary key: one column, or several with commas between them (`id,created_at`). Where the named columns
    are not unique, the primary key that includes them is the id."""
    storage_key: Column = "StorageKey"
    """The object's key in the bucket."""
    virtual_key_id: NoColumn = "VirtualKeyId"
    """The owner: the id of a virtual key. Only without a table of keys may it be set to nothing."""
    size_bytes: NoColumn = "SizeBytes"
    """The object's size in bytes; may be NULL or 0."""
    created_at: NoColumn = "CreatedAt"
    """When the row was made; NULL protects, and without the column every row is protected."""
    expires_at: NoColumn = "ExpiresAt"
    """When the media expires; never, where it is NULL or no time."""
    last_accessed_at: NoColumn = "LastAccessedAt"
    """Last access; NULL means never accessed, and a value that is no time (year 1, infinity) protects.
    Without the column nothing is ever stale."""
    deleted_at: NoColumn = "DeletedAt"
    """Soft deletion; used where the table has this column."""
    media_type: NoColumn = "MediaType"
    """The kind of media, a column of any type. Where the table has this column, storage is counted by it, and
    rules of retention may match it."""
    provider: NoColumn = "Provider"
    """Who made the media; used like `media_type`."""
    model: NoColumn = "Model"
    """What made the media, a column of any type. Rules of retention may match it where the table has it."""
    content_hash: NoColumn = ""
    """The MD5 of the object's bytes, 32 hexadecimal digits; other hashes are not compared. Map it only where
    the store's ETags are MD5s: of objects put in one part, and not encrypted with SSE-KMS or SSE-C. Default:
    none, and only sizes are compared."""
    access_count: NoColumn = "AccessCount"
    """How often the media was accessed, which the media service writes. Used where the table has this
    column."""


class KeyColumns(Section):
    """Columns of the virtual keys' table; the defaults are the gateway's own PascalCase names."""

    id: Column = "Id"
    """Primary key: an integer type, numeric, uuid or text; one column."""
    is_enabled: Column = "IsEnabled"
    """Whether the key may be used: boolean, or a number that is not 0."""
    expires_at: NoColumn = "ExpiresAt"
    """When the key expires; NULL never."""
    group_id: NoColumn = "VirtualKeyGroupId"
    """The group that the key belongs to, a column of any type. Rules of retention may match it where the
    table has this column."""
    key_hash: NoColumn = "KeyHash"
    """The SHA-256 of the key, in lower-case hexadecimal digits: by it the media service knows who asks. Used
    where the table has this column."""


class CatalogSettings(Section):
    """Where the gateway keeps its rows. Names are written as Postgres stores them, unquoted."""

    media_table: Table = "MediaRecords"
    """The media table, `table` or `schema.table`. Default: the gateway's own."""
    keys_table: NoTable = "VirtualKeys"
    """The virtual keys' table, `table` or `schema.table`. Default: the gateway's own. Empty where there is
    none: then nothing is ownerless or revoked, and `MEDIA_COLUMNS__VIRTUAL_KEY_ID` may be empty too."""
    media_where: Annotated[dict[str, str], written(identifiers.row_filter)] = Field(default_factory=dict)
    """Rows that count, by the value of a column: `MEDIA_WHERE__bucket_id=avatars` where two buckets share a
    table. Rows of another value name another bucket's objects: they are neither read nor missing their
    objects, and protect nothing here. Default: every row."""
    variant_columns: Annotated[tuple[str, ...], written(identifiers.columns)] = ()
    """Columns of the media table that name further objects: a JSON list such as `["ThumbnailKey"]`. Such an
    object is kept as long as a row names it, and is deleted with that row."""
    also_referenced: Annotated[tuple[str, ...], written(identifiers.references)] = ()
    """Columns of any table or view that name objects: a JSON list of `schema.table.column`, such as
    `["app.users.avatar"]`. An object that any of them names is kept, whatever happens to its record."""
    media_columns: MediaColumns = MediaColumns()
    key_columns: KeyColumns = KeyColumns()
    time_zone: Annotated[str | None, written(values.time_zone)] = None
    """The place whose time columns without a zone (`timestamp`, `date`) have, such as `America/New_York`.
    Default: UTC, as most programs write them; `doctor` warns where the database's own is another one."""
    epoch_unit: Annotated[Literal["s", "ms", "us"] | None, written(values.unit)] = None
    """The unit of times that are stored as numbers since 1970. No default, since a wrong guess misreads every
    one; required only where such a column is mapped."""

    @model_validator(mode="after")
    def _keys_have_owners(self) -> Self:
        if self.keys_table and not self.media_columns.virtual_key_id:
            raise ValueError(
                "MEDIA_COLUMNS__VIRTUAL_KEY_ID is empty: name the column that says whose a record is, or set"
                " RECONCILER_CATALOG__KEYS_TABLE to nothing as well"
            )
        return self
