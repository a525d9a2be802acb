"""Adoption: a person decides which database the bucket belongs to, where the program cannot know.

It is needed after a restore from a backup or a failover that lost commits, when two copies of one database
met on a bucket, when the bucket was emptied or lost its identity, and to move a database to another bucket.
The tie gets a new site id, so the bucket's former owner finds a stranger's identity and halts. Every mark is
withdrawn, since it was found under another tie. A later pass finds again what still should be deleted.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil
from uuid import uuid4

import structlog

from reconciler.engine.lead.ownership import check_tie, describe, strange
from reconciler.engine.runtime.context import Ports
from reconciler.errors import Halt, Retryable
from reconciler.model import Identity, Seal, Seals, Term

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The state of bucket and database before an adoption. `fault`: why they disagree, "" if they agree."""

    bucket: str
    ours: Identity | None
    seen: Identity | None
    fault: str

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
    elif seen is not None and seen.site_id != await ports.site.new_id():
        fault = "the identity is another database's"
    return Situation(bucket=bucket, ours=ours, seen=seen, fault=fault)


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

    A crash partway leaves the bucket with a site id that no database has; another adoption mends that.
    Waits as long as deletions may still be on their way. Raises Retryable if the identity changed meanwhile.
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
    return withdrawn
