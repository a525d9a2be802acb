"""What a pass would say of one key at any moment, and the next moment at which it says something else.

It is asked of the rules themselves. Between two dates that they read, each with a duration added that they
know, time changes no answer: so the answer is asked for at those moments only.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from reconciler.model import (
    RETENTION_VERDICTS,
    Finding,
    Judgement,
    KeepReason,
    NearKey,
    Outlook,
    OwnerRead,
    Policy,
    Record,
    RuleSeen,
    Seen,
    Terms,
    Verdict,
)
from reconciler.model.keys import is_managed
from reconciler.planning import drift_rules, retention
from reconciler.planning.keys import protection

T = TypeVar("T")

NOTHING = "neither an object nor a row has this key"
STAYS = "an object and a row, and no rule speaks against them"


def outlook(seen: Seen, policy: Policy, now: datetime, row: Record | None = None) -> Outlook:
    """How the key stands and when that changes, or one of its rows."""

    def stands(at: datetime) -> Judgement:
        return stand(seen, policy, at) if row is None else _row(seen, row, policy, at)

    present = stands(now)
    for moment in _moments(seen, policy, now):
        then = stands(moment)
        if (then.verdict, then.kept) != (present.verdict, present.kept):
            return Outlook(now=present, changes_at=moment, then=then)
    return Outlook(now=present)


def stand(seen: Seen, policy: Policy, now: datetime) -> Judgement:
    """What a pass at `now` says of the key. Of several rows it names one that goes, else the first."""
    if seen.rows:
        rows = [_row(seen, row, policy, now) for row in seen.rows]
        going = [each for each in rows if each.goes]
        if going and len(going) < len(rows):
            left = f"{len(rows) - len(going)} of {len(rows)} rows stay, and the object with them"
            return replace(going[0], reason=f"{going[0].reason}; {left}")
        return (going or rows)[0]
    if seen.object is None:
        return Judgement(reason=NOTHING)
    if seen.reserved_until is not None and now < seen.reserved_until:
        return Judgement(reason="reserved for an upload, which has no row yet")
    if seen.named and seen.reserved_until is None:
        return Judgement(reason=f"named by {' and by '.join(seen.named)}")
    return _held(seen, _object(seen, policy, now), now)


def rules_of_row(seen: Seen, row: Record, policy: Policy, now: datetime) -> Sequence[RuleSeen]:
    """Each rule that a pass asks about the row."""
    asked: dict[Verdict, Callable[[datetime], str]] = {
        verdict: lambda at, verdict=verdict: retention.reasons(row, policy, at)[verdict]  # type: ignore[misc]
        for verdict in RETENTION_VERDICTS
    }
    if seen.object is None:
        asked[Verdict.DANGLING] = lambda at: _reason(drift_rules.judge_missing(row, policy, at))
    terms = policy.rules.first_for(row)
    return [
        _rule(
            verdict,
            says,
            _compared(verdict, row, terms or policy),
            policy,
            _moments(seen, policy, now),
            now,
            terms,
        )
        for verdict, says in asked.items()
    ]


def rules_of_object(seen: Seen, policy: Policy, now: datetime) -> Sequence[RuleSeen]:
    """The rule that a pass asks about an object without a row."""
    obj = seen.object
    if obj is None or seen.rows:
        return ()

    def orphan(at: datetime) -> str:
        return _reason(drift_rules.judge_object(obj, policy, at))

    compared = {"last_modified": obj.last_modified}
    return [_rule(Verdict.ORPHAN, orphan, compared, policy, _moments(seen, policy, now), now)]


def _rule(
    verdict: Verdict,
    says: Callable[[datetime], str],
    compared: Mapping[str, object],
    policy: Policy,
    moments: Iterable[datetime],
    now: datetime,
    terms: Terms | None = None,
) -> RuleSeen:
    reason, since = says(now), None
    if not reason:
        since = next((moment for moment in moments if says(moment)), None)
    return RuleSeen(
        verdict=verdict,
        holds=bool(reason),
        reason=reason or ("" if since is None else says(since)),
        holds_from=since,
        switched_off=not policy.allows(verdict, terms),
        compared=compared,
    )


def _row(seen: Seen, row: Record, policy: Policy, now: datetime) -> Judgement:
    protected = protection(row.storage_key, policy)
    if protected is not None:
        return Judgement(kept=protected, reason="the key is protected, whatever else is known of it")
    found: Finding | KeepReason | None = retention.judge_record(row, policy, now)
    if found is None and seen.object is None:
        found = _spared(seen, drift_rules.judge_missing(row, policy, now), policy, now)
    if found is None:
        return Judgement(reason=STAYS)
    return _held(seen, _standing(found), now)


def _spared(
    seen: Seen, found: Finding | KeepReason | None, policy: Policy, now: datetime
) -> Finding | KeepReason | None:
    """A row without its object, unless that comes back, or is there under another spelling."""
    if not isinstance(found, Finding) or found.kept is not None:
        return found
    if seen.recoverable:
        reason = f"{found.reason}; its object is hidden, and is brought back"
        return replace(found, kept=KeepReason.RECOVERABLE, reason=reason)
    for near in seen.near:
        alone = near.object is not None and not near.row
        if alone and drift_rules.goes(drift_rules.judge_object(near.object, policy, now)):  # type: ignore[arg-type]
            return _near(found, "object", near)
    return found


def _object(seen: Seen, policy: Policy, now: datetime) -> Judgement:
    assert seen.object is not None
    if seen.departed is not None:
        kept = retention.disabled(Verdict.DEPARTED, policy)
        return Judgement(verdict=Verdict.DEPARTED, kept=kept, reason=seen.departed)
    found = drift_rules.judge_object(seen.object, policy, now)
    if not isinstance(found, Finding) or found.kept is not None:
        return _standing(found)
    if seen.row_missing:
        reason = f"{found.reason}; its row was removed for want of it, and comes back"
        return _standing(replace(found, kept=KeepReason.RECOVERABLE, reason=reason))
    for near in seen.near:
        if near.row and (near.object is None or not is_managed(near.storage_key, policy.prefixes)):
            return _standing(_near(found, "row", near))
    return _standing(found)


def _near(found: Finding, other: str, near: NearKey) -> Finding:
    reason = f"{found.reason}; near miss: the {other} {near.storage_key!r} spells its key otherwise"
    return replace(found, kept=KeepReason.NEAR_MISS, reason=reason)


def _standing(found: Finding | KeepReason) -> Judgement:
    if isinstance(found, Finding):
        return Judgement(verdict=found.verdict, kept=found.kept, reason=found.reason)
    if found is KeepReason.PENDING:
        return Judgement(kept=found, reason="alone, and younger than the grace period, or without a date")
    return Judgement(kept=found, reason="the key is protected, whatever else is known of it")


def _held(seen: Seen, standing: Judgement, now: datetime) -> Judgement:
    hold = seen.hold
    if hold is None or not standing.goes or (hold.until is not None and hold.until <= now):
        return standing
    return replace(
        standing, kept=KeepReason.HOLD, reason=f"{standing.reason}; on hold by {hold.author}: {hold.reason}"
    )


def _reason(found: Finding | KeepReason | None) -> str:
    return found.reason if isinstance(found, Finding) else ""


def _compared(verdict: Verdict, row: Record, terms: Terms) -> Mapping[str, object]:
    """What the verdict reads of the row, its virtual key and what that keeps."""
    compared: dict[str, object] = {name: getattr(row, name) for name in verdict.spec.reads}
    owner = row.owner
    if verdict.spec.owner is OwnerRead.PRESENCE:
        compared["virtual_key_exists"] = owner is not None
    if verdict.spec.owner is OwnerRead.STATE and owner is not None:
        compared |= {
            "virtual_key_enabled": owner.enabled,
            "virtual_key_disabled_since": owner.disabled_since,
            "virtual_key_expires_at": owner.expires_at,
        }
    if verdict.spec.sums and terms.quota is not None and row.usage is not None:
        compared |= {
            "quota_objects": terms.quota.max_objects,
            "quota_bytes": terms.quota.max_bytes,
            "evict": terms.quota.evict.value,
            **{name: getattr(row.usage, name) for name in ("owner", "objects", "bytes")},
            "objects_before": row.usage.objects_before,
            "bytes_before": row.usage.bytes_before,
        }
    return compared


def _moments(seen: Seen, policy: Policy, now: datetime) -> Sequence[datetime]:
    """Every later moment at which an answer may change, ascending: a date, or a duration after it."""
    spans = {timedelta(0), *_leaves(policy, timedelta)}
    found = {
        moment
        for date in _leaves(seen, datetime)
        for span in spans
        if (moment := _after(date, span)) is not None
    }
    return sorted(moment for moment in found if moment > now)


def _after(date: datetime, span: timedelta) -> datetime | None:
    try:
        return date + span
    except OverflowError:
        return None


def _leaves(value: object, kind: type[T]) -> Iterator[T]:
    """Every value of that type inside, however deep."""
    if isinstance(value, kind):
        yield value
    elif is_dataclass(value):
        for each in fields(value):
            yield from _leaves(getattr(value, each.name), kind)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each, kind)
