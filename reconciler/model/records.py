"""The database's side: rows and their owners."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.model.quotas import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualKey:
    """The state of a record's owner, as far as a verdict or a rule reads it.

    `disabled_since` is the first pass that saw it disabled; None while enabled or never seen so.
    """

    id: str
    enabled: bool
    expires_at: datetime | None
    disabled_since: datetime | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row of the media table, as far as a verdict or a rule reads it.

    `id` and `virtual_key_id` are the columns' text form. `owner` is None if no such virtual key exists.
    `media_type`, `provider` and `model` are `folded`, None where the row has none. `version` is a hash of all
    columns that a verdict or a rule reads. `usage` is there where it was asked for, and a quota counts the
    row.
    """

    id: str
    storage_key: str
    virtual_key_id: str | None
    owner: VirtualKey | None
    size_bytes: int | None
    created_at: datetime | None
    expires_at: datetime | None
    last_accessed_at: datetime | None
    deleted_at: datetime | None
    version: str
    media_type: str | None = None
    provider: str | None = None
    model: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Departed:
    """A note that a row left the media table, at the server's time. `storage_key` None: all of them did, by
    TRUNCATE. `row_kept`: the row's text is kept with the note, for an undo.
    """

    id: int
    storage_key: str | None
    left_at: datetime
    virtual_key: str | None
    row_kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a row says of its object's bytes. `content_hash` as text; None where there is none."""

    storage_key: str
    virtual_key_id: str | None
    size_bytes: int | None
    content_hash: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A further object of a record that goes. `names`: how often rows name it in such columns, in total."""

    storage_key: str
    variant_of: str
    names: int


def owners_of(rows: Iterable[Record]) -> tuple[str, ...]:
    """The virtual keys that the rows name, each once."""
    return tuple(sorted({row.virtual_key_id for row in rows if row.virtual_key_id is not None}))


def reference_to(key: str) -> Record:
    """Stands for a row of another table that names the object: nothing is known of it, so it stays."""
    return Record(
        id="",
        storage_key=key,
        virtual_key_id=None,
        owner=None,
        size_bytes=None,
        created_at=None,
        expires_at=None,
        last_accessed_at=None,
        deleted_at=None,
        version="",
    )


class MediaSort(StrEnum):
    """By what rows are listed; what a row does not say comes first."""

    STORAGE_KEY = "storage_key"
    CREATED_AT = "created_at"
    LAST_ACCESSED_AT = "last_accessed_at"
    SIZE_BYTES = "size_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFilter:
    """Selects rows: those that match all of it; None matches every row. From `since` on, before `until`."""

    prefix: str = ""
    virtual_key_id: str | None = None
    media_type: str | None = None
    provider: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRow:
    """A row in a list, and its place in it: what the list is sorted by, as text."""

    record: Record
    place: str
