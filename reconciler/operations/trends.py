"""Trends: drift over time, what is due by the hour, what went and was freed."""

from dataclasses import dataclass

from reconciler.catalog.open import Catalog
from reconciler.model import VERDICTS, Lately, Policy, Trends


@dataclass(frozen=True, slots=True, kw_only=True)
class OverTime:
    """How things went and will go, and what was freed in the last days."""

    trends: Trends
    lately: Lately


async def over_time(catalog: Catalog, policy: Policy) -> OverTime:
    """Look at it under these settings. Reads every mark, and the ledger of the last month."""
    enabled = tuple(verdict for verdict in VERDICTS if policy.may_allow(verdict))
    trends = await catalog.trends.look(policy, enabled)
    return OverTime(trends=trends, lately=await catalog.statistics.lately())
