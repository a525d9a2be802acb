"""Adoption: a person decides which database the bucket belongs to, where the program cannot know.

It is needed after a restore from a backup or a failover that lost commits, when two copies of one database
met on a bucket, when the bucket was emptied or lost its identity, and to move a database to another bucket.
The tie gets a new site id, so the bucket's former owner finds a stranger's identity and halts. Every mark is
withdrawn, since it was found under another tie. A later pass finds again what still should be deleted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil
from uuid import uuid4

import structlog

from reconciler.engine.lead.erasures import come_back, newer
from reconciler.engine.lead.ownership import check_tie, describe, of_quarantine, strange
from reconciler.engine.runtime.context import Ports
from reconciler.errors import Halt, Retryable
from reconciler.model import Identity, QuarantineBucket, Seal, Seals, Term

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The state of bucket and database before an adoption. `fault`: why they disagree, "" if they agree.

    `erasures`: copies of certificates in the bucket that this database does not know.
    """

    bucket: str
    ours: Identity | None
    seen: Identity | None
    fault: str
    erasures: Sequence[str] = ()

    def lines(self) -> list[str]:
        """Describe the situation to the person who has to decide."""
        return [
            f"bucket {self.bucket!r}: its identity says {describe(self.seen)}",
            f"this database is {describe(self.ours)}"
            if self.ours
            else "this database is not tied to a bucket yet",
            f"why they do not agree: {self.fault}"
            if self.fault
            else "they agree: there is nothing to settle",
            *([come_back(self.erasures)] if self.erasures else []),
        ]


async def look(ports: Ports, bucket: str) -> Situation:
    """Read the situation, without writing. Raises Halt if the identity cannot be read as one."""
    ours = await ports.site.identity()
    seen = await ports.identity.read()
    fault = ""
    if ours is not None:
        try:
            check_tie(ours, seen, bucket)
        except Halt as halt:
            fault = str(halt)
        else:
            assert seen is not None
            fault = strange(ours, seen, await ports.site.lineage())
            fault = fault or _seal_fault(seen, await ports.site.seals())
            fault = fault or await _quarantine_fault(ports, ours)
    elif seen is not None and seen.site_id != await ports.site.new_id():
        fault = "the identity is another database's"
    return Situation(bucket=bucket, ours=ours, seen=seen, fault=fault, erasures=await newer(ports))


async def _quarantine_fault(ports: Ports, ours: Identity) -> str:
    """Why another bucket for copies is not this database's. One without identity and copies is none yet."""
    copies = await ports.recovery.quarantines()
    for bucket in await _quarantines(ports, copies):
        unused = bucket.folder not in copies and await ports.quarantines.identity(bucket).read() is None
        if not unused and (fault := await ports.quarantines.fault(bucket, ours)):
            return fault
    return ""


async def _quarantines(ports: Ports, folders: Iterable[str]) -> list[QuarantineBucket]:
    """The other buckets in which copies lie, by their folders, or will lie."""
    named = [QuarantineBucket.of_key(folder, ports.quarantines.of) for folder in sorted(folders)]
    return [each for each in dict.fromkeys((*named, ports.quarantines.configured)) if each is not None]


def _seal_fault(seen: Identity, seals: Seals) -> str:
    known = {seals.confirmed, seals.pending}
    if seen.seal.nonce in known if seen.seal else seals.confirmed is None:
        return ""
    return "the identity bears a nonce that this database does not know: it was restored, or is a copy"


async def adopt(
    ports: Ports,
    bucket: str,
    prefixes: tuple[str, ...],
    term: Term,
    longest_call: timedelta,
    upload_window: timedelta,
) -> int:
    """Make the bucket this database's, under a new site id. Returns how many marks were withdrawn.

    The other buckets for copies go along. A crash partway leaves a bucket with a site id that no database
    has; another adoption mends that. Waits as long as deletions may still be on their way. Raises Retryable
    if an identity changed meanwhile.
    """
    while left := (await ports.site.on_their_way(term, longest_call)).total_seconds():
        log.info("deletions may still be on their way: waiting for their end", seconds=ceil(left))
        await ports.clock.sleep(left)
    withdrawn = await ports.site.withdraw(term, upload_window)
    await ports.site.new_id()
    seen = await ports.identity.read()
    seal = Seal(epoch=term.epoch, nonce=uuid4())
    identity = Identity(
        site_id=uuid4(),
        bucket=bucket,
        prefixes=prefixes,
        created_at=await ports.records.now(),
        seal=seal,
        lineage=await ports.site.lineage(),
    )
    if seen is None:
        await ports.identity.write(identity)
    else:
        await ports.identity.exchange(identity, seen)
    if await ports.identity.read() != identity:
        raise Retryable(f"the identity of bucket {bucket!r} changed meanwhile: look again, then adopt again")
    await ports.site.adopt(term, replace(identity, etag=""))
    for other in await _quarantines(ports, await ports.recovery.quarantines()):
        await _adopt_quarantine(ports, other, identity)
    return withdrawn


async def _adopt_quarantine(ports: Ports, bucket: QuarantineBucket, ours: Identity) -> None:
    marker, wanted = ports.quarantines.identity(bucket), of_quarantine(bucket, ours)
    seen = await marker.read()
    if seen is None:
        await marker.write(wanted)
    else:
        await marker.exchange(wanted, seen)
    if fault := await ports.quarantines.fault(bucket, ours):
        raise Retryable(f"its identity changed meanwhile: look again, then adopt again ({fault})")
