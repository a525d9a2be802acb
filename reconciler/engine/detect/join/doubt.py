"""Whether a listing can be believed: HEAD some of the rows whose object it lacks.

SeaweedFS leaves out keys where pages end; a bucket without an index lists nothing at all; and a store may
rewrite keys in unforeseen ways. HEAD finds what is there in each case.
"""

from collections.abc import Sequence
from datetime import datetime

import structlog

from reconciler.engine.runtime.tasks import for_each
from reconciler.errors import Halt, ListingContradicted, ReconcilerError
from reconciler.model import Policy, Record, StoredObject
from reconciler.planning import drift_rules
from reconciler.planning.formatting import counted
from reconciler.ports import ObjectStore

log = structlog.get_logger(__name__)

LOOKS = 200
"""Rows of a pass to HEAD: enough to tell a listing that lacks much from rows that lack objects.
Beyond, a claim looks at each. Where the store rewrites keys, every row is looked for: see `disguises`."""
FEW = 10
"""Listings do skip a key now and then. More than this, and most of those looked for, is another matter."""
AT_ONCE = 16


class Doubt:
    """What one pass makes of rows whose object was not listed.

    `strict`: raise if the listing cannot be right. Without `believes`, no such row counts as missing.
    """

    def __init__(
        self,
        store: ObjectStore,
        policy: Policy,
        now: datetime,
        *,
        strict: bool = True,
        believes: bool = True,
    ) -> None:
        self._store = store
        self._policy = policy
        self._now = now
        self._strict = strict and not policy.rewrites_keys
        self._believes = believes
        self._looked = self._found = 0
        self._disguised: set[tuple[int, str]] = set()

    async def missing(self, rows: Sequence[Record]) -> Sequence[Record]:
        """The rows, without those whose object is there. Raises ListingContradicted."""
        counted = [row for row in rows if drift_rules.counts_as_missing(row, self._policy, self._now)]
        there = {row.storage_key for row in counted}
        if self._believes and self._policy.rewrites_keys:
            there &= await self._there(rows)
        elif self._believes:
            there = await self._there(counted[: max(0, LOOKS - self._looked)])
        if there:
            log.warning("the listing lacks objects that are there", objects=len(there), first=min(there))
        return [row for row in rows if row.storage_key not in there]

    async def _there(self, suspects: Sequence[Record]) -> set[str]:
        found: set[str] = set()

        async def look(row: Record) -> None:
            try:
                stored = await self._store.head(row.storage_key)
            except Halt:
                raise
            except ReconcilerError:
                return
            if stored is not None:
                found.add(row.storage_key)
                self._disguised.add((stored.size, stored.etag))

        await for_each(suspects, look, concurrency=AT_ONCE)
        self._looked += len(suspects)
        self._found += len(found)
        if self._strict and self._found > FEW and self._found * 2 > self._looked:
            raise ListingContradicted(
                f"of the objects of {counted(self._looked, 'row')} that the listing lacks, HEAD finds"
                f" {self._found} ({min(found, default='')!r} is one): it is not believed"
            )
        return found

    def disguises(self, stored: StoredObject) -> bool:
        """Whether an object that no row names may be the object of a row, under a key that the store rewrote.

        It has the bytes of an object that HEAD finds by a row's key and that the listing does not show.
        """
        return self._policy.rewrites_keys and (stored.size, stored.etag) in self._disguised
