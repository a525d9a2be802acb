"""What an inventory may say, and when it is not believed at all.

An inventory is a list that began hours or days ago and took up to a day to make. It may lack what was put
meanwhile, and name what is gone. So it only nominates, and only what nobody can be at work on.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction

from reconciler.model import (
    Backlog,
    Finding,
    InventoryUsed,
    KeepReason,
    Policy,
    PrefixSeen,
    Record,
    StoredObject,
    Tally,
)
from reconciler.model.durations import duration_text
from reconciler.model.moments import moment
from reconciler.planning import drift_rules, sides
from reconciler.planning.formatting import counted

ROLLING = timedelta(hours=48)
"""An inventory is no snapshot, and new ones may come two days late: so old a row has to be when it begins."""

LEAST = Fraction(9, 10)
"""The part of what was there before, and of the rows, below which an inventory is taken for incomplete."""


def age_of_orphans(policy: Policy, upload_window: timedelta) -> timedelta:
    """How old an object has to be at the rows' snapshot: an upload may still be waiting for its row."""
    return policy.grace_period + upload_window


def age_of_missing(policy: Policy) -> timedelta:
    """How old a row has to be when the inventory begins."""
    return max(ROLLING, policy.grace_period)


def judge_object(
    stored: StoredObject, policy: Policy, read_at: datetime, upload_window: timedelta
) -> Finding | KeepReason:
    """As `drift_rules.judge_object`, of an object that an inventory names."""
    found = drift_rules.judge_object(stored, policy, read_at)
    if not isinstance(found, Finding):
        return found
    at = stored.last_modified
    old = at is not None and at < read_at - age_of_orphans(policy, upload_window)
    return found if old else KeepReason.PENDING


def same(listed: StoredObject, now: StoredObject) -> bool:
    """Whether a HEAD shows the object that was listed. A HEAD's time has whole seconds.

    Two that have no ETag are not known to be the same.
    """
    return bool(listed.etag) and (listed.etag, listed.size, second(listed.last_modified)) == (
        now.etag,
        now.size,
        second(now.last_modified),
    )


def as_head_shows(
    listed: StoredObject, now: StoredObject, *, parts_dated_by_start: bool
) -> StoredObject | None:
    """The listed object, if a HEAD shows the same one, by the time that counts; None where it is another.

    Where the list dates an object that came in parts by when its upload began, a HEAD may say later: that
    time counts, for its age and for all that compares it from here on. Earlier it cannot be.
    """
    if same(listed, now):
        return listed
    if not (
        parts_dated_by_start and in_parts(listed.etag) and (listed.etag, listed.size) == (now.etag, now.size)
    ):
        return None
    began, put = second(listed.last_modified), now.last_modified
    return replace(listed, last_modified=put) if began and put and put > began else None


def in_parts(etag: str) -> bool:
    """Whether an object of that ETag came in parts: S3 writes their number behind a hyphen, under any key."""
    return "-" in etag


def second(at: datetime | None) -> datetime | None:
    return at and at.replace(microsecond=0)


def judge_missing(
    record: Record, policy: Policy, now: datetime, began_at: datetime
) -> Finding | KeepReason | None:
    """As `drift_rules.judge_missing`, of a row whose object an inventory does not name."""
    found = drift_rules.judge_missing(record, policy, now)
    return found if not isinstance(found, Finding) or ripe(record, policy, began_at) else KeepReason.PENDING


def counts_as_missing(record: Record, policy: Policy, now: datetime, began_at: datetime) -> bool:
    """As `drift_rules.counts_as_missing`, of a row whose object an inventory does not name."""
    return ripe(record, policy, began_at) and drift_rules.counts_as_missing(record, policy, now)


def ripe(record: Record, policy: Policy, began_at: datetime) -> bool:
    """Whether the row was there long enough before the inventory began."""
    return record.created_at is not None and record.created_at < began_at - age_of_missing(policy)


def out_of_date(
    used: InventoryUsed, last: InventoryUsed | None, now: datetime, max_age: timedelta
) -> str | None:
    """Why the inventory comes too late, or None."""
    if last is not None and used.began_at < last.began_at:
        return (
            f"inventory {used.name} began at {moment(used.began_at)}, before the one last used"
            f" ({last.name}): a newer one is gone, or its manifest is"
        )
    if last is not None and used.began_at == last.began_at and used.digest != last.digest:
        return f"inventory {used.name} is not what it was when it was last used: its manifest has changed"
    if now - used.began_at > max_age:
        return (
            f"inventory {used.name} began at {moment(used.began_at)}, longer ago than"
            f" {duration_text(max_age)} (RECONCILER_INVENTORY__MAX_AGE): are inventories still made?"
        )
    if used.delivered_at > now:
        return f"inventory {used.name} is of {moment(used.delivered_at)}, which is later than now"
    return None


def incomplete(
    used: InventoryUsed,
    seen: Mapping[str, PrefixSeen],
    previous: Tally | None,
    since: Backlog,
    *,
    marked: bool,
) -> str | None:
    """Why an inventory cannot hold all of the bucket, or None.

    `previous` is what the last released sweep saw, `since` what was deleted from then on.
    """
    if not marked:
        return (
            f"inventory {used.name} lacks .reconciler/identity.json, which the bucket has had since before:"
            " it is of another bucket, or not of all of it"
        )
    parts = [(prefix, part, _before(prefix, previous, since)) for prefix, part in sorted(seen.items())]
    if previous is not None and not previous.by_prefix:
        before = previous.objects - sides.went("objects", since)
    else:
        before = sum(past for *_, past in parts)
    whole = PrefixSeen(
        objects=sum(part.objects for part in seen.values()),
        rows=sum(part.rows for part in seen.values()),
        unripe=sum(part.unripe for part in seen.values()),
    )
    few = _few(used, "", whole, before)
    return few or next(
        filter(None, (_few(used, f" under {prefix!r}", part, past) for prefix, part, past in parts)), None
    )


def _before(prefix: str, previous: Tally | None, since: Backlog) -> int:
    """How many objects of the prefix should still be there."""
    if previous is None or prefix not in previous.by_prefix:
        return 0
    gone = sides.went("objects", since.by_prefix.get(prefix, sides.NOTHING))
    return previous.by_prefix[prefix].objects - gone


def _few(used: InventoryUsed, where: str, part: PrefixSeen, before: int) -> str | None:
    for number, what in (
        (before, "since the last sweep there should be"),
        (part.rows - part.unripe, "the table has rows for"),
    ):
        if part.objects < LEAST * number:
            return (
                f"inventory {used.name} has {counted(part.objects, 'object')}{where}, and {what} {number:,}:"
                " less than nine tenths, so it is not complete (where that much was deleted, sweep once with"
                " RECONCILER_SWEEP__SOURCE=list)"
            )
    return None
