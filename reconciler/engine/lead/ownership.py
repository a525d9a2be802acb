"""First contact: tie the bucket to this database, or find out that it belongs to another.

The identity object in the bucket and the row in the database must name the same site. If the bucket is
another database's, or this database is tied to another bucket, the program halts before it marks anything.
"""

from dataclasses import replace

import structlog

from reconciler.engine.runtime.context import Ports
from reconciler.errors import Halt
from reconciler.model import Identity, Lineage, QuarantineBucket
from reconciler.planning import quarantine
from reconciler.planning.lineage import difference

log = structlog.get_logger(__name__)


async def first_contact(ports: Ports, bucket: str, prefixes: tuple[str, ...]) -> None:
    """Check the tie, or make it if neither side has one. Raises Halt naming both identities."""
    ours = await verify(ports, bucket)
    if ours is None:
        ours = await _tie(ports, bucket, prefixes)
    if ours.prefixes != prefixes:
        log.info("managed prefixes changed", before=ours.prefixes, after=prefixes)
        await _write_prefixes(ports, replace(ours, prefixes=prefixes))
    if ports.quarantines.configured is not None:
        await _tie_quarantine(ports, ports.quarantines.configured, ours)


async def verify(ports: Ports, bucket: str) -> Identity | None:
    """The database's identity if the bucket's identity agrees with it; None if there is no tie yet.

    Writes nothing. The seal is not compared here but by the leader: a copy of the database may look.
    """
    ours = await ports.site.identity()
    seen = await ports.identity.read()
    if ours is not None:
        check_tie(ours, seen, bucket)
    elif seen is not None and seen.site_id != (site_id := await ports.site.new_id()):
        raise Halt(_foreign(bucket, seen, f"site {site_id}, not tied to a bucket yet"))
    return ours


def check_tie(ours: Identity, seen: Identity | None, bucket: str) -> None:
    """Raise Halt unless the database's and the bucket's identity belong together."""
    if ours.bucket != bucket:
        message = (
            f"this database is tied to bucket {ours.bucket!r} ({describe(ours)}), and the settings name"
            f" bucket {bucket!r} ({describe(seen)}); set RECONCILER_BUCKET__NAME back,"
            " use another database, or move this one with `reconciler adopt-bucket`"
        )
        raise Halt(message)
    if seen is None:
        message = (
            f"bucket {bucket!r} has no identity object, but this database ({describe(ours)}) wrote one:"
            " the bucket was emptied or made again, the endpoint is another, or another collector removed it"
            " as an object without a row (doctor names Conduit's); nothing is deleted until"
            " RECONCILER_BUCKET__ENDPOINT_URL is right, the object .reconciler/identity.json is restored, or"
            " `reconciler adopt-bucket` ties them again"
        )
        raise Halt(message)
    if seen.site_id != ours.site_id:
        raise Halt(_foreign(bucket, seen, describe(ours)))
    if seen.contested:
        raise Halt(contested(bucket, seen.contested))


def strange(ours: Identity, seen: Identity, found: Lineage, witnessed: Lineage | None = None) -> str:
    """Why this database did not seal the bucket last, or has gone back in time; "" if it did and has not."""
    for sealed in (seen.lineage, ours.lineage):
        if why := difference(sealed, found, witnessed):
            return (
                f"this database is not the one that last led on bucket {ours.bucket!r}, or it went back in"
                f" time: {why}. It was restored, copied or replaced, and rows may be missing, so nothing is"
                " deleted until `reconciler adopt-bucket --yes`, run with the database that is to go on,"
                " has settled it"
            )
    return ""


async def _tie(ports: Ports, bucket: str, prefixes: tuple[str, ...]) -> Identity:
    """Make the site id before writing the identity, so that a crash in between leaves no foreign bucket."""
    site_id, now = await ports.site.new_id(), await ports.records.now()
    identity = Identity(site_id=site_id, bucket=bucket, prefixes=prefixes, created_at=now)
    await _write(ports, identity)
    log.info("bucket tied to this database", bucket=bucket, prefixes=prefixes, site=str(site_id))
    return identity


async def _tie_quarantine(ports: Ports, bucket: QuarantineBucket, ours: Identity) -> None:
    """Check the tie of the other bucket for copies, or make it while no copy lies there."""
    identity = ports.quarantines.identity(bucket)
    if await identity.read() is None and bucket.folder not in await ports.recovery.quarantines():
        if (own := await ports.quarantines.own_identity(bucket).read()) is not None:
            raise Halt(quarantine.managed(bucket, own))
        await identity.write(of_quarantine(bucket, ours))
        log.info("bucket for copies tied to this database", bucket=bucket.name, site=str(ours.site_id))
    if fault := await ports.quarantines.fault(bucket, ours):
        raise Halt(fault)


def of_quarantine(bucket: QuarantineBucket, ours: Identity) -> Identity:
    """What is written to another bucket for copies."""
    return Identity(
        site_id=ours.site_id, bucket=bucket.name, prefixes=(bucket.folder,), created_at=ours.created_at
    )


async def _write(ports: Ports, identity: Identity) -> None:
    """Write the bucket first, then the row: with the identity alone, the next start finds its own site id."""
    await ports.identity.write(identity)
    seen = await ports.identity.read()
    if seen is None or seen.site_id != identity.site_id:
        raise Halt(_foreign(identity.bucket, seen, describe(identity)))
    await ports.site.bind(identity)


async def _write_prefixes(ports: Ports, identity: Identity) -> None:
    """Write the prefixes to bucket and row. The seal stays; a crash in between repeats this."""
    seen = await ports.identity.read()
    check_tie(identity, seen, identity.bucket)
    assert seen is not None
    await ports.identity.exchange(replace(seen, prefixes=identity.prefixes), seen)
    await ports.site.bind(identity)


def contested(bucket: str, why: str) -> str:
    """The message to a person, on both sides."""
    return (
        f"bucket {bucket!r} is contested: two databases with the same site id act on it, or this one was"
        f" restored from a backup or a lagging replica ({why}); on a store that ignores If-Match, a request"
        " of a former leader that came late looks the same. Nothing is deleted until"
        " `reconciler adopt-bucket --yes`, run with the database that is to go on, has settled it"
    )


def _foreign(bucket: str, seen: Identity | None, ours: str) -> str:
    return (
        f"bucket {bucket!r} belongs to another database: its identity says {describe(seen)}, this database"
        f" is {ours}; point RECONCILER_BUCKET__NAME or RECONCILER_DATABASE_URL at the pair that"
        " belongs together, or take the bucket over with `reconciler adopt-bucket`"
    )


def describe(identity: Identity | None) -> str:
    """An identity in a few words, for messages."""
    if identity is None:
        return "no identity"
    prefixes = ", ".join(repr(prefix) for prefix in identity.prefixes)
    return f"site {identity.site_id}, prefixes {prefixes}, since {identity.created_at:%Y-%m-%d}"
