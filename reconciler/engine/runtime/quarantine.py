"""Proof that another bucket, in which copies lie, is still the one that this database tied to itself.

Nothing is deleted for a copy in a bucket that was emptied, made again, renamed or taken by somebody else, and
nothing is deleted in such a bucket.
"""

from collections.abc import Callable, Iterable

import anyio

from reconciler.errors import Halt
from reconciler.model import Identity, QuarantineBucket
from reconciler.planning import quarantine
from reconciler.ports import Clock, IdentityObject, Site

FRESH_SECONDS = 1.0
"""How old a proof may be for a write, as for the identity of the bucket itself."""


class Quarantines:
    """The other buckets for copies of objects in the bucket `of`.

    `configured` is that of new copies; earlier ones name theirs. `own_identity` reads whether such a bucket
    is itself one that is cleaned.
    """

    def __init__(
        self,
        of: str,
        configured: QuarantineBucket | None,
        identity: Callable[[QuarantineBucket], IdentityObject],
        own_identity: Callable[[QuarantineBucket], IdentityObject],
        site: Site,
        clock: Clock,
    ) -> None:
        self.of = of
        self.configured = configured
        self.identity = identity
        self.own_identity = own_identity
        self._site = site
        self._clock = clock
        self._alone = anyio.Lock()
        self._proven: dict[QuarantineBucket, float] = {}

    async def require(self, keys: Iterable[str]) -> None:
        """Raise Halt unless every other bucket in which these keys lie is ours. Raises StoreUnavailable."""
        for bucket in {QuarantineBucket.of_key(key, self.of) for key in keys}:
            if bucket is not None:
                await self._require(bucket)

    async def fault(self, bucket: QuarantineBucket, ours: Identity | None) -> str:
        """Why that bucket is not this database's now; "" if it is."""
        return quarantine.fault(bucket, await self.identity(bucket).read(), ours)

    async def _require(self, bucket: QuarantineBucket) -> None:
        async with self._alone:
            began = self._clock.monotonic()
            if began - self._proven.get(bucket, -FRESH_SECONDS) < FRESH_SECONDS:
                return
            if fault := await self.fault(bucket, await self._site.identity()):
                raise Halt(fault)
            self._proven[bucket] = began
