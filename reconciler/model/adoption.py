"""Rows made for objects that have none: what the operator says of them, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from reconciler.model.shapes import KeyShape

__all__ = [
    "CONTENT_TYPE",
    "NO_ADOPTION",
    "Adoptable",
    "Adopted",
    "Adoption",
    "AdoptionTerms",
    "BegunAdoption",
    "Candidate",
    "Described",
    "Left",
    "OwnerFrom",
    "OwnerSource",
    "ValueFrom",
    "ValueSource",
]

CONTENT_TYPE = "ContentType"
"""The gateway's column of the content type, which no verdict reads, so that no setting maps it."""


class OwnerSource(StrEnum):
    """Where it is written whose an object is."""

    METADATA = "metadata"
    TAG = "tag"
    KEY = "key"
    """The first group of a regular expression that the whole key matches."""
    GIVEN = "given"
    """The operator names one owner for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerFrom:
    """One such place: the name of a metadata field or tag, a pattern, or the owner's id."""

    source: OwnerSource
    name: str

    def __str__(self) -> str:
        return f"{self.source}:{self.name}"

    def in_key(self, key: str) -> str | None:
        """What the pattern's first group matches in the key."""
        return KeyShape(self.name).group(key)


class ValueSource(StrEnum):
    """Where the value of a column comes from, that no setting maps."""

    CONTENT_TYPE = "content_type"
    METADATA = "metadata"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueFrom:
    """A column's source: the name of a metadata field, or a constant's text."""

    source: ValueSource
    name: str = ""

    def __str__(self) -> str:
        return str(self.source) if self.source is ValueSource.CONTENT_TYPE else f"{self.source}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionTerms:
    """How objects without a row are adopted. `columns` are by column, and `rate` is in HEADs a second."""

    owner: OwnerFrom | None = None
    columns: Mapping[str, ValueFrom] = field(default_factory=dict)
    rate: float = float("inf")


NO_ADOPTION = AdoptionTerms()


SPELLINGS = 2**62
"""What an adoption notes of spellings is under its number and this: no sweep has such a number, and so none
forgets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunAdoption:
    """An adoption to carry out. `listed`: its candidates are known, from before a restart."""

    id: int
    listed: bool

    @property
    def spellings(self) -> int:
        """The number under which it notes spellings."""
        return SPELLINGS + self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An object without a row, as it was listed."""

    storage_key: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """An object as HEAD shows it. Names of metadata fields are in small letters, `etag` without quotes.

    `tags` are None where they were not asked for.
    """

    size: int
    etag: str
    last_modified: datetime | None
    content_type: str
    metadata: Mapping[str, str]
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoptable:
    """The row to make of an object. `values` are texts of further columns, by name; None is NULL."""

    storage_key: str
    owner: str | None
    size: int
    etag: str
    created_at: datetime
    expires_at: datetime | None
    media_type: str
    provider: str | None
    model: str | None
    content_hash: str | None
    values: Mapping[str, str | None]


class Left(StrEnum):
    """Why an object was not adopted. What follows a colon in a reason is particular to the object."""

    GONE = "gone"
    """It is not in the bucket any more."""
    UNREADABLE = "unreadable"
    """The store refuses to show it."""
    PENDING = "pending"
    """It is younger than the grace period: its row may be on its way."""
    NO_OWNER = "no_owner"
    """Nothing says whose it is."""
    UNKNOWN_OWNER = "unknown_owner"
    """There is no such virtual key."""
    HAS_ROW = "has_row"
    """A row names it by now, or another column does."""
    NEAR_MISS = "near_miss"
    """A row spells its key otherwise."""
    MARKED = "marked"
    """It is to be deleted."""
    CLAIMED = "claimed"
    """It is being deleted."""
    DEPARTED = "departed"
    """Its row left the table."""
    DELETED = "deleted"
    """We have deleted an object of this key."""
    ERASED = "erased"
    """It was erased on request."""
    RESERVED = "reserved"
    """An upload to this key has been announced."""
    UNDONE = "undone"
    """It was adopted before, and that was undone."""
    RETENTION = "retention"
    """Its row would go at the next retention pass."""
    REFUSED = "refused"
    """The table refuses the row."""
    KEPT = "kept"
    """The listing keeps it as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What became of one object. `reason` is "" where it was adopted, or would be in dry run."""

    storage_key: str
    size: int
    reason: str
    owner: str | None = None
    record_id: str | None = None

    @property
    def why(self) -> str:
        """The reason without what is particular to the object."""
        return self.reason.partition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """One pass of adoption. `listed`: all its candidates are known, and `done` of them are settled.

    `left` counts by reason; `passed_over` what the listing kept, by its reasons. `undone` are rows that were
    removed again.
    """

    id: int
    begun_at: datetime
    ended_at: datetime | None
    dry_run: bool
    listed: bool
    candidates: int
    adopted: int
    adopted_bytes: int
    left: Mapping[str, int]
    passed_over: Mapping[str, int]
    undone: int = 0

    @property
    def done(self) -> int:
        return self.adopted + self.undone + sum(self.left.values())
