"""What the bucket's own lifecycle rules remove too early for an undo, or without asking us.

A rule that also looks at tags or sizes may remove any of our copies, which have the tags of their sources.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from reconciler.model import QUARANTINE_PREFIX, RESERVED_PREFIX, DeleteMode, LifecycleRule
from reconciler.model.durations import duration_text
from reconciler.planning import formatting


def too_early(
    rules: Iterable[LifecycleRule], prefixes: Sequence[str], mode: DeleteMode, window: timedelta
) -> list[str]:
    """A line for each rule that leaves nothing readable for an undo within the window."""
    lines = []
    for rule in rules:
        if mode is DeleteMode.QUARANTINE and _overlaps(rule, (QUARANTINE_PREFIX,)):
            lines += _early(rule, "copies under .reconciler/quarantine/", rule.expires, rule.archives, window)
        elif mode is DeleteMode.VERSIONED and _overlaps(rule, prefixes):
            kept = "hidden versions"
            lines += _early(rule, kept, rule.noncurrent_expires, rule.noncurrent_archives, window)
    return lines


def early_removals(rules: Iterable[LifecycleRule], prefixes: Sequence[str]) -> list[str]:
    """A line for each rule that removes objects without asking the records, or the bucket's identity."""
    lines = []
    for rule in rules:
        if rule.expires is not None and _overlaps(rule, prefixes):
            after = _days(rule.expires)
            lines.append(
                f"lifecycle rule {rule.id!r} expires objects in managed prefixes {after}: their records will"
                " be dangling, and no undo brings them back"
            )
        if rule.archives is not None and _overlaps(rule, prefixes):
            after = _days(rule.archives)
            lines.append(
                f"lifecycle rule {rule.id!r} archives objects in managed prefixes {after}: what is archived"
                " can be neither copied nor read at once, so that quarantine puts it on hold"
            )
        if rule.expires is not None and _overlaps(rule, (f"{RESERVED_PREFIX}identity.json",)):
            lines.append(
                f"lifecycle rule {rule.id!r} expires .reconciler/identity.json {_days(rule.expires)}: nothing"
                " is deleted without that marker; keep .reconciler/ out of the rule"
            )
    return lines


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
