"""Which rows have outlived their purpose. One verdict per row, the first that applies:

=========  ======================================================================================
ownerless  names a virtual key that does not exist (no virtual key named at all: protects)
revoked    its virtual key is disabled or expired, for `key_grace`
expired    its `ExpiresAt` has passed, or it was soft-deleted a grace period (of its terms) ago
stale      older than `media_retention`, and not accessed within `recent_access`
=========  ======================================================================================

All bounds are inclusive: what is due at `now` is deleted. A missing creation time protects from *stale*;
a missing last access means never accessed. The durations are those of the first rule that matches the row,
else the global ones.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from reconciler.model import Finding, KeepReason, Policy, Record, Rule, Terms, Verdict
from reconciler.model.durations import duration_text
from reconciler.model.moments import moment
from reconciler.planning.keys import protection


def judge_record(record: Record, policy: Policy, now: datetime) -> Finding | None:
    """The row's retention verdict, or None if it stays. Whether its object exists is not considered.

    Where there are rules, the reason names the one that holds. `kept` is DISABLED if automatic clean-up is
    off, and for *revoked* under the policy `keep`; then *expired* and *stale* take precedence: a verdict
    yields to those with fewer switches off. A row whose key is protected is never a finding.
    """
    if protection(record.storage_key, policy) is not None:
        return None
    rule = policy.rules.first_for(record)
    terms: Terms = rule or policy
    found = [(verdict, why) for verdict, says in RULES.items() if (why := says(record, policy, terms, now))]
    if not found:
        return None
    verdict, reason = min(found, key=lambda each: policy.switched_off(each[0], terms))
    return Finding(
        verdict=verdict,
        storage_key=record.storage_key,
        bytes=record.size_bytes or 0,
        reason=reason + _by(rule, policy),
        kept=disabled(verdict, policy, terms),
        virtual_key_id=record.virtual_key_id,
        record_created_at=record.created_at,
    )


def reasons(record: Record, policy: Policy, now: datetime) -> Mapping[Verdict, str]:
    """Why the row has each verdict, "" where it has not. In order of precedence."""
    rule = policy.rules.first_for(record)
    found = {verdict: says(record, policy, rule or policy, now) for verdict, says in RULES.items()}
    return {verdict: why + _by(rule, policy) if why else "" for verdict, why in found.items()}


def disabled(verdict: Verdict, policy: Policy, terms: Terms | None = None) -> KeepReason | None:
    """Why nothing is done about a finding of that verdict, if its clean-up is switched off."""
    return None if policy.allows(verdict, terms) else KeepReason.DISABLED


def _by(rule: Rule | None, policy: Policy) -> str:
    if rule is not None:
        return f"; rule {rule.name}"
    return "; no rule, global settings" if policy.rules else ""


def _ownerless(record: Record, policy: Policy, terms: Terms, now: datetime) -> str:  # noqa: ARG001 - all have these
    if record.virtual_key_id is None or record.owner is not None:
        return ""
    return f"virtual key {record.virtual_key_id} does not exist"


def _revoked(record: Record, policy: Policy, terms: Terms, now: datetime) -> str:  # noqa: ARG001
    owner = record.owner
    if owner is None:
        return ""
    if not owner.enabled and _elapsed(owner.disabled_since, terms.key_grace, now):
        how, since = "disabled", owner.disabled_since
    elif _elapsed(owner.expires_at, terms.key_grace, now):
        how, since = "expired", owner.expires_at
    else:
        return ""
    return f"virtual key {owner.id} {how} {_at(since)} (key grace {duration_text(terms.key_grace)})"


def _expired(record: Record, policy: Policy, terms: Terms, now: datetime) -> str:
    if _elapsed(record.expires_at, timedelta(0), now):
        return f"expired {_at(record.expires_at)}"
    grace = policy.grace_after_soft_delete(terms)
    if _elapsed(record.deleted_at, grace, now):
        return f"soft-deleted {_at(record.deleted_at)} (grace period {duration_text(grace)})"
    return ""


def _stale(record: Record, policy: Policy, terms: Terms, now: datetime) -> str:  # noqa: ARG001
    accessed = record.last_accessed_at
    recently = accessed is not None and not _elapsed(accessed, terms.recent_access, now)
    if recently or not _elapsed(record.created_at, terms.media_retention, now):
        return ""
    seen = "never accessed" if accessed is None else f"last accessed {_at(accessed)}"
    retention = duration_text(terms.media_retention)
    return f"created {_at(record.created_at)} (retention {retention}), {seen}"


def _elapsed(since: datetime | None, duration: timedelta, now: datetime) -> bool:
    """Compares ages, not sums: a huge duration must not run past the last year of the calendar."""
    return since is not None and now - since >= duration


def _at(when: datetime | None) -> str:
    """A time of day: the reason is read long after it was written."""
    return f"at {moment(when)}"


RULES: Mapping[Verdict, Callable[[Record, Policy, Terms, datetime], str]] = {
    Verdict.OWNERLESS: _ownerless,
    Verdict.REVOKED: _revoked,
    Verdict.EXPIRED: _expired,
    Verdict.STALE: _stale,
}
"""Why the row has that verdict, "" if it has not. In order of precedence: the first that applies wins."""
