"""The database's half of the deletion protocol, and what keeps a key from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.model import (
    Claim,
    DueKey,
    Hidden,
    Hold,
    HoldFilter,
    HoldKind,
    ObjectResult,
    Policy,
    RefusedMarks,
    Removed,
    Term,
    Verdict,
)
from reconciler.ports.deciding import Cap, Decide


class Marks(Protocol):
    """Marks and the ledger: the database's half of the deletion protocol."""

    async def claim(
        self,
        term: Term,
        policy: Policy,
        verdicts: Sequence[Verdict],
        limit: int,
        decide: Decide,
        cap: Cap,
    ) -> Claim:
        """Protocol step 2, one short transaction. Empty (`taken` 0) when nothing claimable is due.

        The removal of the rows is tried, and rolled back: keys whose rows the database does not let go are
        `refused`, and tried again later and later. A mark that cannot be read, or decided, is put off alone.
        Passes that `cap` objects to trip, but for approved ones: nothing of them is taken. Raises
        LeaseLost, and Halt where the database does not know the term's `seal`.
        """
        ...

    async def unfinished(self, term: Term, longest_call: timedelta, limit: int) -> Claim | None:
        """A claim to roll forward, taken over under this term.

        Of this epoch with its `not_before` behind. Of a dead epoch once its last call to the store must have
        ended: `longest_call` after this term began, or after an attempt that is known to have failed.
        """
        ...

    async def let_go(self, term: Term) -> None:
        """What this term claimed and has not settled is `unfinished` at once: nobody has it in hand any more.

        Keys that failed still wait for their `not_before`.
        """
        ...

    async def horizon_passed(self, xid: int) -> bool:
        """Whether every transaction that was open at `xid` has ended."""
        ...

    async def guarded(self) -> bool:
        """Whether the triggers hold: who is open now has locked its marks, or was refused.

        Then the rows read after this answer are all that can name a claimed key, and the horizon
        need not be waited for.
        """
        ...

    async def look_again(
        self, claim: Claim, decide: Decide, *, rewrites_keys: bool = False
    ) -> Mapping[str, str]:
        """The claim's keys that must be spared after all, with the reason; those on hold by now included.

        `rewrites_keys` as in `Policy`: rows whose key the store takes for the claimed one count too.
        """
        ...

    async def confirm(
        self,
        term: Term,
        claim: Claim,
        results: Mapping[str, tuple[ObjectResult, str]],
        decide: Decide,
        upload_window: timedelta,
        hidden: Mapping[str, Hidden] | None = None,
    ) -> Removed:
        """Protocol step 4: ledger, rows (by id and version, in savepoints), tombstones, marks.

        FAILED keys stay claimed with a growing `not_before`; one that cannot be written down, too. The
        operation id must still be ours. Where the database does not let a row go after all, its object is
        queued to come back, if it can.
        `hidden` says by storage key where objects still are: they are written down as recoverable
        where the object went, and as left over where it stayed.
        """
        ...

    async def extend(self, claim: Claim) -> None:
        """Say that the claim is being worked on, so that it is not taken for one that was left."""
        ...

    def due(
        self, policy: Policy, verdicts: Sequence[Verdict], decide: Decide, page_size: int = 1000
    ) -> AsyncIterator[Sequence[DueKey]]:
        """Dry run: every claimable mark once, in key order, as a claim would decide it; not claimed."""
        ...

    async def note_preview(self, term: Term, keys: Sequence[str]) -> None:
        """Remember that a dry run has reported these marks."""
        ...

    async def waiting(self, policy: Policy, verdicts: Sequence[Verdict]) -> int:
        """Armed marks of these verdicts that no claim could take now.

        That is: not yet due, put off, claimed, or dangling and seen once; but not what is on hold.
        """
        ...

    async def abandoned(self, term: Term) -> int:
        """Keys claimed under another epoch that this program can roll forward and nobody has yet."""
        ...

    async def drift(self) -> Mapping[Verdict, tuple[int, int, datetime | None]]:
        """Marks by verdict: count, bytes, first sighting of the oldest."""
        ...

    async def refused(self) -> RefusedMarks:
        """Marks that cannot be carried out, because the database does not let their rows go."""
        ...

    async def require_rights(self, *, undoable: bool) -> None:
        """Raise Halt where this role lacks a right that deleting takes, or bringing back where `undoable`."""
        ...

    async def blocked_by(self) -> str | None:
        """What holds the horizon back, in words (pid, application, since), for the log."""
        ...

    async def held_back_by(self) -> str | None:
        """The same where a pass or a claim waits for it; None where none does."""
        ...

    async def purge(self) -> None:
        """Drop tombstones and holds past their end."""
        ...


class Holds(Protocol):
    """What is deliberately kept. A claim reads them after it has locked its marks: none slips in between."""

    async def add(self, holds: Sequence[Hold]) -> Sequence[str]:
        """Put these in force, however many; one again, by the same author, takes the newer reason and end.
        One with a `pass_id`, which the program makes, shortens none that is there.

        Returns the keys under them that are claimed already, or being purged, ascending: those may still go.
        Of every other key it is certain that it is not claimed while the hold is in force. Raises NotDone
        for a target that cannot be one (a virtual key's id of another type than the table's).
        """
        ...

    async def remove(
        self, kind: HoldKind, targets: Sequence[str], author: str | None = None, *, by: str = ""
    ) -> int:
        """Lift the holds on these targets, of everybody unless `author` is given. Returns how many.

        Who lifts them, where that is given, is written in the ledger.
        """
        ...

    async def remember(self) -> None:
        """Note by key what rows of virtual keys on hold name, which keeps it whatever becomes of the rows.

        `add` does it too; each pass does it again, for rows that came since.
        """
        ...

    async def lift(self, wanted: HoldFilter, *, by: str = "") -> int:
        """Lift every hold that the filter lets through. Returns how many; as `remove` otherwise."""
        ...

    async def page(
        self, wanted: HoldFilter | None = None, after: Hold | None = None, limit: int = 1000
    ) -> Sequence[Hold]:
        """Holds in force that the filter lets through, by kind, target and author; from `after` on."""
        ...

    async def held(self, keys: Sequence[str]) -> Mapping[str, Hold]:
        """Of these storage keys the held ones: by themselves, by a prefix, or by the owner of a row that
        names them, or did at the hold's beginning or in any pass since.

        One hold for each, however many there are.
        """
        ...

    async def count(self) -> Mapping[HoldKind, int]:
        """Holds in force, by kind."""
        ...
