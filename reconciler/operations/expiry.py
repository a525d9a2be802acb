"""What the database knows that decides whether a store may expire objects by itself."""

from collections.abc import Sequence

from reconciler.catalog.open import Catalog
from reconciler.model import Policy
from reconciler.operations.policy import in_force
from reconciler.planning.expiry import Known


async def look(catalog: Catalog, policy: Policy, prefixes: Sequence[str]) -> tuple[Policy, Known]:
    """The policy in force, and what else keeps objects under each prefix. Raises CatalogUnavailable."""
    policy, doubts = await in_force(catalog, policy)
    types, tables = catalog.report.types, catalog.database.config.tables
    assert types is not None, "an open catalog was inspected"
    created = "created_at" in types.media
    return policy, Known(
        created=created,
        accessed="last_accessed_at" in types.media,
        referenced=bool(tables.also_referenced),
        shared=not types.unique,
        undated=await catalog.statistics.undated(prefixes) if created else {},
        holds=await catalog.holds.under(prefixes),
        doubts=tuple(doubts),
    )
