"""Conduit's retention policies, by key group and balance, as rules of retention. What is in doubt is kept."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from reconciler.model import BALANCES, FOREVER, GroupPolicy, Match, Policy, Rule, Rules

DEFAULT = "default"
"""The policy of a group that has none of its own, before it is known which that is."""

LONGEST = 36_500
"""Days of a policy that are read as such; more than a hundred years are an error."""


def standing(policy_id: str, balance: str) -> str:
    """How a group stands: what a rule matches. The catalog writes the same of each virtual key's group."""
    return f"{policy_id}:{balance}"


def under(policies: Sequence[GroupPolicy], settings: Policy) -> Policy:
    """The settings with a rule for each policy and state of the balance; all that has none is kept.

    Virtual keys that end, and media with an expiry time of its own, are as the settings say.
    """
    default = _default(policies)
    rules = [
        _rule(each, balance, settings, is_default=each is default)
        for each in policies
        if each.is_active
        for balance in BALANCES
    ]
    return replace(settings, rules=Rules(tuple(rules)))


def doubts(policies: Sequence[GroupPolicy]) -> Sequence[str]:
    """What keeps media that a policy may let go: a line each, which says why and what to do."""
    if not policies:
        return ["Conduit has no retention policy: nothing ends by its age; add one there"]
    defaults = [each for each in policies if each.is_default]
    said = []
    if len(defaults) > 1:
        names = " and ".join(_named(each) for each in defaults)
        said.append(f"{names} are both the default: media of groups without a policy is kept; leave one")
    elif not any(each.is_active for each in defaults):
        said.append("no active policy is the default: media of groups without a policy is kept; set one")
    for each in policies:
        if not each.is_active:
            said.append(f"{_named(each)} is not active: media of its groups is kept; activate or replace it")
            continue
        said += [
            f"{_named(each)} has no usable days for a {balance} balance: such media is kept; set them"
            for balance in BALANCES
            if _days(each.days.get(balance)) is None
        ]
        if not _access_known(each):
            said.append(
                f"{_named(each)} does not say for how long an access protects: its media is kept; set it"
            )
        if _days(each.soft_delete_days) is None:
            said.append(f"{_named(each)} sets no days after a soft delete: such rows are kept; set them")
    return said


def _default(policies: Sequence[GroupPolicy]) -> GroupPolicy | None:
    """The one default, if it is in force."""
    found = [each for each in policies if each.is_default]
    return found[0] if len(found) == 1 and found[0].is_active else None


def _rule(policy: GroupPolicy, balance: str, settings: Policy, *, is_default: bool) -> Rule:
    ids = (policy.id, DEFAULT) if is_default else (policy.id,)
    retention = _days(policy.days.get(balance)) if _access_known(policy) else None
    access = _days(policy.access_days) if policy.respects_access else None
    return Rule(
        name=f"{policy.name} (policy {policy.id}), {balance} balance",
        match=Match(key_group=tuple(standing(each, balance) for each in ids)),
        media_retention=retention or FOREVER,
        recent_access=access or timedelta(0),
        key_grace=settings.key_grace,
        delete_revoked=settings.delete_revoked,
        soft_delete_grace=_days(policy.soft_delete_days) or FOREVER,
        says=f"key groups under the policy {policy.name}"
        f"{', or under none,' if is_default else ''} with a {balance} balance",
    )


def _access_known(policy: GroupPolicy) -> bool:
    """Whether it says that an access protects, and for how long, or that it does not."""
    return policy.respects_access is False or (
        policy.respects_access is True and _days(policy.access_days) is not None
    )


def _days(days: int | None) -> timedelta | None:
    """A number of days that can be meant: 0 would empty the bucket, and less says nothing."""
    return timedelta(days=days) if days is not None and 1 <= days <= LONGEST else None


def _named(policy: GroupPolicy) -> str:
    return f"policy {policy.id} ({policy.name})"
