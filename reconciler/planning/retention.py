"""Which rows have outlived their purpose. One verdict per row, the first that applies:

=========  ======================================================================================
ownerless  names a virtual key that does not exist (no virtual key named at all: protects)
revoked    its virtual key is disabled or expired, for `key_grace`
expired    its `ExpiresAt` has passed, or it was soft-deleted a grace period ago
stale      older than `media_retention`, and not accessed within `recent_access`
=========  ======================================================================================

All bounds are inclusive: what is due at `now` is deleted. A missing creation time protects from *stale*;
a missing last access means never accessed.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from reconciler.model import Finding, KeepReason, Policy, Record, Verdict
from reconciler.model.durations import duration_text
from reconciler.planning import formatting
from reconciler.planning.keys import protection


def judge_record(record: Record, policy: Policy, now: datetime) -> Finding | None:
    """The row's retention verdict, or None if it stays. Whether its object exists is not considered.

    `kept` is DISABLED if automatic clean-up is off, and for *revoked* under the policy `keep`; then *expired*
    and *stale* take precedence: a verdict yields to those with fewer switches off. A row whose key is
    protected is never a finding.
    """
    if protection(record.storage_key, policy) is not None:
        return None
    found = [(verdict, reason) for verdict, rule in RULES.items() if (reason := rule(record, policy, now))]
    if not found:
        return None
    verdict, reason = min(found, key=lambda each: policy.switched_off(each[0]))
    return Finding(
        verdict=verdict,
        storage_key=record.storage_key,
        bytes=record.size_bytes or 0,
        reason=reason,
        kept=disabled(verdict, policy),
        virtual_key_id=record.virtual_key_id,
        record_created_at=record.created_at,
    )


def disabled(verdict: Verdict, policy: Policy) -> KeepReason | None:
    """Why nothing is done about a finding of that verdict, if its clean-up is switched off."""
    return None if policy.allows(verdict) else KeepReason.DISABLED


def _ownerless(record: Record, policy: Policy, now: datetime) -> str:  # noqa: ARG001 - all have these
    if record.virtual_key_id is None or record.owner is not None:
        return ""
    return f"virtual key {record.virtual_key_id} does not exist"


def _revoked(record: Record, policy: Policy, now: datetime) -> str:
    owner = record.owner
    if owner is None:
        return ""
    if not owner.enabled and _elapsed(owner.disabled_since, policy.key_grace, now):
        how, since = "disabled", owner.disabled_since
    elif _elapsed(owner.expires_at, policy.key_grace, now):
        how, since = "expired", owner.expires_at
    else:
        return ""
    return f"virtual key {owner.id} {how} {_ago(since, now)} (key grace {duration_text(policy.key_grace)})"


def _expired(record: Record, policy: Policy, now: datetime) -> str:
    if _elapsed(record.expires_at, timedelta(0), now):
        return f"expired {_ago(record.expires_at, now)}"
    if _elapsed(record.deleted_at, policy.grace_period, now):
        grace = duration_text(policy.grace_period)
        return f"soft-deleted {_ago(record.deleted_at, now)} (grace period {grace})"
    return ""


def _stale(record: Record, policy: Policy, now: datetime) -> str:
    accessed = record.last_accessed_at
    recently = accessed is not None and not _elapsed(accessed, policy.recent_access, now)
    if recently or not _elapsed(record.created_at, policy.media_retention, now):
        return ""
    seen = "never accessed" if accessed is None else f"last accessed {_ago(accessed, now)}"
    retention = duration_text(policy.media_retention)
    return f"created {_ago(record.created_at, now)} (retention {retention}), {seen}"


def _elapsed(since: datetime | None, duration: timedelta, now: datetime) -> bool:
    """Compares ages, not sums: a huge duration must not run past the last year of the calendar."""
    return since is not None and now - since >= duration


def _ago(since: datetime | None, now: datetime) -> str:
    return f"{formatting.age(now - (since or now))} ago"


RULES: Mapping[Verdict, Callable[[Record, Policy, datetime], str]] = {
    Verdict.OWNERLESS: _ownerless,
    Verdict.REVOKED: _revoked,
    Verdict.EXPIRED: _expired,
    Verdict.STALE: _stale,
}
"""Why the row has that verdict, "" if it has not. In order of precedence: the first that applies wins."""
