"""Judge what is on one side only: an object without a record (or whose record has just left), a record
without an object.
"""

from datetime import datetime, timedelta

from reconciler.model import DeleteMode, Departed, Finding, KeepReason, Policy, Record, StoredObject, Verdict
from reconciler.model.durations import duration_text
from reconciler.model.moments import moment
from reconciler.planning.keys import protection
from reconciler.planning.retention import disabled, judge_record


def judge_object(obj: StoredObject, policy: Policy, now: datetime) -> Finding | KeepReason:
    """An object that no record names: an orphan, or why it stays.

    A missing Last-Modified protects. If the clean-up of orphans is off, it is found and kept.
    """
    protected = protection(obj.key, policy)
    if protected is not None:
        return protected
    if not past(obj.last_modified, policy, now):
        return KeepReason.PENDING
    return Finding(
        verdict=Verdict.ORPHAN,
        storage_key=obj.key,
        bytes=obj.size,
        reason=f"no record; last modified {_at(obj.last_modified, policy)}",
        kept=disabled(Verdict.ORPHAN, policy),
        object_etag=obj.etag,
        object_last_modified=obj.last_modified,
    )


def judge_missing(record: Record, policy: Policy, now: datetime) -> Finding | KeepReason | None:
    """A row whose object the store did not list: dangling, or why it stays.

    None if a retention verdict applies, switched off or not: a row has one verdict, and retention comes
    first. A missing creation time protects. Whatever size the row gives, no bytes are freed.
    """
    protected = protection(record.storage_key, policy)
    if protected is not None:
        return protected
    if judge_record(record, policy, now) is not None:
        return None
    if not past(record.created_at, policy, now):
        return KeepReason.PENDING
    return Finding(
        verdict=Verdict.DANGLING,
        storage_key=record.storage_key,
        bytes=0,
        reason=f"no object; row created {_at(record.created_at, policy)}",
        kept=disabled(Verdict.DANGLING, policy),
        virtual_key_id=record.virtual_key_id,
        record_created_at=record.created_at,
    )


CLOCKS_APART = timedelta(minutes=5)
"""The most by which the clocks of database and store may differ; beyond that nothing is claimed."""


def judge_departed(departed: Departed, stored: StoredObject, policy: Policy) -> Finding | KeepReason:
    """An object whose record left, and that no other names: it goes unless it was put since.

    That is the next record's, and on its way. Where a deletion cannot be undone, whatever may have been put
    since counts, as far as clocks may be apart. A missing Last-Modified protects.
    """
    protected = protection(stored.key, policy)
    if protected is not None:
        return protected
    margin = CLOCKS_APART if policy.delete_mode is DeleteMode.DIRECT else timedelta(0)
    if stored.last_modified is None or stored.last_modified > departed.left_at - margin:
        return KeepReason.PENDING
    return Finding(
        verdict=Verdict.DEPARTED,
        storage_key=stored.key,
        bytes=stored.size,
        reason=f"its record left the table at {moment(departed.left_at)}",
        kept=disabled(Verdict.DEPARTED, policy),
        virtual_key_id=departed.virtual_key,
        object_etag=stored.etag,
        object_last_modified=stored.last_modified,
    )


def counts_as_missing(record: Record, policy: Policy, now: datetime) -> bool:
    """Whether a row without an object counts towards the dangling cap.

    It does if beyond its grace, whatever its verdict, unless the clean-up of that verdict is off: then
    nothing is done about it, and there is nothing to hold back.
    """
    finding = judge_record(record, policy, now) or judge_missing(record, policy, now)
    return goes(finding) and past(record.created_at, policy, now)


def goes(found: Finding | KeepReason | None) -> bool:
    """Whether something is done about what was found."""
    return isinstance(found, Finding) and found.kept is None


def past(since: datetime | None, policy: Policy, now: datetime) -> bool:
    """Whether something of that age is beyond the grace period; something without an age never is."""
    return since is not None and now - since >= policy.grace_period


def _at(when: datetime | None, policy: Policy) -> str:
    """A time of day: the reason is read long after it was written."""
    return f"at {moment(when)} (grace period {duration_text(policy.grace_period)})"
