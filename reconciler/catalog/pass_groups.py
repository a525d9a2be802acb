"""Passes that belong together: those that one decision covers, and those that another has superseded."""

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA

STATE = "CASE WHEN p.state = 'failed' AND p.superseded_by IS NOT NULL THEN 'superseded' ELSE p.state END"
"""SQL: the state of a pass by its name in `PassState`."""

# A mark carries the id of the pass that found it first. Passes approved in one statement share one instant;
# those still waiting are decided with the next one.
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
