"""What the catalog knows of deleted objects and rows, and how they come back or end."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.model import (
    Adoptable,
    Adopted,
    AdoptionTerms,
    BegunAdoption,
    Candidate,
    HiddenObject,
    Queued,
    Record,
    Removal,
    Returned,
    Term,
    UndoScope,
    Upload,
)

Judge = Callable[[Record, datetime], str]
"""Why retention would take the row at its next pass; "" where it would not."""


class Recovery(Protocol):
    """What was deleted and can be brought back. A purge and a return each claim single objects."""

    async def removals(self, scope: UndoScope, after: str = "", limit: int = 1000) -> Sequence[Removal]:
        """What can be brought back in the scope, key by key, ascending, starting after `after`."""
        ...

    async def gone(self, scope: UndoScope) -> int:
        """Objects of the scope that cannot be brought back: deleted for good, or purged since."""
        ...

    async def knows(self, scope: UndoScope) -> bool:
        """Whether the ledger has a deletion in the scope, of an object or a row, brought back or not."""
        ...

    async def claim_returns(self, ids: Sequence[int]) -> Collection[int]:
        """Claim the objects to bring them back; also if an earlier return was left unfinished. Returns those
        claimed: not what is being purged, was brought back, or must not be (erasure).
        """
        ...

    async def put_back(
        self, removals: Sequence[Removal], author: str, *, came: Collection[str] = ()
    ) -> Sequence[Returned]:
        """Put the rows back in one transaction, once their objects are there (keys in `came`: by our doing).

        Lifts each key's mark unless it is claimed, and its tombstone; writes the ledger. A row that is there
        already is PRESENT; one that its table refuses is REFUSED, with the reason; one that lacks columns by
        now comes back PARTIAL, and stays among what can be brought back. Repeating does nothing. The rows of
        a key whose mark is claimed are FAILED.
        """
        ...

    async def rehearse(self, removals: Sequence[Removal]) -> Sequence[Returned]:
        """What `put_back` would say of the rows, if their objects were there. Nothing of it stays."""
        ...

    async def hidden(self, key: str) -> Sequence[HiddenObject]:
        """The hidden objects of the key that can be brought back, newest first."""
        ...

    async def recoverable(self, keys: Sequence[str]) -> set[str]:
        """The keys that have a hidden object which can be brought back."""
        ...

    async def quarantines(self) -> set[str]:
        """The folders in other buckets where copies lie, or may soon: see `QuarantineBucket`."""
        ...

    async def estranged(self, keys: Sequence[str]) -> set[str]:
        """The same, except keys whose deletion is under way: their rows are being removed too."""
        ...

    async def named_besides(self) -> set[str]:
        """Of all such keys, those that a further column names (see `Records.referenced`), if not queued."""
        ...

    async def row_missing(self, keys: Sequence[str]) -> set[str]:
        """The keys of which a row was removed for lack of its object, and was not put back."""
        ...

    async def queue(self, keys: Sequence[str], reason: str) -> None:
        """Queue these keys: an object that a row needs, or the row of an object, has to come back."""
        ...

    async def queued(self, limit: int) -> Sequence[Queued]:
        """Keys to look at now, those queued longest first."""
        ...

    async def dequeue(self, queued: Queued) -> None:
        """Remove a key that was looked at from the queue, unless it was queued again meanwhile."""
        ...

    async def postpone(self, key: str) -> None:
        """Look at it again after a growing interval."""
        ...


class Purges(Protocol):
    """What can no longer be brought back. A purge and a return each claim single objects."""

    async def hand_back(self, term: Term, longest_call: timedelta) -> None:
        """Hide again what a purge claimed and did not finish, once none of its requests is on its way.

        That is `longest_call` after the claim, and after this term began.
        """
        ...

    async def abandoned(self) -> int:
        """Count the objects that a purge of a former term claimed and did not finish."""
        ...

    async def named(self, window: timedelta, limit: int, *, rewrites_keys: bool = False) -> Sequence[str]:
        """Return the keys that rows name, of the first `limit` objects that a claim would look at.

        `rewrites_keys` as in `Policy`, here and below.
        """
        ...

    async def claim(
        self,
        term: Term,
        window: timedelta,
        limit: int,
        *,
        there: Collection[str] = (),
        rewrites_keys: bool = False,
    ) -> Sequence[HiddenObject]:
        """Claim what is hidden for longer than the window, was erased, or is only left over.

        Nothing can restore it from now on. Nothing on hold is taken, unless it was erased despite that.
        Except for erased objects: nothing that is queued to come back, and nothing of a key that a row names,
        unless its object is `there` and needs nothing of what is hidden.
        """
        ...

    async def horizon(self) -> int:
        """A transaction id newer than that of any writer that could not see what was claimed before."""
        ...

    async def look_again(
        self, term: Term, ids: Sequence[int], *, there: Collection[str] = (), rewrites_keys: bool = False
    ) -> Collection[int]:
        """The claimed objects to spare after all, for the same reasons: they are hidden again."""
        ...

    async def done(self, term: Term, ids: Sequence[int]) -> None:
        """Record in the ledger that their bytes are freed."""
        ...

    async def back(self, term: Term, ids: Sequence[int]) -> None:
        """Record in the ledger, as restored, that something other than us uncovered these objects."""
        ...

    async def aborted(self, term: Term, uploads: Sequence[Upload]) -> None:
        """Record in the ledger that these uploads were aborted."""
        ...

    async def spent(self, event: str) -> int:
        """How many such events ("purged", "aborted") the ledger has for the last 24 hours."""
        ...

    async def hidden(self) -> tuple[int, int]:
        """Objects that can be brought back, and the bytes of all that is hidden or left over."""
        ...

    async def forget(self, term: Term, window: timedelta, retention: timedelta) -> None:
        """Drop removed rows older than the window from the ledger, and lines older than the retention.

        Keeps rows whose key is on hold, or whose object is still hidden and can come back.
        """
        ...


class Adoptions(Protocol):
    """Rows made for objects that have none. What became of each is kept, so that a kill costs nothing."""

    @property
    def owned(self) -> bool:
        """Whether a row says whose it is."""
        ...

    async def noted(self) -> bool:
        """Whether triggers note each row that leaves the table."""
        ...

    async def existing(self, owners: Collection[str]) -> Collection[str]:
        """Those that are virtual keys, as the database writes their ids."""
        ...

    async def barred(self, keys: Sequence[str]) -> Collection[str]:
        """Those that are never adopted: deleted, erased, departed, or undone before."""
        ...

    async def found(self, pass_id: int, found: Sequence[Candidate]) -> None:
        """Note what a sweep found. One that is noted already stays as it is."""
        ...

    async def listed(self, adoption: BegunAdoption, passed_over: Mapping[str, int]) -> None:
        """All candidates are noted. Leaves out what we deleted, or erased on request."""
        ...

    async def end(self, adoption: BegunAdoption, retention: timedelta) -> None:
        """All is settled. Older adoptions are forgotten after that time."""
        ...

    async def page(self, adoption: BegunAdoption, after: str, limit: int) -> Sequence[Candidate]:
        """The next objects that are not settled yet, in the order of their keys."""
        ...

    async def adopt(
        self,
        adoption: BegunAdoption,
        rows: Sequence[Adoptable],
        left: Mapping[str, str],
        terms: AdoptionTerms,
        prefixes: Sequence[str],
        judge: Judge,
        *,
        dry_run: bool,
    ) -> Sequence[Adopted]:
        """Make the rows that may be made, in one transaction with their lines of the ledger.

        `left` are further keys of the page, with the reason why there is nothing to make. In dry run all is
        tried and taken back. Raises CatalogUnavailable where the table is busy.
        """
        ...
