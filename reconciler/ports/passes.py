"""A sweep's protocols for the catalog: rows, a place for a listing, passes."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from reconciler.model import (
    Backlog,
    Content,
    Departed,
    Finding,
    GroupPolicy,
    InventoryUsed,
    KeyRange,
    ListingOrder,
    Mode,
    NearMiss,
    ObjectPage,
    Pass,
    PassKind,
    PassState,
    Policy,
    RangeProgress,
    Record,
    StoredObject,
    Tally,
    Term,
    Trip,
    Variant,
    Verdict,
)
from reconciler.model.spelling import Orphans


class Records(Protocol):
    """The gateway's rows, read from the primary. Keys compare in byte order everywhere."""

    async def now(self) -> datetime:
        """The server's clock (UTC): the one clock from which cutoffs and due times are computed."""
        ...

    async def keys_in(self, span: KeyRange, limit: int) -> Sequence[str]:
        """The first `limit` storage keys of the span, strictly ascending in byte order, each once."""
        ...

    async def reads_in_order(self, prefixes: Sequence[str], page_size: int) -> bool:
        """Whether reading all keys of the prefixes in pages costs about as much as reading them once.

        By the database's own estimate. False if no index has them in byte order: each page would sort the
        whole table.
        """
        ...

    async def lookup(self, keys: Sequence[str], *, rewritten: bool = False) -> Sequence[Record]:
        """Every row that names one of the keys, with its owner's state.

        `rewritten`: for a store that rewrites keys, also rows whose key it turns into one of these.
        """
        ...

    async def contents(self, keys: Sequence[str]) -> Sequence[Content]:
        """What the rows that name one of the keys say of the bytes; none where no such column is mapped."""
        ...

    async def referenced(self, keys: Sequence[str]) -> frozenset[str]:
        """Those of the keys that a declared column other than the media table's key names, or a reservation:
        they are kept.
        """
        ...

    async def variants(self, rows: Mapping[str, str], prefixes: Sequence[str]) -> Sequence[Variant]:
        """Further objects of these rows (storage keys by id), inside the prefixes: once for each naming.

        But for what is named otherwise, by a row as its own key or by a column that makes no variants.
        """
        ...

    async def sample_keys(self, prefix: str, count: int) -> Sequence[str]:
        """About `count` storage keys of the prefix, evenly drawn and ascending, for range bounds."""
        ...

    def outside(self, prefixes: Sequence[str], page_size: int) -> AsyncIterator[Sequence[str]]:
        """Pages of the storage keys of rows outside all of the prefixes, in byte order."""
        ...

    def spelled_otherwise(self, orphans: Orphans, page_size: int) -> AsyncIterator[Sequence[str]]:
        """Pages of names in further columns (see `referenced`) that may be an orphan's key, in byte order.

        They are outside all of the prefixes, have characters that can be written in more ways than one, or
        differ from a noted orphan's folded key by case alone. Each column is read once for each page.
        """
        ...

    async def count(self, prefixes: Sequence[str]) -> int:
        """The number of rows inside the prefixes."""
        ...

    async def count_outside(self, prefixes: Sequence[str]) -> int:
        """The number of rows outside all of the prefixes: kept, and counted."""
        ...

    def nominate(
        self, verdict: Verdict, policy: Policy, now: datetime, page_size: int = 1000
    ) -> AsyncIterator[Sequence[Record]]:
        """Pages of rows in the prefixes that might deserve the retention verdict, from indexes.

        Never narrower than `planning.retention`'s decision; a row may appear under several verdicts.
        """
        ...

    def misfits(self, policy: Policy) -> Sequence[str]:
        """Rules that no row of these tables can match, and quotas that cannot be counted in them, a line for
        each: a column is missing, or of a type that has no such value.

        Such a rule would leave to others what it was meant to keep.
        """
        ...

    async def group_policies(self) -> Sequence[GroupPolicy]:
        """Conduit's retention policies as they are now; none where their tables cannot be read as such."""
        ...

    async def observe_keys(self, now: datetime) -> None:
        """Note virtual keys first seen disabled at `now`, and forget those enabled again."""
        ...

    async def keys_ended(self, since: datetime, now: datetime, grace: timedelta) -> bool:
        """Whether some virtual key has been disabled or expired for `grace` now, and not yet at `since`."""
        ...


class Departures(Protocol):
    """Rows that left the media table, as the triggers note them in the writer's own transaction."""

    async def waiting(self) -> bool:
        """Whether there are any, or marks of a departure pass that did not end."""
        ...

    async def page(self, limit: int) -> Sequence[Departed]:
        """The first of them. `Passes.record` takes them away, with their marks written."""
        ...

    async def pending(self, limit: int) -> Sequence[Departed]:
        """What is marked as departed and not claimed yet, for a plan; `id` 0, no virtual key."""
        ...

    async def marked(self, keys: Sequence[str]) -> frozenset[str]:
        """Those of the keys that are marked as departed: a sweep leaves them to that mark."""
        ...

    async def forget(self, term: Term, retention: timedelta) -> None:
        """Let the departure passes go that ended longer ago than that, and of whose marks none is left.

        The newest stay, and those that wait for a decision. Raises LeaseLost.
        """
        ...

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` when there may be some, until cancelled. It may miss any: poll as well."""
        ...


class Staging(Protocol):
    """An unordered listing, copied into the database and joined with the rows there."""

    async def copy(self, page: ObjectPage) -> None: ...

    async def seal(self) -> tuple[int, int]:
        """End the listing. Returns the distinct objects and their bytes. Rows are read only after this."""
        ...

    def objects_without_record(self, page_size: int = 1000) -> AsyncIterator[Sequence[StoredObject]]: ...

    def records_without_object(
        self, prefixes: Sequence[str], page_size: int = 1000
    ) -> AsyncIterator[Sequence[Record]]: ...


class StagingArea(Protocol):
    """Where an unordered listing is kept for the length of a pass."""

    def open(self, pass_id: int | None) -> AbstractAsyncContextManager[Staging]:
        """A staging table that ends with the context; with `pass_id` None (plan) a temporary one.

        Tables left by a crash are dropped at the next open for a pass.
        """
        ...

    async def clear(self) -> None:
        """Drop what a crash left, for a pass that needs no table of its own."""
        ...


class Passes(Protocol):
    """The passes and their key ranges. Every write compares the term: it raises LeaseLost, or PassEnded if
    the pass is no longer running.
    """

    async def begin(
        self,
        term: Term,
        kind: PassKind,
        config_hash: str,
        mode: Mode,
        order: ListingOrder | None,
        policy: Policy | None = None,
        inventory: InventoryUsed | None = None,
    ) -> Pass:
        """Begin a pass with a frozen cutoff; an older running pass of that kind becomes failed.

        The policy is kept so that later passes can compare theirs with it, and so is the inventory.
        """
        ...

    async def resumable(
        self, kind: PassKind, config_hash: str, mode: Mode, order: ListingOrder, max_age: timedelta
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
        departed: Sequence[int] = (),
    ) -> None:
        """In one transaction, write marks for the findings (those with `kept` None), and the watermark.

        `departed`: the ids of departures that these findings settle. They are taken away, and other marks of
        the keys, of passes of another kind, with them.

        A finding kept because of a hold, or because its clean-up is off, confirms its mark if it has one.
        ON CONFLICT DO NOTHING: a key marked before joins this pass unless its own is released or tripped, its
        due time is kept, and its sightings rise once a pass. Marks locked by others are skipped, and what is
        on hold is not marked.
        """
        ...

    async def arm(self, term: Term, current: Pass, tally: Tally) -> int:
        """Release the pass in a transaction of its own, later than every mark, whose xid is the stamp.

        Returns the stamp. Marks of this kind that the pass did not confirm are removed, released or not.
        """
        ...

    async def trip(self, term: Term, current: Pass, tally: Tally, trip: Trip) -> None:
        """Hold the pass back until a person decides; marks it did not confirm are removed, as by `arm`."""
        ...

    async def fail(self, term: Term, current: Pass, reason: str) -> None: ...

    async def last(self, kind: PassKind, state: PassState | None = None) -> Pass | None:
        """The newest finished pass of the kind, in that state if given."""
        ...

    async def last_inventory(self) -> InventoryUsed | None:
        """The newest inventory that a sweep has used to its end."""
        ...

    async def compared_at(self) -> datetime | None:
        """When the last complete sweep began that compared objects with what their rows say of the bytes;
        where none did, the first of all. None before that.
        """
        ...

    async def undecided(self, kind: PassKind) -> Pass | None:
        """The oldest tripped pass of the kind that still waits for a decision.

        Its `both_sides` is true if any such pass found both sides wrong.
        """
        ...

    async def backlog(
        self, prefixes: Sequence[str] = (), current: Pass | None = None, since: datetime | None = None
    ) -> Backlog:
        """What may still be deleted and what was deleted, by prefix as well.

        Of the marks of tripped passes, it includes those that `current` has seen again. What was deleted
        after `since` is counted separately.
        """
        ...


Folded: TypeAlias = tuple[str, str]
"""A storage key, and what its folded form is compared by."""


class NearMisses(Protocol):
    """Orphans and rows of one pass by the folded forms of their keys: what folds alike is a pair.

    A row may have several, one under each prefix that it may have lost. Keys that no mark can have are
    left out. Noting a key again changes nothing.
    """

    async def note(self, pass_id: int, objects: Sequence[Folded], rows: Sequence[Folded]) -> None:
        """Note orphans, and rows without an object."""
        ...

    async def note_outside(self, pass_id: int, rows: Sequence[Folded]) -> None:
        """Note rows outside the prefixes, once all orphans are noted: only pairs are kept."""
        ...

    async def note_hidden(self, orphans: Orphans, *, unpaired: bool) -> bool:
        """Note as orphans what is hidden and may come back, where a row noted so far folds alike.

        `unpaired`: all of it, since rows are to be noted yet. A row of the very same key is no pair.
        Returns whether the pass has any orphan noted.
        """
        ...

    async def named_by(self, key: str) -> Sequence[str]:
        """The rows' keys that were noted as spelling this orphan's otherwise."""
        ...

    def gathered(self) -> Sequence[str]:
        """The fingerprints of the noted orphans, where the database does not have them."""
        ...

    async def spare(self, pass_id: int, after: str, limit: int) -> Sequence[NearMiss]:
        """The next orphans after that key that have a pair; withdraws their marks and their rows' marks."""
        ...

    async def forget(self, pass_id: int) -> None:
        """Forget what was noted for passes before that one: claims still ask for its orphans."""
        ...
