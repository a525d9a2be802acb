"""Accounts of the whole database: what is marked, what waits, and what is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from reconciler.model.enums import Mode, PassKind
from reconciler.model.verdicts import Verdict


class StorageBy(StrEnum):
    """The properties by which stored media can be split up."""

    VIRTUAL_KEY = "virtual-key"
    MEDIA_TYPE = "media-type"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePart:
    """The share of one value, or one pair of values, of those asked for. `names` are in the order asked."""

    names: tuple[str, ...]
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenPart:
    """What was deleted and is not freed yet, in another bucket for copies; None is the objects' own."""

    bucket: str | None
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The rows in the managed prefixes: the largest parts by bytes, the rest of them, and how many those are.

    Each row stands for an object. `bytes` is the sum of the sizes that the rows give, at the server's
    time `at`. `prefixes` None: they are not known yet, and every row counts. `hidden` is not among the rows.
    """

    at: datetime
    largest: Sequence[StoragePart]
    other: StoragePart
    other_parts: int = 0
    prefixes: Sequence[str] | None = None
    hidden: Sequence[HiddenPart] = ()

    @property
    def objects(self) -> int:
        return self.other.objects + sum(part.objects for part in self.largest)

    @property
    def bytes(self) -> int:
        return self.other.bytes + sum(part.bytes for part in self.largest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """The tripped pass of a kind to decide about, for all of its kind; `since` is of the first that waits."""

    pass_id: int
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The current state, for the leader and for reports.

    `drift` is by verdict: marks, their bytes, first sighting of the oldest. `by_prefix` is marks and bytes by
    managed prefix and verdict, the prefixes without marks included. `due` are marks that a claim may take or
    has taken, and `oldest_due` is since when the first of them has been due; `due_soon` are those to be due
    within `SOON`, the first of them at `next_due`. `tripped` are the kinds of pass that wait for a person's
    decision; the ranges are those of the running sweep. `hidden` is the objects that can be brought back, and
    the bytes of what was deleted and is not freed; `restores`
    are the keys to be brought back, and `oldest_restore` is since when the first of them has been;
    `departures` are rows that left and that no pass has looked at yet, with the time of the first.
    """

    drift: Mapping[Verdict, tuple[int, int, datetime | None]] = field(default_factory=dict)
    by_prefix: Mapping[str, Mapping[Verdict, tuple[int, int]]] = field(default_factory=dict)
    due: int = 0
    oldest_due: datetime | None = None
    due_soon: Mapping[Verdict, int] = field(default_factory=dict)
    next_due: datetime | None = None
    tripped: Mapping[PassKind, Undecided] = field(default_factory=dict)
    ranges_done: int = 0
    ranges_open: int = 0
    hidden: tuple[int, int] = (0, 0)
    restores: int = 0
    oldest_restore: datetime | None = None
    departures: int = 0
    oldest_departure: datetime | None = None


SOON = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lately:
    """What the ledger says of the last days, by their number: bytes freed, by purges and by deletions that
    cannot be undone, and objects brought back.
    """

    freed: Mapping[int, int]
    restored: Mapping[int, int]


DAYS = (1, 7, 30)
"""The last days that are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """The replica that holds the lease: since when, and until when unless it renews it."""

    holder: str
    epoch: int
    acquired_at: datetime | None
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeSince:
    """The mode of the newest pass, and when the first of the unbroken run of passes in that mode began."""

    mode: Mode
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """The rows made on one day, in UTC, that are still there. `day` None: before, or it is not known when."""

    day: date | None
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The rows in the managed prefixes, added up in every way at once, at the server's time `at`.

    Of each property the largest parts by bytes, the rest of them as one named `other`. `prefixes` None: they
    are not known yet, and every row counts.
    """

    at: datetime
    prefixes: Sequence[str] | None
    objects: int
    bytes: int
    by: Mapping[str, Sequence[StoragePart]]
    days: Sequence[Day]
