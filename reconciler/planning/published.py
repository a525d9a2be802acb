"""Retention in words that the gateway's users can read: whose media stays how long, and what ends it."""

from collections.abc import Sequence
from datetime import timedelta

from reconciler.model import FOREVER, Evict, Match, Policy, Terms
from reconciler.planning.formatting import counted, human_bytes

_NAMES = {
    "virtual_key_id": "virtual key",
    "key_group": "key group",
    "media_type": "media type",
    "provider": "provider",
    "model": "model",
    "prefix": "storage keys under",
}


def whose(match: Match) -> str:
    """`media type video or audio, and provider acme`."""
    return ", and ".join(f"{_NAMES[name]} {' or '.join(those)}" for name, those in match.given.items())


WITHOUT_END = "Kept without an end"


def kept(terms: Terms, *, accesses: bool) -> str:
    """How long media stays. `accesses`: the tables say when it was last accessed, else nothing is stale."""
    if not accesses or terms.media_retention == FOREVER:
        return WITHOUT_END
    unless = ""
    if terms.recent_access:
        unless = f", or {span(terms.recent_access)} after the last access if that is later"
    return f"Deleted {span(terms.media_retention)} after creation{unless}"


def soft_deleted(terms: Terms) -> str:
    """What happens to media that was marked as deleted; "" where that is the same for all."""
    if terms.soft_delete_grace is None:
        return ""
    if terms.soft_delete_grace == FOREVER:
        return "Kept when it was marked as deleted"
    return f"Removed {span(terms.soft_delete_grace)} after it was marked as deleted"


def of_ended_keys(terms: Terms, *, expire: bool) -> str:
    """What happens to the media of a virtual key that was disabled or has expired. `expire`: they may."""
    ends = "is disabled or expires" if expire else "is disabled"
    if not terms.delete_revoked:
        return f"Kept as it is when its virtual key {ends}"
    after = f"{span(terms.key_grace)} after" if terms.key_grace else "as soon as"
    return f"Deleted {after} its virtual key {ends}"


def of_quota(terms: Terms, others: Policy) -> str:
    """How much an owner may keep, and what happens beyond that; "" without a quota."""
    quota = terms.quota
    if quota is None:
        return ""
    if quota == others.quota and terms is not others:
        return "Counts towards the limit of everything else"
    most = (
        "" if quota.max_bytes is None else human_bytes(quota.max_bytes),
        "" if quota.max_objects is None else counted(quota.max_objects, "file"),
    )
    whose = quota.owner.value.replace("_", " ")
    limit = f"A {whose} may keep {' and '.join(filter(None, most))} of it"
    if not quota.evicts:
        return f"{limit}; nothing is deleted for keeping more"
    first = "oldest" if quota.evict is Evict.OLDEST else "least recently accessed"
    spared = f", but none of the last {span(others.grace_period)}" if others.grace_period else ""
    if terms.recent_access:
        also = "and none that" if spared else ", but none that"
        spared += f"{' ' if spared else ''}{also} was accessed in the last {span(terms.recent_access)}"
    return f"{limit}; beyond that the {first} is deleted first{spared}"


def for_all(
    policy: Policy, undo_window: timedelta, *, ends: bool, expires: bool, deleted: bool
) -> Sequence[str]:
    """What holds beside the rules; a sentence each. `undo_window` is 0 where deletions are for good.

    `ends`: by some rule media does not stay without an end. `expires` and `deleted`: the table has a column
    of expiry times, and one of the time at which a row was marked as deleted.
    """
    if not policy.auto_cleanup:
        return ("Clean-up by these rules is switched off at present: nothing is deleted by them.",)
    found = []
    if expires:
        found.append(
            "Media that has an expiry time of its own is deleted once that is over, whatever the rules say."
        )
    if deleted and policy.soft_delete_grace is None:
        later = f"{span(policy.grace_period)} later" if policy.grace_period else "at once"
        found.append(f"Media that is marked as deleted is removed {later}.")
    if not (found or ends):
        return ("No time ends by itself: nothing is deleted by these rules.",)
    if policy.delete_delay:
        wait = span(policy.delete_delay)
        found.append(f"Between the end of its time and its deletion lies {wait} or more.")
    if undo_window:
        found.append(f"What was deleted can be brought back for {span(undo_window)}.")
    return found


def span(duration: timedelta) -> str:
    """A duration in the largest unit that has it whole: "90 days", "36 hours"."""
    seconds = int(duration.total_seconds())
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds % length == 0:
            return counted(seconds // length, unit)
    return counted(seconds, "second")
