"""The database's half of the deletion protocol, and the holds that exempt a key from it."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from reconciler import model

Decide = Callable[[model.Mark, Sequence[model.Record], datetime], model.Decision]
"""Asked in the middle of a transaction, and pure. Given the mark, every row that names its key now, and the
server's time."""

Cap = Callable[[model.Backlog, Mapping[model.PassKind, model.Tally]], Mapping[model.PassKind, str]]
"""The same. Given the batch (`pending`) with what was claimed in 24 h (`gone`), and what the last released
pass of each kind saw. Returns why the marks of a kind must not be claimed now."""


Ended = Callable[[datetime, datetime, datetime], bool]
"""The same. Given when a pass was approved, from when on a mark of it could go, and the server's time:
whether the approval does not count any more for that mark."""


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """Which marks to claim, at most how many, who decides about each and about them all, and which approvals
    have ended. `departed_first`: what has departed is claimed before all else, whenever it was due.
    """

    policy: model.Policy
    verdicts: Sequence[model.Verdict]
    limit: int
    decide: Decide
    cap: Cap
    ended: Ended = lambda *_: False
    departed_first: bool = False


class Marks(Protocol):
    """Marks and the ledger: the database's half of the deletion protocol."""

    async def claim(self, term: model.Term, wanted: ClaimRequest) -> model.Claim:
        """Protocol step 2, in one short transaction. Empty (`taken` 0) when nothing claimable is due.

        Removing the rows is tried and rolled back: keys whose rows the database does not let go are
        `refused`, and tried again later and later. A mark that cannot be read or decided is put off alone.
        Passes that the cap objects to trip, except approved ones, and so do those whose approval has ended:
        nothing of them is taken. Raises LeaseLost,
        and Halt if the database does not know the term's `seal`.
        """
        ...

    async def rescue(self, term: model.Term, longest_call: timedelta, limit: int) -> model.Claim | None:
        """A claim to roll forward, taken over under this term.

        Of this epoch: a claim whose `not_before` has passed. Of a dead epoch: once its last call to the store
        must have ended, `longest_call` after this term began or after an attempt known to have failed.
        """
        ...

    async def let_go(self, term: model.Term) -> None:
        """Make what this term claimed and has not settled `unfinished` at once: no worker has it any more.

        Keys that failed still wait for their `not_before`.
        """
        ...

    async def horizon_passed(self, xid: int) -> bool:
        """Whether every transaction that was open at `xid` has ended."""
        ...

    async def guarded(self) -> bool:
        """Whether the triggers hold: every open writer has locked its marks, or was refused.

        Then only the rows read after this answer can name a claimed key, and the horizon need not be
        waited for.
        """
        ...

    async def look_again(
        self, claim: model.Claim, decide: Decide, policy: model.Policy, *, guarded: bool
    ) -> Mapping[str, str]:
        """The claim's keys to spare after all, with the reason; this includes keys put on hold by now.

        If the policy says that the store rewrites keys, rows whose key it takes for the claimed one count
        too; unless the triggers have `guarded` the claim, so do rows that spell it otherwise (R-99).
        """
        ...

    async def confirm(
        self,
        term: model.Term,
        claim: model.Claim,
        results: Mapping[str, tuple[model.ObjectResult, str]],
        decide: Decide,
        upload_window: timedelta,
        hidden: Mapping[str, model.Hidden] | None = None,
    ) -> model.Removed:
        """Protocol step 4: ledger, rows (by id and version, in savepoints), tombstones, marks.

        FAILED keys stay claimed with a growing `not_before`; so does a key that cannot be recorded. The
        operation id must still be ours. If the database refuses to delete a row after all, its object is
        queued to come back if it can.
        `hidden` says by storage key where objects still are. They are recorded as recoverable if the
        object was deleted, and as left over if it stayed.
        """
        ...

    async def extend(self, claim: model.Claim) -> None:
        """Record that the claim is being worked on, so that it is not taken for an abandoned one."""
        ...

    def due(
        self, policy: model.Policy, verdicts: Sequence[model.Verdict], decide: Decide, page_size: int = 1000
    ) -> AsyncIterator[Sequence[model.DueKey]]:
        """Dry run: every claimable mark once, in key order, as a claim would decide it; claims nothing."""
        ...

    async def note_preview(self, term: model.Term, keys: Sequence[str]) -> None:
        """Remember that a dry run has reported these marks."""
        ...

    async def waiting(self, policy: model.Policy, verdicts: Sequence[model.Verdict]) -> model.Waiting:
        """Released marks of these verdicts that no claim could take now.

        That is: not yet due, put off, claimed, or dangling and seen once; but not what is on hold.
        """
        ...

    async def abandoned(self, term: model.Term) -> int:
        """Keys claimed under another epoch that this program can roll forward and that have not been yet."""
        ...

    async def drift(self) -> Mapping[model.Verdict, tuple[int, int, datetime | None]]:
        """Marks by verdict: count, bytes, first sighting of the oldest."""
        ...

    async def refused(self) -> model.RefusedMarks:
        """Marks that cannot be carried out, because the database does not let their rows go."""
        ...

    async def require_rights(self, *, undoable: bool) -> None:
        """Raise Halt if this role lacks a right that deleting needs, or bringing back if `undoable`."""
        ...

    async def blocked_by(self) -> str | None:
        """What holds the horizon back, in words (pid, application, since), for the log."""
        ...

    async def held_back_by(self) -> str | None:
        """The same if a pass or a claim waits for it; None if none does."""
        ...

    async def purge(self) -> None:
        """Drop tombstones and holds that are past their end."""
        ...


class Holds(Protocol):
    """Deliberate keeps. A claim reads them after locking its marks, so that none slips in between."""

    async def add(self, holds: Sequence[model.Hold]) -> Sequence[str]:
        """Put these in force, however many. A hold given again by its author takes the new reason and end,
        except that one with a `pass_id`, which the program makes, never shortens an existing one.

        Returns the keys under them that are already claimed or being purged, ascending: those may still be
        deleted. No other key is claimed while the hold is in force. Raises NotDone for an impossible target
        (a virtual key's id of another type than the table's).
        """
        ...

    async def on(self, kind: model.HoldKind, targets: Sequence[str]) -> Sequence[model.Hold]:
        """The holds in force on these very targets, by target and author."""
        ...

    async def remove(
        self, kind: model.HoldKind, targets: Sequence[str], author: str | None = None, *, by: str = ""
    ) -> int:
        """Lift the holds on these targets, by any author unless `author` is given. Returns how many.

        `by`, if given, is recorded in the ledger.
        """
        ...

    async def remember(self) -> None:
        """Note which keys the rows of virtual keys on hold name: they are kept whatever becomes of the rows.

        `add` does it too; each pass does it again, for rows that were added since.
        """
        ...

    async def lift(self, wanted: model.HoldFilter, *, by: str = "") -> int:
        """Lift every hold that matches the filter. Returns how many; otherwise as `remove`."""
        ...

    async def page(
        self, wanted: model.HoldFilter | None = None, after: model.Hold | None = None, limit: int = 1000
    ) -> Sequence[model.Hold]:
        """Holds in force that match the filter, by kind, target and author, starting after `after`."""
        ...

    async def held(self, keys: Sequence[str]) -> Mapping[str, model.Hold]:
        """Those of these storage keys on hold: by key, by prefix, or by the owner of a row that names
        them, or that named them at the hold's beginning or in any pass since.

        Returns one hold for each, however many there are.
        """
        ...

    async def count(self) -> Mapping[model.HoldKind, int]:
        """The number of holds in force, by kind."""
        ...
