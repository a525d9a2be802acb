"""Drift: what is marked, by when it goes, and what waits for a person."""

from reconciler.catalog.open import Catalog
from reconciler.model import VERDICTS, Policy, Standing


async def drift(catalog: Catalog, policy: Policy) -> Standing:
    """How marks and passes stand under these settings. Reads every mark."""
    enabled = tuple(verdict for verdict in VERDICTS if policy.may_allow(verdict))
    return await catalog.statistics.standing(policy, enabled)
