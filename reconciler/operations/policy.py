"""The rules of retention as they are in force, in words and with what is stored under each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.catalog.open import Catalog
from reconciler.errors import ConfigError
from reconciler.model import FOREVER, Policy, Rule, StoragePart, Verdict
from reconciler.planning import group_policies, published

EVERYTHING, EVERYTHING_ELSE = "everything", "everything else"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRule:
    """One rule in words. `name` None: the global settings, which hold for all that no rule matches.

    "" are `of_ended_keys` where there are no virtual keys, `of_quota` without a quota, and `soft_deleted`
    where it is the same for all. `records` and `bytes` are of the rows in the managed prefixes for which it
    holds.
    """

    name: str | None
    whose: str
    kept: str
    soft_deleted: str
    of_ended_keys: str
    of_quota: str
    records: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The rules in their order, the global settings last; and sentences about all media."""

    at: datetime
    rules: Sequence[PublishedRule]
    for_all: Sequence[str]
    doubts: Sequence[str]
    """What keeps media that one of Conduit's policies may let go."""


async def in_force(catalog: Catalog, policy: Policy) -> tuple[Policy, Sequence[str]]:
    """The policy with Conduit's, where those are the rules; and what is in doubt about them."""
    if not catalog.database.config.tables.by_group_policy:
        return policy, ()
    policies = await catalog.records.group_policies()
    return group_policies.under(policies, policy), group_policies.doubts(policies)


async def publish(catalog: Catalog, policy: Policy, undo_window: timedelta) -> Published:
    """Put the policy into words. Reads the whole media table once.

    Raises ConfigError for rules that no row can match, CatalogUnavailable.
    """
    policy, doubts = await in_force(catalog, policy)
    if misfits := catalog.records.misfits(policy):
        raise ConfigError("\n".join(misfits))
    types = catalog.report.types
    assert types is not None, "an open catalog was inspected"
    accesses = {"last_accessed_at", "created_at"} <= types.media.keys()
    deleted = "deleted_at" in types.media
    at, stored = await catalog.statistics.by_rule(policy)

    def told(place: int) -> PublishedRule:
        rule = policy.rules.each[place] if place < len(policy.rules.each) else None
        part = stored.get(place, StoragePart(names=(), objects=0, bytes=0))
        return PublishedRule(
            name=rule.name if rule else None,
            whose=_whose(rule, policy),
            kept=published.kept(rule or policy, accesses=accesses),
            soft_deleted=published.soft_deleted(rule or policy) if deleted else "",
            of_ended_keys=published.of_ended_keys(rule or policy, expire="expires_at" in types.keys)
            if types.keys
            else "",
            of_quota=published.of_quota(rule or policy, policy),
            records=part.objects,
            bytes=part.bytes,
        )

    rules = [told(place) for place in range(len(policy.rules.each) + 1)]
    return Published(
        at=at,
        rules=rules,
        for_all=published.for_all(
            policy,
            undo_window,
            ends=any(each.kept != published.WITHOUT_END for each in rules)
            or (deleted and any(each.soft_delete_grace not in {None, FOREVER} for each in policy.rules.each))
            or (bool(types.keys) and policy.may_allow(Verdict.REVOKED)),
            expires="expires_at" in types.media,
            deleted=deleted,
        ),
        doubts=doubts,
    )


def _whose(rule: Rule | None, policy: Policy) -> str:
    if rule is not None:
        return rule.says or published.whose(rule.match)
    return EVERYTHING_ELSE if policy.rules else EVERYTHING
