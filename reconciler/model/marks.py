"""Marks, the decisions about them, and claims."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from reconciler.model.control import Hold
from reconciler.model.deletion import Refusal
from reconciler.model.enums import DeleteMode, PassKind, Word
from reconciler.model.passes import PassState, TrippedPass
from reconciler.model.store import BY_STORE
from reconciler.model.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The durable intention to delete one storage key, with what was seen of it.

    `variant_of` is the storage key of the record, itself to be deleted, that names this object in a further
    column. `owners` are the virtual keys of the rows that named it when it was claimed. `nominated`: what was
    seen of it is an inventory's word, days old, which a HEAD has to confirm before anything goes.
    """

    storage_key: str
    verdict: Verdict
    reason: str
    bytes: int
    pass_id: int
    object_etag: str | None
    object_last_modified: datetime | None
    first_seen_at: datetime
    last_seen_at: datetime
    sightings: int
    due_at: datetime
    variant_of: str | None = None
    owners: tuple[str, ...] = ()
    nominated: bool = False

    @property
    def by_store(self) -> bool:
        """Of a record whose object the store expired by itself."""
        return self.verdict is Verdict.DANGLING and self.reason.startswith(BY_STORE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRef:
    """A row that a claim decided to remove, and the version it decided on."""

    id: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Decision: delete the key. `delete_object` is False if another row still needs the object.

    `verify_absence` True: there must be no object (dangling); the rows are removed only after a HEAD 404.
    """

    records: tuple[RecordRef, ...] = ()
    delete_object: bool = True
    verify_absence: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Decision: the mark no longer holds; it is removed and the ledger says why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Postpone:
    """Decision: not now; look at the mark again later. Neither moves the due time nor disarms it."""

    reason: str


Decision: TypeAlias = Remove | Cancel | Postpone


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedKey:
    """One key of a claim: the mark as it was, and the decision about it."""

    mark: Mark
    decision: Remove
    attempts: int = 0
    mode: DeleteMode = DeleteMode.DIRECT
    quarantine_key: str | None = None
    """The copy's key, named by the operation that claimed the key first, so that a repetition finds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Up to 1,000 keys claimed under one operation id; its intent is in the ledger.

    `xid` was assigned after the claim's commit: without triggers the delete waits until the horizon has
    passed it, when every writer that could not see the claim has ended. `taken` is how many marks the
    claim looked at, including those cancelled or put off: 0 means that nothing is due, and only then is
    the collector finished. `tripped` are passes whose marks it would not take, because they were above the
    caps. `refused` are keys whose rows the database would not let go when that was tried.
    """

    operation_id: UUID
    epoch: int
    xid: int
    keys: tuple[ClaimedKey, ...]
    taken: int = 0
    cancelled: int = 0
    postponed: int = 0
    tripped: tuple[TrippedPass, ...] = ()
    refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DueKey:
    """A due mark in a dry run: what would be deleted. `seen` is True if a dry run reported it before."""

    mark: Mark
    decision: Remove
    seen: bool


class MarkState(Word):
    """The state of a mark, as an operator sees it. The first that applies."""

    CLAIMED = "claimed"
    """Taken by the collector: it is being deleted, and nothing holds it back any more."""
    HELD = "held"
    """Kept for as long as a hold is in force."""
    REFUSED = "refused"
    """The database does not let its rows go, so its object stays too. Tried again at growing intervals."""
    UNRELEASED = "unreleased"
    """Its pass is running, or the breaker did not let it through."""
    WAITING = "waiting"
    """Not yet due, put off, or a dangling record that a second sweep has to see."""
    DUE = "due"
    """The next claim may take it, once every transaction that was open at its pass's end has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMark:
    """A mark with its context, for people. `hold` is one of those in force on its key.

    `not_before` is the time until which it is put off, or its claim is repeated; `attempts` counts those.
    `last_error` is what database or store said at the last attempt, `refusals` how often the database
    did not let its rows go.
    """

    mark: Mark
    state: MarkState
    kind: PassKind
    pass_state: PassState
    hold: Hold | None = None
    not_before: datetime | None = None
    attempts: int = 0
    refusals: int = 0
    last_error: str | None = None
    operation_id: UUID | None = None
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkFilter:
    """Selects marks: those that match all of it; None matches every mark.

    A pass also stands for the tripped passes that it took in: they are, or were, decided with it.
    """

    verdict: Verdict | None = None
    state: MarkState | None = None
    prefix: str = ""
    pass_id: int | None = None
