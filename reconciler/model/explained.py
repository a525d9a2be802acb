"""What is known of one key, and what the rules say of it: now, and when time alone changes that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.model.control import Hold, Pause
from reconciler.model.enums import DeleteMode, KeepReason, Mode
from reconciler.model.history import KeyHistory
from reconciler.model.objects import StoredObject
from reconciler.model.records import Departed, Record
from reconciler.model.recovery import Version
from reconciler.model.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectLock:
    """Why a version stays, in words. `until` None: a legal hold, which lasts until a person lifts it."""

    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NearKey:
    """Another key that may be meant, or spells this one otherwise: with its object, or named by a row."""

    storage_key: str
    object: StoredObject | None = None
    row: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a pass would see of one key, on both sides, and what keeps it besides the rules.

    `named` are the further columns that name it; where that is the reservation of an upload alone,
    `reserved_until` is its end. `recoverable`: an object of the key is hidden and can come
    back. `row_missing`: its row was removed for want of the object. `departed`: why its mark says so, or a
    pass would, if its row left the table. `hold` is one of those in force.
    """

    key: str
    object: StoredObject | None = None
    rows: Sequence[Record] = ()
    near: Sequence[NearKey] = ()
    named: Sequence[str] = ()
    reserved_until: datetime | None = None
    recoverable: bool = False
    row_missing: bool = False
    departed: str | None = None
    hold: Hold | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a pass says at one moment. It goes with a `verdict` and without `kept`; neither: nothing is found,
    and it stays.
    """

    verdict: Verdict | None = None
    kept: KeepReason | None = None
    reason: str

    @property
    def goes(self) -> bool:
        return self.verdict is not None and self.kept is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a pass would say now, and from `changes_at` on; None: time alone changes nothing."""

    now: Judgement
    changes_at: datetime | None = None
    then: Judgement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSeen:
    """One verdict's rule: whether it holds, or from when on, by time alone; and what it compares.

    `reason` has the values compared: now, where it holds, or as they will be at `holds_from`; empty where it
    never will by itself. `switched_off`: nothing is done about it while the settings stay.
    """

    verdict: Verdict
    holds: bool
    reason: str
    holds_from: datetime | None
    switched_off: bool
    compared: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSeen:
    """A row that names the key, what its rules say, and what becomes of it. `rule`: the rule of retention
    that holds for it, by name; None: the global settings do.
    """

    record: Record
    rule: str | None
    rules: Sequence[RuleSeen]
    outlook: Outlook


@dataclass(frozen=True, slots=True, kw_only=True)
class Returnable:
    """What was deleted and can be brought back until the purge, which comes after `until`, and not while a
    hold keeps it. An object, or the row `record_id`.
    """

    record_id: str | None
    mode: DeleteMode | None
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One key's whole story. `versions` None: they cannot be listed, and `unseen` says why, as it does for
    all else that could not be looked at.
    """

    at: datetime
    mode: Mode
    """The leader's; without one, that of the settings here."""
    pause: Pause
    seen: Seen
    versions: Sequence[Version] | None
    lock: ObjectLock | None
    rows: Sequence[RowSeen]
    rules: Sequence[RuleSeen]
    """Those of an object that no row names."""
    outlook: Outlook
    history: KeyHistory
    departures: Sequence[Departed]
    """Rows that named it and left the table, of which no departure pass has taken note yet."""
    returnable: Sequence[Returnable]
    unseen: Sequence[str] = field(default=())
    leader: str | None = None
    """Whose mode it is; None where no replica says that it leads."""

    @property
    def known(self) -> bool:
        """Whether anything is, or was, under this very key."""
        seen = self.seen
        here = seen.object or seen.rows or seen.named
        return bool(here or self.versions or self.departures or self.history.known)
