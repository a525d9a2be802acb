"""First contact: tie the bucket to this database, or find out that it belongs to another.

The marker object in the bucket and the row in the database must name the same site; a bucket of
somebody else's, or a database pointed at another bucket, halts before anything is marked.
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from reconciler.engine.steering import Ports
from reconciler.errors import Halt
from reconciler.model import Identity

log = structlog.get_logger(__name__)


async def first_contact(ports: Ports, bucket: str, prefixes: tuple[str, ...]) -> None:
    """Check the tie, making it where neither side has one. Raises Halt naming both identities."""
    ours = await verify(ports, bucket)
    if ours is None:
        ours = await _tie(ports, bucket, prefixes)
    if ours.prefixes != prefixes:
        log.info("managed prefixes changed", before=ours.prefixes, after=prefixes)
        await _write(ports, replace(ours, prefixes=prefixes))


async def verify(ports: Ports, bucket: str) -> Identity | None:
    """The database's identity if the bucket's marker agrees with it; None where there is no tie yet."""
    ours = await ports.site.identity()
    seen = await ports.marker.read()
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
            " or use another database"
        )
        raise Halt(message)
    if seen is None:
        message = (
            f"bucket {bucket!r} has no identity marker, but this database ({describe(ours)}) wrote one:"
            " the bucket was emptied or made anew, or the endpoint is another; nothing is deleted until"
            " RECONCILER_BUCKET__ENDPOINT_URL is right or the object .reconciler/identity.json is restored"
        )
        raise Halt(message)
    if seen.site_id != ours.site_id:
        raise Halt(_foreign(bucket, seen, describe(ours)))


async def _tie(ports: Ports, bucket: str, prefixes: tuple[str, ...]) -> Identity:
    """The site id is made before the marker is written, so that a crash in between is no foreign bucket."""
    site_id, now = await ports.site.new_id(), await ports.records.now()
    identity = Identity(site_id=site_id, bucket=bucket, prefixes=prefixes, created_at=now)
    await _write(ports, identity)
    log.info("bucket tied to this database", bucket=bucket, prefixes=prefixes, site=str(site_id))
    return identity


async def _write(ports: Ports, identity: Identity) -> None:
    """The bucket first, then the row: with the marker alone, the next start finds its own site id."""
    await ports.marker.write(identity)
    seen = await ports.marker.read()
    if seen is None or seen.site_id != identity.site_id:
        raise Halt(_foreign(identity.bucket, seen, describe(identity)))
    await ports.site.bind(identity)


def _foreign(bucket: str, seen: Identity | None, ours: str) -> str:
    return (
        f"bucket {bucket!r} belongs to another database: its marker says {describe(seen)}, this database"
        f" is {ours}; point RECONCILER_BUCKET__NAME or RECONCILER_DATABASE_URL at the pair that"
        " belongs together"
    )


def describe(identity: Identity | None) -> str:
    """An identity in a few words, for messages."""
    if identity is None:
        return "no marker"
    prefixes = ", ".join(repr(prefix) for prefix in identity.prefixes)
    return f"site {identity.site_id}, prefixes {prefixes}, since {identity.created_at:%Y-%m-%d}"
