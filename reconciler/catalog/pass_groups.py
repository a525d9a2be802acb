"""The passes that one decision covers: a mark carries the id of the pass that found it first."""

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA

# Passes approved in one statement share one instant; those still waiting are decided with the next one.
TAKEN_IN = f"""
SELECT t.id FROM {SCHEMA}.passes p JOIN {SCHEMA}.passes t
    ON t.kind = p.kind AND t.state = p.state AND t.id < p.id
    AND (p.state = 'tripped' OR p.state = 'released' AND t.decided_at = p.decided_at)
WHERE p.id = $1
"""


async def superseded(connection: AnyConnection, pass_id: int | None) -> list[int] | None:
    """The pass and the earlier ones that are, or were, released with it; None for no pass in particular."""
    if pass_id is None:
        return None
    return [pass_id, *(row["id"] for row in await connection.fetch(TAKEN_IN, pass_id))]
