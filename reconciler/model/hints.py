"""Hints: keys that the store's own events name, to be looked at before the next sweep. They prove nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.model.enums import Word
from reconciler.model.verdicts import Verdict


class Reading(Word):
    """What became of a message, or of one event in it."""

    TAKEN = "taken"
    IGNORED = "ignored"
    """Of another bucket, outside the managed prefixes, or not about an object that came or went."""
    UNREADABLE = "unreadable"


class LookResult(Word):
    """What a look at a hinted key came to."""

    SETTLED = "settled"
    """Nothing is wrong, or it is for a pass to judge."""
    WAITS = "waits"
    """It may be wrong later: within its grace, or seen once."""
    FOUND = "found"
    RESTORED = "restored"
    """Its other half can come back, and was queued for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreEvent:
    """One event: an object appeared or was removed, by the store's clock; `at` None where it does not say."""

    storage_key: str
    removed: bool
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMessage:
    """One message of a queue, and by what it is deleted there."""

    body: str
    receipt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """A key to look at. `notes` counts its events, so that one which comes during a look is not lost.

    `verdict` is what the last look would have found, `sightings` how often in a row it did.
    """

    storage_key: str
    appeared: bool
    removed: bool
    notes: int
    verdict: Verdict | None = None
    sightings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a hint came to; `again_at` None: the hint is settled."""

    hint: Hint
    result: LookResult
    reason: str
    again_at: datetime | None = None
    verdict: Verdict | None = None
    sightings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedHint:
    """A hint as `events hints` shows it. `due_at` is when it is looked at next."""

    storage_key: str
    noted_at: datetime
    due_at: datetime
    looked_at: datetime | None
    verdict: Verdict | None
    found: bool
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HintsStanding:
    """How many keys wait to be looked at, and how many of each verdict were found."""

    waiting: int = 0
    found: Mapping[Verdict, int] = field(default_factory=dict)


SIGHTINGS = 2
"""Looks in a row that must see the same before it is told: a store may answer late once."""
