"""What the catalog knows of what was deleted, and how it comes back or ends."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Protocol

from reconciler.model import (
    HiddenObject,
    Queued,
    Removal,
    Returned,
    Term,
    UndoScope,
    Upload,
)


class Recovery(Protocol):
    """What was deleted and can be brought back. A purge and a return each claim an object alone."""

    async def removals(self, scope: UndoScope, after: str = "", limit: int = 1000) -> Sequence[Removal]:
        """What can be brought back in the scope, a key each, ascending, from behind `after` on."""
        ...

    async def gone(self, scope: UndoScope) -> int:
        """Objects of the scope that went and cannot be brought back: deleted for good, or purged since."""
        ...

    async def knows(self, scope: UndoScope) -> bool:
        """Whether the ledger has a deletion in the scope, of an object or a row, brought back or not."""
        ...

    async def claim_return(self, object_id: int) -> bool:
        """Take the object for bringing it back; again where a return was left. False where it is being
        purged, was brought back, or must not be (erasure).
        """
        ...

    async def put_back(self, removal: Removal, author: str, *, object_back: bool) -> Sequence[Returned]:
        """Once its object is there (`object_back`: by our doing): its rows, in one transaction.

        Lifts the key's mark unless it is claimed, and its tombstone; writes the ledger. A row that is
        there already is PRESENT, one that its table refuses REFUSED, with the reason; one that lacks
        columns by now comes back PARTIAL, and stays among what can be brought back. Repeating does
        nothing. The rows of a key whose mark is claimed are FAILED.
        """
        ...

    async def hidden(self, key: str) -> Sequence[HiddenObject]:
        """What lies hidden of the key and can be brought back, newest first."""
        ...

    async def recoverable(self, keys: Sequence[str]) -> set[str]:
        """The keys of which something is hidden that can be brought back."""
        ...

    async def estranged(self, keys: Sequence[str]) -> set[str]:
        """The same, but for keys whose deletion is under way: their rows go, too."""
        ...

    async def named_besides(self) -> set[str]:
        """Of all such keys those that a further column names (see `Records.referenced`), and not queued."""
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

    async def named(
        self, window: timedelta, dead_after: timedelta, limit: int, *, rewrites_keys: bool = False
    ) -> Sequence[str]:
        """Keys that rows name, of the first `limit` objects that a claim would look at.

        `rewrites_keys` as in `Policy`, here and below.
        """
        ...

    async def claim(
        self,
        term: Term,
        window: timedelta,
        dead_after: timedelta,
        limit: int,
        *,
        there: Collection[str] = (),
        rewrites_keys: bool = False,
    ) -> Sequence[HiddenObject]:
        """Take what is hidden for longer than the window, was erased, or is only left over.

        Also what a purge claimed `dead_after` ago and did not finish. Nobody brings it back from now on.
        Nothing that is on hold, unless it was erased despite that. But for what is erased: nothing that is
        queued to come back, and nothing of a key that a row names, unless its object is `there` and needs
        nothing of what is hidden.
        """
        ...

    async def horizon(self) -> int:
        """A transaction id newer than that of any writer who could not see what was claimed before."""
        ...

    async def look_again(
        self, term: Term, ids: Sequence[int], *, there: Collection[str] = (), rewrites_keys: bool = False
    ) -> Collection[int]:
        """The claimed objects that must be spared after all, for the same reasons: they are hidden again."""
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
        """Drop removed rows older than the window from the ledger, and lines older than the retention.

        But for rows whose key is on hold, or whose object is hidden still and can come back.
        """
        ...
