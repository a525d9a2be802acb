"""What the engine needs of a bucket, a catalog, a clock and its observers: narrow protocols.

Adapters raise only the errors of `reconciler.errors`; each retries once, bounded, on its own side.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from reconciler.model import (
    Backlog,
    Capabilities,
    Claim,
    Copied,
    Decision,
    Deletion,
    DeletionResult,
    DueKey,
    Finding,
    HeldBy,
    Hidden,
    HiddenObject,
    Hold,
    HoldKind,
    Identity,
    KeyRange,
    ListingOrder,
    Mark,
    Marker,
    Mode,
    ObjectPage,
    ObjectResult,
    Outcome,
    Pass,
    PassDetail,
    PassState,
    Pause,
    Policy,
    Queued,
    RangeProgress,
    Record,
    Removal,
    Removed,
    Returned,
    Seals,
    StoredObject,
    Tally,
    Term,
    Trip,
    UndoScope,
    Upload,
    Verdict,
    Version,
)

Decide = Callable[[Mark, Sequence[Record], datetime], Decision]
"""Pure: the mark, every row that names its key now, and the server's time."""

Cap = Callable[[Backlog, Mapping[Marker, Tally]], Mapping[Marker, str]]
"""Pure: the batch (`pending`) and what was claimed in 24 h (`gone`), and what the last released pass of
each marker saw. Returns why the marks of a marker must not be claimed now."""


# --- bucket ---------------------------------------------------------------------------------------


class Listing(Protocol):
    """ListObjectsV2, a page a call."""

    async def list_page(self, prefix: str, *, start_after: str = "", token: str | None = None) -> ObjectPage:
        """The next page under `prefix`: after `start_after` ("" for the beginning), or by `token`.

        Raises StoreUnavailable, ListingBroken (an error inside a 200, truncated without a token),
        Halt (no such bucket, access denied).
        """
        ...


class ObjectStore(Protocol):
    """Single objects: looked at, and deleted by the write gateway alone."""

    async def head(self, key: str) -> StoredObject | None:
        """The object, or None on 404. A 404 alone is not proof of absence: see `marker_exists`."""
        ...

    async def delete(self, batch: Sequence[Deletion]) -> Sequence[DeletionResult]:
        """Delete up to 1,000 keys; one result for each, in the order asked.

        A key that the store's answer leaves out is FAILED. Raises StoreUnavailable only where
        nothing is known of any key, after its own bounded retries.
        """
        ...


class Copies(Protocol):
    """Server-side copies: into the quarantine and back."""

    async def copy(
        self, source: str, target: str, *, etag: str | None = None, only_new: bool = False
    ) -> Copied:
        """Copy one object with its content type, metadata and tags, in parts where it is large.

        `etag` None takes whatever is there; `only_new` never writes over the target. COPIED means
        that the copy was seen in full. Raises StoreUnavailable, Halt (no such bucket, credentials).
        """
        ...


class Versions(Protocol):
    """The versions and delete markers of single keys, in a bucket that keeps them."""

    async def kept(self) -> bool:
        """Whether a plain delete hides and no more, as the bucket is set now."""
        ...

    async def of(self, key: str) -> Sequence[Version]:
        """Every version and delete marker of the key, in no order. Raises StoreUnavailable, Halt."""
        ...

    async def remove(self, batch: Sequence[Version]) -> Sequence[DeletionResult]:
        """Delete these by id, for good; of a delete marker: what it hid is there again.

        One result for each, in the order asked; one that is gone already is MISSING.
        """
        ...


class Uploads(Protocol):
    """Multipart uploads that nobody has completed."""

    def pages(self, prefix: str) -> AsyncIterator[Sequence[Upload]]:
        """Those to keys under the prefix, a page at a time."""
        ...

    async def abort(self, batch: Sequence[Upload]) -> Sequence[DeletionResult]:
        """End these, and free their parts; one result for each, in the order asked."""
        ...


class IdentityMarker(Protocol):
    """The object under `.reconciler/` that says whose bucket this is."""

    async def read(self) -> Identity | None:
        """The marker, or None where the bucket answers NoSuchKey.

        Raises Halt if it cannot be read as one, or if the bucket does not exist or access is denied.
        """
        ...

    async def write(self, identity: Identity) -> None:
        """Write the first one, never over one that stands there: whether it is ours, reading back tells."""
        ...

    async def exchange(self, identity: Identity, seen: Identity) -> bool:
        """Write it over the one that was seen; False where the store says that another stands there.

        True proves nothing, since some stores do not compare: reading it back tells. In a bucket that
        keeps versions the superseded ones are removed.
        """
        ...

    async def exists(self) -> bool:
        """HEAD 200: the proof that a 404 on another key came from the right bucket."""
        ...


class StoreClock(Protocol):
    """What the store takes for the time."""

    async def date(self) -> datetime | None:
        """In whole seconds; None where it tells none. Raises StoreUnavailable, Halt."""
        ...


class Prober(Protocol):
    """Finds out, on scratch keys under `.reconciler/`, what the store can do; cleans up after itself."""

    async def probe(self) -> Capabilities: ...


# --- catalog --------------------------------------------------------------------------------------


class Records(Protocol):
    """The gateway's rows, read from the primary. Keys compare in byte order everywhere."""

    async def now(self) -> datetime:
        """The server's clock (UTC): the one clock that cutoffs and due times are computed from."""
        ...

    async def keys_in(self, span: KeyRange, limit: int) -> Sequence[str]:
        """The first `limit` storage keys of the span, strictly ascending in byte order, each once."""
        ...

    async def lookup(self, keys: Sequence[str]) -> Sequence[Record]:
        """Every row that names one of the keys, with its owner's state."""
        ...

    async def sample_keys(self, prefix: str, count: int) -> Sequence[str]:
        """About `count` storage keys of the prefix, evenly drawn and ascending; for range bounds."""
        ...

    async def count(self, prefixes: Sequence[str]) -> int:
        """Rows inside the prefixes."""
        ...

    async def count_outside(self, prefixes: Sequence[str]) -> int:
        """Rows outside all of the prefixes: kept, and counted."""
        ...

    def nominate(
        self, verdict: Verdict, policy: Policy, now: datetime, page_size: int = 1000
    ) -> AsyncIterator[Sequence[Record]]:
        """Pages of rows in the prefixes that might deserve the retention verdict, from indexes.

        Never narrower than `planning.retention`'s decision; a row may come under several verdicts.
        """
        ...

    async def observe_keys(self, now: datetime) -> None:
        """Note virtual keys first seen disabled at `now`, and forget those enabled again."""
        ...


class Staging(Protocol):
    """An unordered listing, copied beside the rows and joined with them by the database."""

    async def copy(self, page: ObjectPage) -> None: ...

    async def seal(self) -> tuple[int, int]:
        """End of the listing. Returns distinct objects and their bytes. Only now are rows read."""
        ...

    def objects_without_record(self, page_size: int = 1000) -> AsyncIterator[Sequence[StoredObject]]: ...

    def records_without_object(
        self, prefixes: Sequence[str], page_size: int = 1000
    ) -> AsyncIterator[Sequence[Record]]: ...


class StagingArea(Protocol):
    """Where an unordered listing is put for the length of a pass."""

    def open(self, pass_id: int | None) -> AbstractAsyncContextManager[Staging]:
        """A staging table that goes with the context; with `pass_id` None (plan) a temporary one.

        Tables left by a crash are dropped at the next open for a pass.
        """
        ...

    async def clear(self) -> None:
        """Drop what a crash left, for a pass that needs no table of its own."""
        ...


class Passes(Protocol):
    """The passes and their key ranges. Every write compares the term, and raises LeaseLost; PassEnded
    where the pass is no longer running.
    """

    async def begin(
        self,
        term: Term,
        marker: Marker,
        config_hash: str,
        mode: Mode,
        order: ListingOrder | None,
        policy: Policy | None = None,
    ) -> Pass:
        """A new pass with a frozen cutoff; an older running pass of that marker becomes failed.

        The policy is kept for later passes to compare theirs with.
        """
        ...

    async def resumable(
        self, marker: Marker, config_hash: str, mode: Mode, order: ListingOrder, max_age: timedelta
    ) -> Pass | None:
        """The running pass that a crash left, if it ran under the same configuration and order."""
        ...

    async def plan_ranges(self, term: Term, pass_id: int, ranges: Sequence[KeyRange]) -> None: ...

    async def ranges(self, pass_id: int) -> Sequence[RangeProgress]: ...

    async def record(
        self,
        term: Term,
        current: Pass,
        findings: Sequence[Finding],
        delete_delay: timedelta,
        progress: RangeProgress | None = None,
    ) -> None:
        """In one transaction: marks for the findings (those with `kept` None), and the watermark.

        ON CONFLICT DO NOTHING; a key marked before joins this pass unless its own is armed or tripped,
        its due time is kept, and its sightings rise once a pass. Marks locked by others are skipped, and
        what is on hold is not marked.
        """
        ...

    async def arm(self, term: Term, current: Pass, tally: Tally) -> int:
        """Release: a transaction of its own, later than every mark, that stores its xid as the stamp.

        Returns the stamp.
        """
        ...

    async def trip(self, term: Term, current: Pass, tally: Tally, trip: Trip) -> None:
        """Hold the pass back until a person decides; marks of earlier trips not seen again go."""
        ...

    async def fail(self, term: Term, current: Pass, reason: str) -> None: ...

    async def last(self, marker: Marker, state: PassState | None = None) -> Pass | None:
        """The newest finished pass of the marker, in that state if given."""
        ...

    async def undecided(self, marker: Marker) -> Pass | None:
        """The oldest tripped pass of the marker that nobody has decided about.

        Its `both_sides` is true where any such pass found both sides wrong.
        """
        ...

    async def backlog(self, prefixes: Sequence[str] = (), current: Pass | None = None) -> Backlog:
        """What may still go and what went, by prefix as well.

        Of the marks of tripped passes those that `current` has seen again are in it.
        """
        ...


class Approvals(Protocol):
    """What a person decides about passes, without the lease: beside whoever leads.

    Passes of one marker that tripped one after the other are decided together: a decision about one is
    about the marks of the earlier ones too, as far as each later pass has seen them again. What later
    ones have added is judged anew by the next pass.
    """

    async def listed(self, limit: int, *, everything: bool = False) -> Sequence[PassDetail]:
        """The newest passes first, without examples.

        Tripped ones that a later one of their marker takes in are left out, unless `everything` is
        asked for.
        """
        ...

    async def show(self, pass_id: int, examples: int = 5) -> PassDetail:
        """One pass with its marks by prefix, and a few of each verdict. Raises NotDecided: no such pass."""
        ...

    async def approve(self, pass_id: int, who: str, *, understood: bool = False) -> int:
        """Arm it with a new stamp; returns how many marks that releases.

        They still wait for their due time, and each claim decides anew. Raises NotDecided where it is
        not tripped, or found both sides wrong and that is not `understood`.
        """
        ...

    async def discard(self, pass_id: int, who: str) -> int:
        """Withdraw its marks; returns how many. A running pass of the marker ends, and begins anew.

        Raises NotDecided where it is not tripped.
        """
        ...


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

        Passes that `cap` objects to trip, but for approved ones: nothing of them is taken. Raises
        LeaseLost, and Halt where the database does not know the term's `seal`.
        """
        ...

    async def unfinished(self, term: Term, dead_after: timedelta, limit: int) -> Claim | None:
        """A claim to roll forward, taken over under this term.

        Of this epoch with its `not_before` behind, or of a dead epoch whose last attempt is older
        than `dead_after`.
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

        FAILED keys stay claimed with a growing `not_before`. The operation id must still be ours.
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
        """Keys claimed under another epoch that nobody has rolled forward yet."""
        ...

    async def drift(self) -> Mapping[Verdict, tuple[int, int, datetime | None]]:
        """Marks by verdict: count, bytes, first sighting of the oldest."""
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

        Returns the keys under them that are claimed already, ascending: those may still go. Of every
        other key it is certain that it is not claimed while the hold is in force. Raises ConfigError
        for a target that cannot be one (a virtual key's id of another type than the table's).
        """
        ...

    async def remove(self, kind: HoldKind, targets: Sequence[str], author: str | None = None) -> int:
        """Lift the holds on these targets, of everybody unless `author` is given. Returns how many."""
        ...

    async def page(
        self, kind: HoldKind | None = None, prefix: str = "", after: Hold | None = None, limit: int = 1000
    ) -> Sequence[Hold]:
        """Holds in force whose target begins with `prefix`, by kind, target and author; from `after` on."""
        ...

    async def held(self, keys: Sequence[str]) -> Mapping[str, Hold]:
        """Of these storage keys the held ones, by themselves, by a prefix or by the owner of a row.

        One hold for each, however many there are.
        """
        ...

    async def count(self) -> Mapping[HoldKind, int]:
        """Holds in force, by kind."""
        ...


class Recovery(Protocol):
    """What was deleted and can be brought back. A purge and a return each claim an object alone."""

    async def removals(self, scope: UndoScope, after: str = "", limit: int = 1000) -> Sequence[Removal]:
        """What can be brought back in the scope, a key each, ascending, from behind `after` on."""
        ...

    async def gone(self, scope: UndoScope) -> int:
        """Objects of the scope that went and cannot be brought back: deleted for good, or purged since."""
        ...

    async def claim_return(self, object_id: int) -> bool:
        """Take the object for bringing it back; again where a return was left. False where it is being
        purged, was brought back, or must not be (erasure).
        """
        ...

    async def put_back(self, removal: Removal, author: str, *, object_back: bool) -> Sequence[Returned]:
        """Once its object is there (`object_back`: by our doing): its rows, in one transaction.

        Lifts the key's mark unless it is claimed, and its tombstone; writes the ledger. A row that is
        there already is PRESENT, one that its table refuses REFUSED, with the reason. Repeating does
        nothing. The rows of a key whose mark is claimed are FAILED.
        """
        ...

    async def hidden(self, key: str) -> Sequence[HiddenObject]:
        """What lies hidden of the key and can be brought back, newest first."""
        ...

    async def recoverable(self, keys: Sequence[str]) -> set[str]:
        """The keys of which something is hidden that can be brought back."""
        ...

    async def widowed(self, keys: Sequence[str]) -> set[str]:
        """The keys of which a row was removed because there was no object, and was not put back."""
        ...

    async def queue(self, keys: Sequence[str], reason: str) -> None:
        """Have these looked at: an object that a row needs, or the row of an object, has to come back."""
        ...

    async def queued(self, limit: int) -> Sequence[Queued]:
        """Keys to look at now, the longest queued first."""
        ...

    async def dequeue(self, queued: Queued) -> None:
        """It has been looked at; unless it was queued again meanwhile."""
        ...

    async def postpone(self, key: str) -> None:
        """Look at it again later and later."""
        ...


class Purges(Protocol):
    """What can no longer be brought back. A purge and a return each claim an object alone."""

    async def claim(
        self, term: Term, window: timedelta, dead_after: timedelta, limit: int
    ) -> Sequence[HiddenObject]:
        """Take what is hidden for longer than the window, was erased, or is only left over.

        Also what a purge claimed `dead_after` ago and did not finish. Nobody brings it back from now on.
        """
        ...

    async def done(self, term: Term, ids: Sequence[int]) -> None:
        """Their bytes are freed: into the ledger."""
        ...

    async def back(self, term: Term, ids: Sequence[int]) -> None:
        """Of these nothing is hidden any more, by somebody else's hand: into the ledger, as restored."""
        ...

    async def aborted(self, term: Term, uploads: Sequence[Upload]) -> None:
        """These uploads were ended: into the ledger."""
        ...

    async def spent(self, event: str) -> int:
        """How many such events ("purged", "aborted") the ledger has of the last 24 hours."""
        ...

    async def hidden(self) -> tuple[int, int]:
        """Objects that are hidden and not purged, and their bytes: deleted, and not freed."""
        ...

    async def forget(self, term: Term, window: timedelta, retention: timedelta) -> None:
        """Drop removed rows older than the window from the ledger, and lines older than the retention."""
        ...


class Lease(Protocol):
    """One row in Postgres, on a connection of its own; times by the server's clock."""

    async def acquire(self, holder: str, ttl: timedelta) -> Term | HeldBy:
        """Take it if it is free or expired: a new epoch each time."""
        ...

    async def renew(self, term: Term, ttl: timedelta) -> None:
        """Raises LeaseLost where the term is no longer current."""
        ...

    async def release(self, term: Term) -> None:
        """By expiring it, never by deleting the row."""
        ...

    async def observe_mode(self, term: Term, mode: Mode) -> None:
        """Remember the mode; from dry run to live, every due time is at least a delay from now."""
        ...


class Site(Protocol):
    """Which bucket this database is tied to."""

    async def identity(self) -> Identity | None: ...

    async def bind(self, identity: Identity) -> None:
        """At first contact, or when the prefixes changed. The site id never changes."""
        ...

    async def new_id(self) -> UUID:
        """The site id of this database, made once."""
        ...

    async def seals(self) -> Seals: ...

    async def propose(self, term: Term, confirmed: UUID | None, pending: UUID) -> None:
        """Before the marker is written: what it says now, and what it will say. Raises LeaseLost."""
        ...

    async def confirm(self, term: Term, nonce: UUID) -> None:
        """The marker was seen to say so. Raises LeaseLost."""
        ...

    async def withdraw(self, term: Term, dead_after: timedelta, upload_window: timedelta) -> int:
        """Withdraw every mark, claimed or not, and end what passes are running. Returns how many.

        What was claimed may be gone: it leaves a tombstone for the window, and its copy can be undone.

        Raises Retryable where a claim's requests may still be on their way, LeaseLost.
        """
        ...

    async def adopt(self, term: Term, identity: Identity) -> None:
        """Tie the database to the bucket as its marker now says, under that site id. Raises LeaseLost."""
        ...


class Budget(Protocol):
    """Keys a second over all replicas, and over everything that deletes, copies or aborts."""

    async def reserve(self, keys: int, rate: float, saved: int) -> float:
        """Take `keys` at `rate` keys a second; returns the seconds to wait before they may be used.

        By the server's clock. An idle time saves up `saved` keys and no more; what was taken is not
        given back. An infinite rate asks nobody and waits for nothing. Raises CatalogUnavailable.
        """
        ...


class PauseSwitch(Protocol):
    """The stop that an operator sets in the database, for every replica. On a connection of its own."""

    async def read(self) -> Pause:
        """How it stands. Raises CatalogUnavailable."""
        ...

    async def pause(self, by: str, reason: str) -> Pause:
        """Stop. Returns the pause that stands, which may be an earlier one."""
        ...

    async def resume(self, by: str) -> Pause:
        """Go on. Returns how it stood before."""
        ...


# --- surroundings -----------------------------------------------------------------------------------


class Clock(Protocol):
    """Monotonic time, in seconds; this machine's clock; sleeping that a cancellation ends at once."""

    def monotonic(self) -> float: ...

    def wall_clock(self) -> datetime: ...

    async def sleep(self, seconds: float) -> None: ...


class Observer(Protocol):
    """What the engine tells metrics and progress bars. Never awaits, never raises."""

    def page_listed(self, keys: int) -> None: ...

    def records_read(self, rows: int) -> None: ...

    def pass_started(self, marker: Marker) -> None: ...

    def pass_finished(self, marker: Marker, outcome: Outcome, seconds: float, tally: Tally) -> None: ...

    def deleted(self, mode: Mode, verdict: Verdict, result: str, keys: int, size: int) -> None:
        """`result` is an ObjectResult, or "record" for rows removed, "lost" for rows that lost theirs."""
        ...

    def drift(self, by_verdict: Mapping[Verdict, tuple[int, int, datetime | None]], waiting: int) -> None: ...

    def hidden(self, objects: int, size: int) -> None:
        """What is deleted and not freed, in objects and bytes."""
        ...

    def purged(self, objects: int, size: int) -> None:
        """What was freed just now."""
        ...

    def alive(self, loop: str) -> None:
        """A supervised loop's progress stamp."""
        ...

    def halted(self, reason: str | None) -> None: ...

    def leading(self, *, leader: bool) -> None: ...

    def paused(self, *, paused: bool) -> None: ...

    def blocked(self, by: str | None) -> None:
        """What transaction holds back deletions, in words; None for none."""
        ...

    def clocks(self, ahead: Mapping[str, float]) -> None:
        """Seconds by which other clocks are ahead of this machine's, by name."""
        ...
