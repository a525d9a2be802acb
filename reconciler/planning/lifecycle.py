"""What the bucket's own lifecycle rules remove: too early for an undo, without asking us, or as it should be.

A rule that also looks at tags or sizes may remove any of our copies, which have the tags of their sources.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from reconciler.model import (
    BY_STORE,
    FOREVER,
    QUARANTINE_PREFIX,
    RESERVED_PREFIX,
    Capabilities,
    DeleteMode,
    LifecycleRule,
    Policy,
    Record,
)
from reconciler.model.durations import duration_text
from reconciler.planning import expiry, formatting
from reconciler.planning.expiry import Known


def too_early(found: Capabilities, prefixes: Sequence[str], mode: DeleteMode, window: timedelta) -> list[str]:
    """A line for each rule that leaves nothing readable for an undo within the window."""
    elsewhere = found.quarantine
    lines = []
    if mode is DeleteMode.QUARANTINE:
        folder = QUARANTINE_PREFIX if elsewhere is None else elsewhere.bucket.folder
        what = f"copies under {folder}"
        if elsewhere is not None:
            what += f" in bucket {elsewhere.bucket.name!r}"
        for rule in found.rules_for_copies or ():
            if _overlaps(rule, (folder,)):
                lines += _early(rule, what, rule.expires, rule.archives, window)
    if mode is DeleteMode.VERSIONED:
        for rule in found.lifecycle or ():
            if _overlaps(rule, prefixes):
                early = rule.noncurrent_expires, rule.noncurrent_archives
                lines += _early(rule, "hidden versions", *early, window)
    return lines


def early_removals(
    found: Capabilities,
    prefixes: Sequence[str],
    policy: Policy,
    known: Known | None = None,
    undo_window: timedelta = timedelta(0),
) -> list[str]:
    """A line for each rule that removes objects without asking the records, or a bucket's identity.

    `known` is what the database knows of the `areas`: then a rule that may be left to a store is no line.
    """
    lines = []
    for rule in found.lifecycle or ():
        covered = _covered(rule, prefixes) if rule.expires is not None else []
        if rule.expires is not None and covered:
            longest = max(expiry.longest(each, policy) for each in covered)
            why = []
            if known is not None:
                why = [line for each in covered for line in expiry.against(each, policy, known)]
                enough = max(expiry.backstop(each, policy, undo_window) for each in covered)
            if known is None or why or rule.expires < enough:
                lines.append(_expires_objects(rule, rule.expires, longest, list(dict.fromkeys(why))))
        if rule.archives is not None and _overlaps(rule, prefixes):
            after = _days(rule.archives)
            lines.append(
                f"lifecycle rule {rule.id!r} archives objects in managed prefixes {after}: what is archived"
                " can be neither copied nor read at once, so that quarantine puts it on hold"
            )
        if rule.expires is not None and _overlaps(rule, (f"{RESERVED_PREFIX}identity.json",)):
            lines.append(_expires(rule, rule.expires, f"{RESERVED_PREFIX}identity.json"))
    if found.quarantine is not None:
        bucket = found.quarantine.bucket
        lines += [
            _expires(rule, rule.expires, f"{bucket.identity_key} in bucket {bucket.name!r}")
            for rule in found.quarantine.lifecycle or ()
            if rule.expires is not None and _overlaps(rule, (bucket.identity_key,))
        ]
    return lines


def areas(found: Capabilities, prefixes: Sequence[str]) -> list[str]:
    """The prefixes of the managed keys that the store's rules expire."""
    expiring = [rule for rule in found.lifecycle or () if rule.expires is not None]
    return sorted({each for rule in expiring for each in _covered(rule, prefixes)})


def _expires_objects(rule: LifecycleRule, after: timedelta, longest: timedelta, why: Sequence[str]) -> str:
    line = f"lifecycle rule {rule.id!r} expires objects in managed prefixes {_days(after)}"
    if after < longest:
        kept = "has no end" if longest == FOREVER else f"is {duration_text(longest)}"
        line += f", before their retention ends, which {kept}"
    line += ": their records will be dangling, and no undo brings them back"
    return f"{line}. It ignores: {'; '.join(why)}" if why else line


def _covered(rule: LifecycleRule, prefixes: Sequence[str]) -> list[str]:
    found = (expiry.area(rule, each) for each in prefixes)
    return [each for each in found if each is not None]


def known_rules(found: Capabilities) -> Sequence[LifecycleRule]:
    """The rules by which a missing object is believed to have expired.

    Where versions may be locked the store is probed once alone, so that its rules may be out of date.
    """
    return () if found.object_lock else found.lifecycle or ()


def expired_by_store(record: Record, rules: Sequence[LifecycleRule], now: datetime) -> str:
    """Why the store itself should have expired the record's object by now; "" where that is not certain.

    A store adds the days to the object's time and rounds up to the next midnight in UTC. Ours is the row's.
    """
    created = record.created_at
    if created is None:
        return ""
    for rule in rules:
        after = rule.expires_all
        if after is None or not record.storage_key.startswith(rule.prefix) or now - created < after:
            continue
        day = (created + after).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if now >= day + timedelta(days=1):
            return f"{BY_STORE}lifecycle rule {rule.id!r} expires {rule.prefix!r} {_days(after)}"
    return ""


def _expires(rule: LifecycleRule, after: timedelta, marker: str) -> str:
    return (
        f"lifecycle rule {rule.id!r} expires {marker} {_days(after)}: nothing is deleted without that marker;"
        " keep it out of the rule"
    )


def _overlaps(rule: LifecycleRule, prefixes: Sequence[str]) -> bool:
    return any(each.startswith(rule.prefix) or rule.prefix.startswith(each) for each in prefixes)


def _early(
    rule: LifecycleRule,
    what: str,
    expires: timedelta | None,
    archives: timedelta | None,
    window: timedelta,
) -> list[str]:
    lines = []
    for does, after in (("deletes", expires), ("archives", archives)):
        if after is not None and after < window:
            lines.append(
                f"lifecycle rule {rule.id!r} {does} {what} {_days(after)}, and RECONCILER_UNDO_WINDOW is"
                f" {duration_text(window)}"
            )
    return lines


def _days(after: timedelta) -> str:
    return f"after {formatting.counted(after.days, 'day')}" if after else "at once"
