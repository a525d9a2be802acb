"""Where a store's rule may expire objects: where nothing but their age decides how long they are kept.

A store counts from an object's last modification, and knows nothing else. So whatever else may keep an object
is a reason against such a rule: a last access, a quota, a hold, an owner's own terms, a key or a row that is
never judged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from reconciler.model import FOREVER, RESERVED_PREFIX, LifecycleRule, Policy, Rule, Terms, Verdict
from reconciler.model.durations import duration_text
from reconciler.planning import formatting


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What decides besides the policy. `created`, `accessed`: whether rows say when they were, at all.

    `undated` is how many rows have no creation time, `holds` how many holds are in force, both by prefix.
    `doubts` are those about the gateway's own policies.
    """

    created: bool
    accessed: bool
    referenced: bool
    """Other columns name objects too."""
    shared: bool = False
    """Several rows may name one object."""
    undated: Mapping[str, int] = field(default_factory=dict)
    holds: Mapping[str, int] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


def against(prefix: str, policy: Policy, known: Known) -> list[str]:
    """Why objects under that prefix must not be expired by their age, a line for each reason."""
    lines = [*_never_judged(prefix, policy, known), *known.doubts]
    longest = _longest_for_all(prefix, policy)
    for rule, terms in _that_hold(prefix, policy):
        whose = f"rule {rule.name!r}" if rule is not None else "the global settings"
        if terms.media_retention == FOREVER:
            lines.append(f"{whose}: retention there has no end")
        elif not policy.allows(Verdict.STALE, terms):
            lines.append(f"{whose}: nothing is deleted for its age")
        elif not _for_all(rule) and terms.media_retention > longest:
            lines.append(f"{whose}: keeps some media longer, {duration_text(terms.media_retention)}")
        if known.accessed and terms.recent_access > timedelta(0):
            lines.append(f"{whose}: an access keeps media {duration_text(terms.recent_access)}")
        if terms.quota is not None:
            lines.append(f"{whose}: a quota decides which media go")
    if holds := known.holds.get(prefix, 0):
        lines.append(f"{formatting.counted(holds, 'hold')} in force may keep some of them")
    return lines


def longest(prefix: str, policy: Policy) -> timedelta:
    """The longest retention that any media under that prefix may have."""
    return max(terms.media_retention for _, terms in _that_hold(prefix, policy))


def backstop(prefix: str, policy: Policy, undo_window: timedelta) -> timedelta:
    """The age at which all that may be kept is long gone. Only where nothing is `against` it."""
    return longest(prefix, policy) + policy.grace_period + undo_window


def area(rule: LifecycleRule, prefix: str) -> str | None:
    """The prefix of the keys under a managed prefix that the rule covers; None where there are none."""
    if rule.prefix.startswith(prefix):
        return rule.prefix
    return prefix if prefix.startswith(rule.prefix) else None


def _never_judged(prefix: str, policy: Policy, known: Known) -> Iterator[str]:
    if RESERVED_PREFIX.startswith(prefix):
        yield f"{RESERVED_PREFIX} is under it"
    if policy.key_shape is not None:
        yield "keys of another shape than RECONCILER_BUCKET__KEY_SHAPE's are kept"
    if not policy.allows(Verdict.ORPHAN):
        yield "objects without a row are kept: RECONCILER_ORPHAN_CLEANUP_ENABLED is false"
    if known.referenced:
        yield "other columns name objects, which keeps them: RECONCILER_CATALOG__ALSO_REFERENCED"
    if known.shared:
        yield "several rows may name one object, and a later one keeps it: its key is not unique in the table"
    if not known.created:
        yield "rows have no creation time"
    elif undated := known.undated.get(prefix, 0):
        yield f"{formatting.counted(undated, 'row')} without a creation time: these are never too old"


def _longest_for_all(prefix: str, policy: Policy) -> timedelta:
    """Of the terms that no owner, type, provider or model is named for."""
    return max(
        (terms.media_retention for rule, terms in _that_hold(prefix, policy) if _for_all(rule)),
        default=timedelta(0),
    )


def _that_hold(prefix: str, policy: Policy) -> Iterator[tuple[Rule | None, Terms]]:
    """The rules that may be the first to match a row under the prefix; None: the global settings."""
    for rule in policy.rules.each:
        within = rule.match.prefix
        if within and not any(each.startswith(prefix) or prefix.startswith(each) for each in within):
            continue
        yield rule, rule
        if _for_all(rule) and (not within or prefix.startswith(within)):
            return
    yield None, policy


def _for_all(rule: Rule | None) -> bool:
    return rule is None or not rule.match.given.keys() - {"prefix"}
