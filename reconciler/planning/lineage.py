"""Whether this database sealed the bucket's identity, and has not gone back in time since.

| difference found | cause | verdict |
|---|---|---|
| system identifier | a dump restored into another server, an upgrade, logical replication | halt |
| oid of the database | a dump or a template restored next to or over the old one | halt |
| oid of a mapped table, or of our own | a table restored, swapped, or made again | halt |
| log shorter than it was | a snapshot or a backup restored, a failover that lost commits | halt |
| timeline lower | a backup restored | halt |
| timeline higher, under a program that led on the former one a moment ago | a failover | go on |
| timeline higher, otherwise | a failover or a point-in-time recovery: nothing distinguishes them | halt |

What the server does not report is not compared. Pure.
"""

from datetime import timedelta

from reconciler.model import Lineage

FAILOVER = timedelta(minutes=15)
"""How long a database may be away in a failover. The program that led before sealed every minute until
then, so no more than that minute's commits can be missing without notice."""

NAMES = {
    "cluster": "the server's system identifier",
    "database": "the database's oid",
    "media": "the media table's oid",
    "keys": "the virtual keys table's oid",
    "own": "the oid of the reconciler's own tables",
}
"""What never changes, the widest first."""


def difference(sealed: Lineage | None, found: Lineage, witnessed: Lineage | None = None) -> str:
    """Evidence that the database is another one, or went back, in a few words; "" if there is none.

    `witnessed` is what this very process saw when it last looked, None if it has not looked before.
    """
    if sealed is None:
        return ""
    for name, fact in NAMES.items():
        was, now = getattr(sealed, name), getattr(found, name)
        if None not in {was, now} and was != now:
            return f"{fact} is {now}, and was {was}"
    for before in (sealed, witnessed):
        if before is not None and (change := _gone_back(before, found)):
            return change
    if failed_over(sealed, found) and not _seen_through(sealed, found, witnessed):
        recovered = "a failover, or a recovery to a point in time"
        return f"its timeline is {found.timeline}, and was {sealed.timeline}: {recovered}"
    return ""


def failed_over(sealed: Lineage | None, found: Lineage) -> bool:
    """Whether the database continues on a later timeline than the one that was sealed."""
    return sealed is not None and _later(sealed.timeline, found.timeline)


def _gone_back(before: Lineage, found: Lineage) -> str:
    if _later(found.timeline, before.timeline):
        return f"its timeline is {found.timeline}, and was {before.timeline}"
    if _later(found.wal, before.wal):
        return f"its write-ahead log ends at {_lsn(found.wal)}, and was at {_lsn(before.wal)} before"
    return ""


def _seen_through(sealed: Lineage, found: Lineage, witnessed: Lineage | None) -> bool:
    """Whether this process was there on the sealed timeline, until a moment ago, or since."""
    if witnessed is None or witnessed.at is None or found.at is None:
        return False
    return not _later(witnessed.timeline, sealed.timeline) and found.at - witnessed.at <= FAILOVER


def _later(one: int | None, other: int | None) -> bool:
    """Whether both are known, and `other` is higher."""
    return one is not None and other is not None and other > one


def _lsn(position: int | None) -> str:
    """In the notation of Postgres."""
    assert position is not None
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
