"""Requests to the store that delete, and its answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ObjectResult(StrEnum):
    """The result for one key of a claim, as the store confirmed it."""

    DELETED = "deleted"
    MISSING = "missing"
    """404 NoSuchKey: already gone, which counts as done."""
    CHANGED = "changed"
    """The object is not the one that was marked; it stays, and so do its rows."""
    PRESENT = "present"
    """A dangling record's object is there after all: the row stays."""
    SPARED = "spared"
    """A row appeared or changed between claim and delete: nothing was sent for this key."""
    UNTOUCHED = "untouched"
    """Nothing was sent, since another row needs the object, of which only the decision's rows go; or since
    a variant that its row names is not there."""
    RECOVERABLE = "recoverable"
    """A dangling record's object is not lost: it is hidden, or on its way. The row stays."""
    HELD = "held"
    """It cannot be deleted (object lock), or not recoverably (no copy of it can be made), however often
    that is tried: it stays, on hold, with its rows."""
    FAILED = "failed"
    """The store refused it or nothing is known: the claim stays and is repeated."""


GONE = frozenset({ObjectResult.DELETED, ObjectResult.MISSING})
"""Results after which the object is known to be gone."""

STAYED = frozenset(
    {
        ObjectResult.CHANGED,
        ObjectResult.PRESENT,
        ObjectResult.SPARED,
        ObjectResult.RECOVERABLE,
        ObjectResult.HELD,
    }
)
"""Results after which a key that was due stays, although its mark is gone."""


class Blame(StrEnum):
    """Why something FAILED, by what has to be done about it."""

    MOMENT = "moment"
    """Nothing is known, or no answer came this time: put off, and tried again at growing intervals."""
    KEY = "key"
    """The store refuses this key, and answers for its own marker: put off, and on hold if it continues."""
    OBJECT = "object"
    """Asking again certainly changes nothing: on hold at once."""
    STORE = "store"
    """The store has no room, or no key to encrypt with: put off, never on hold; many in a row halt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A request to delete one object. `etag` None: unconditionally."""

    key: str
    etag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionResult:
    """The store's answer for one key. If it FAILED, `detail` is the store's code and message.

    `held_until`: when what is HELD is free again, if the store says so. `blame`: the cause of what FAILED.
    """

    key: str
    result: ObjectResult
    detail: str = ""
    held_until: datetime | None = None
    blame: Blame = Blame.MOMENT
    marker_id: str | None = None
    """The id of the delete marker that the store made instead of deleting anything."""


REASONS_TOLD = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A key that is not deleted, and what database or store said."""

    storage_key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Released marks that no claim could take now. `unseen`: those that have to be seen missing once more;
    `due_at`: when the first of the others that wait for a time is due.
    """

    marks: int = 0
    unseen: int = 0
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedMarks:
    """Marks whose rows the database does not let go, by the state of their objects, and a few of them.

    `kept`: the object is there. `gone`: deleted before that was known, and cannot come back by itself.
    """

    kept: int = 0
    gone: int = 0
    examples: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """The counts of a claim's confirmation: what store *and* database confirmed. Adds up.

    `lost` are rows that became live after their object was gone: recorded, kept, and alarming. `reasons`
    says why keys were not deleted, for the first few.
    """

    objects: int = 0
    records: int = 0
    bytes: int = 0
    failed: int = 0
    lost: int = 0
    reasons: tuple[Refusal, ...] = ()

    def __add__(self, other: Removed) -> Removed:
        return Removed(
            objects=self.objects + other.objects,
            records=self.records + other.records,
            bytes=self.bytes + other.bytes,
            failed=self.failed + other.failed,
            lost=self.lost + other.lost,
            reasons=(self.reasons + other.reasons)[:REASONS_TOLD],
        )
