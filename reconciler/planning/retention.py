"""Which rows have outlived their purpose. One verdict per row, the first that applies:

==========  =====================================================================================
ownerless   names a virtual key that does not exist (no virtual key named at all: protects)
revoked     its virtual key is disabled or expired, for `key_grace`
expired     its `ExpiresAt` has passed, or was soft-deleted a grace period (of its terms) ago
stale       older than `media_retention`, and not accessed within `recent_access`
over_quota  its owner keeps more than the quota, and what is evicted before it does not end that
==========  =====================================================================================

All bounds are inclusive: what is due at `now` is deleted. A missing creation time protects from *stale*;
a missing last access means never accessed. The durations are those of the first rule that matches the row,
else the global ones.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from reconciler.model import Finding, KeepReason, Policy, Quota, Record, Rule, Terms, Usage, Verdict
from reconciler.model.durations import duration_text
from reconciler.model.moments import moment
from reconciler.planning import formatting
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
    retention = duration_text(terms.media_retention)
    return f"created {_at(record.created_at)} (retention {retention}), {_seen(accessed)}"


def _over_quota(record: Record, policy: Policy, terms: Terms, now: datetime) -> str:
    """Sums that were counted for other accounts, by earlier rules, say nothing here."""
    quota, usage, accessed = terms.quota, record.usage, record.last_accessed_at
    if quota is None or usage is None or not quota.evicts or usage.counting != policy.counting:
        return ""
    recently = accessed is not None and not _elapsed(accessed, terms.recent_access, now)
    fresh = not _elapsed(record.created_at, policy.grace_period, now)
    if record.owner is None or recently or fresh or not _exceeds(quota, usage):
        return ""
    before = formatting.kept(usage.objects_before, usage.bytes_before)
    return (
        f"{quota.owner.value.replace('_', ' ')} {usage.owner} keeps"
        f" {formatting.kept(usage.objects, usage.bytes)} (quota"
        f" {formatting.limits(quota.max_objects, quota.max_bytes)}), goes"
        f" {f'after {before}' if usage.objects_before else 'first'};"
        f" created {_at(record.created_at)}, {_seen(accessed)}"
    )


def _exceeds(quota: Quota, usage: Usage) -> bool:
    """Whether the owner is still over the quota once all has gone that goes before the row.

    A row of no known size does not go for bytes: that would free none.
    """
    of_bytes = (
        quota.max_bytes is not None and usage.size > 0 and usage.bytes - usage.bytes_before > quota.max_bytes
    )
    of_objects = quota.max_objects is not None and usage.objects - usage.objects_before > quota.max_objects
    return of_bytes or of_objects


def _elapsed(since: datetime | None, duration: timedelta, now: datetime) -> bool:
    """Compares ages, not sums: a huge duration must not run past the last year of the calendar."""
    return since is not None and now - since >= duration


def _seen(accessed: datetime | None) -> str:
    return "never accessed" if accessed is None else f"last accessed {_at(accessed)}"


def _at(when: datetime | None) -> str:
    """A time of day: the reason is read long after it was written."""
    return f"at {moment(when)}"


RULES: Mapping[Verdict, Callable[[Record, Policy, Terms, datetime], str]] = {
    Verdict.OWNERLESS: _ownerless,
    Verdict.REVOKED: _revoked,
    Verdict.EXPIRED: _expired,
    Verdict.STALE: _stale,
    Verdict.OVER_QUOTA: _over_quota,
}
"""Why the row has that verdict, "" if it has not. In order of precedence: the first that applies wins."""
