"""The seal: epoch and nonce on the bucket's identity, so that a copy of the database cannot act as well.

A clone or a restored backup has the same site id, the same marks, even the same epochs. It cannot have the
nonce that the other database writes next. So each term writes a new nonce to the database and to the
bucket, renews it, and reads it again before each batch, unless it has been read within the last second. A
leader that finds a nonce its own database never recorded marks the bucket `contested`. Both sides then halt
until an operator decides.
"""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import anyio
import structlog

from reconciler.engine.lead.lease import Tenure
from reconciler.engine.lead.ownership import check_tie, contested, strange
from reconciler.engine.runtime.context import Ports
from reconciler.engine.runtime.tasks import ended_by
from reconciler.errors import Halt, LeaseLost, Retryable, StoreUnavailable
from reconciler.model import Identity, Lineage, Seal, Seals, Term
from reconciler.planning.lineage import failed_over

log = structlog.get_logger(__name__)

CHECKS = 3
"""Readings of the identity in one TTL, so that a rival that also leads is seen within a third of it."""

RENEW_AFTER = 12
"""Checks between two new nonces: four TTLs of the lease, a minute by default."""

TRIES = 3


class Sealer:
    """Keeps the identity's seal ours, and halts once it is not. One for each program."""

    def __init__(self, ports: Ports, bucket: str, ttl: timedelta, tenure: Tenure) -> None:
        self._ports = ports
        self._bucket = bucket
        self._ttl = ttl
        self._tenure = tenure
        self._alone = anyio.Lock()
        self._term: Term | None = None
        self._former = Seals()
        self._ours: frozenset[Seal] = frozenset()
        self._last: Identity | None = None
        self._witnessed: Lineage | None = None
        self._read_at = self._settled_at = 0.0

    async def take(self, term: Term) -> None:
        """Write this term's seal, once a term; later calls only check it.

        Raises Halt if the identity has a seal that this database never wrote, LeaseLost, StoreUnavailable.
        """
        if self._term == term:
            await self.check()
            return
        async with self._alone:
            self._term, self._ours = term, frozenset()
            self._former = await self._ports.site.seals()
            await self._write(await self._look())
            # The previous leader may be alive, with a database of which ours is a copy. Within two checks
            # it sees our seal and contests it, before any batch of ours has begun.
            wait = self._ttl.total_seconds() * 2 / CHECKS if term.vanished else 0.0
            self._settled_at = self._ports.clock.monotonic() + wait

    async def settle(self, stopping: anyio.Event) -> None:
        """If the previous leader vanished, wait until it has had the time to contest the bucket."""
        left = self._settled_at - self._ports.clock.monotonic()
        if left > 0:
            log.info(
                "previous leader did not release its lease: giving it time to contest", seconds=round(left)
            )
            async with ended_by(stopping):
                await self._ports.clock.sleep(left)

    async def check(self, max_age: float = 0.0) -> UUID:
        """Return the identity's nonce, which is ours. Read again unless read in the last `max_age` seconds.

        Whether the database is still the one that sealed it is compared each time, since that takes no
        request.

        Raises Halt if it is not ours, LeaseLost if that is because another replica leads, and
        StoreUnavailable.
        """
        async with self._alone:
            if self._ports.clock.monotonic() - self._read_at >= max_age or not await self._stands():
                seen = await self._look()
                of_ours = seen.seal in self._ours  # else of the previous term, by a request that came late
                if not of_ours or self._failed_over(seen):
                    await self._write(seen)
            assert self._last is not None, "a term begins with `take`"
            assert self._last.seal is not None, "it is ours by now"
            return self._last.seal.nonce

    async def _stands(self) -> bool:
        """Whether the last reading was ours, and is of this database as it is now."""
        last, ours = self._last, await self._ports.site.identity()
        found = await self._ports.site.lineage()
        if last is None or ours is None or last.seal not in self._ours:
            return False
        if strange(ours, last, found, self._witnessed) or failed_over(last.lineage, found):
            return False
        self._witnessed = found
        return True

    async def watch(self) -> None:
        """Check and renew until cancelled. Raises Halt and LeaseLost; an absent store is waited for."""
        while True:
            for number in range(RENEW_AFTER):
                await self._ports.clock.sleep(self._ttl.total_seconds() / CHECKS)
                try:
                    if number + 1 < RENEW_AFTER:
                        await self.check()
                    else:
                        await self._renew()
                except LeaseLost:
                    raise
                except Retryable as error:
                    log.warning("the bucket's identity was not checked, trying again", reason=str(error))

    async def _renew(self) -> None:
        async with self._alone:
            await self._write(await self._look())

    async def _look(self) -> Identity:
        """Read the identity; contest a seal that is neither ours nor our predecessor's."""
        began = self._ports.clock.monotonic()
        ours = await self._ports.site.identity()
        assert ours is not None, "first contact comes before the seal"
        found = await self._ports.site.lineage()
        seen = await self._read(ours)
        # Before any seal is contested: a copy that recognises itself as one leaves the original alone.
        if why := strange(ours, seen, found, self._witnessed):
            raise Halt(why)
        if not self._known(seen.seal):
            # Read again: without TLS a byte may have changed in transit, and a dispute lasts until a person
            # has settled it.
            seen = await self._read(ours)
        if not self._known(seen.seal):
            await self._contest(seen)
        self._read_at, self._last = began, seen
        self._witnessed = found
        return seen

    def _failed_over(self, seen: Identity) -> bool:
        """Whether the database failed over since the seal; a program that starts next has not seen that."""
        assert self._witnessed is not None
        if not failed_over(seen.lineage, self._witnessed):
            return False
        log.warning(
            "the database failed over: what was committed last may be missing",
            timeline=self._witnessed.timeline,
        )
        return True

    async def _read(self, ours: Identity) -> Identity:
        seen = await self._ports.identity.read()
        check_tie(ours, seen, self._bucket)
        assert seen is not None
        return seen

    def _known(self, seal: Seal | None) -> bool:
        return seal in self._ours or self._inherited(seal)

    def _inherited(self, seal: Seal | None) -> bool:
        """Whether our own database wrote this seal under an earlier term, or was about to write it."""
        assert self._term is not None
        if seal is None:  # no seal was ever confirmed; the first may have been about to be written
            return self._former.confirmed is None
        known = {self._former.confirmed, self._former.pending}
        return seal.nonce in known and seal.epoch < self._term.epoch

    async def _write(self, seen: Identity) -> None:
        """Write a new nonce: to the database as pending, to the bucket, and to the database as confirmed.

        A crash in between leaves one of the two nonces that the next term knows.
        """
        term, site = self._term, self._ports.site
        assert term is not None
        ours, lineage = Seal(epoch=term.epoch, nonce=uuid4()), self._witnessed
        assert lineage is not None, "a look comes before each write"
        for _ in range(TRIES):
            await site.propose(term, seen.seal.nonce if seen.seal else None, ours.nonce)
            self._ours = frozenset({ours} | ({seen.seal} if seen.seal else set()))
            if self._ports.clock.monotonic() >= self._tenure.good_until:
                raise LeaseLost("the lease ended before the bucket's identity was written")
            await self._ports.identity.exchange(replace(seen, seal=ours, lineage=lineage), seen)
            seen = await self._look()
            if seen.seal == ours:
                await site.confirm(term, ours.nonce, lineage)
                self._ours = frozenset({ours})
                return
        raise StoreUnavailable(
            f"the identity in bucket {self._bucket!r} was written {TRIES} times and still says what it said;"
            " it will be tried again"
        )

    async def _contest(self, seen: Identity) -> None:
        """Mark the bucket as contested, and halt. Raises LeaseLost if we do not lead."""
        term = self._term
        assert term is not None
        # Another replica on our own database may have sealed it while this process was suspended.
        await self._ports.lease.renew(term, self._ttl)
        theirs = f"epoch {seen.seal.epoch}" if seen.seal else "no epoch"
        why = f"epoch {term.epoch} of {term.holder} found the seal of {theirs}, unknown to its database"
        for _ in range(TRIES):
            await self._ports.identity.exchange(replace(seen, contested=why), seen)
            found = await self._ports.identity.read()
            if found is None or found.contested or found.site_id != seen.site_id:
                break
            seen = found
        log.error("bucket contested", bucket=self._bucket, reason=why)
        raise Halt(contested(self._bucket, why))
