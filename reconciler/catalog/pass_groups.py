"""Passes that belong together: those that one decision covers, and those that another has superseded."""

from collections.abc import Container, Mapping

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


def to_decide(together: Mapping[int, bool], marked: Container[int]) -> int:
    """The earliest of tripped passes of a kind that a decision about them all may name: what came after it
    has added nothing. So the number stays the same from pass to pass, as long as nothing is added.

    `together`: of each in its order, whether it found both sides wrong. `marked`: those that have a mark.
    """
    chosen, *rest = together
    for pass_id in rest:
        if pass_id in marked or (together[pass_id] and not together[chosen]):
            chosen = pass_id
    return chosen


async def superseded(connection: AnyConnection, pass_id: int | None) -> list[int] | None:
    """The pass and the earlier ones that are, or were, released with it; None for no pass in particular."""
    if pass_id is None:
        return None
    return [pass_id, *(row["id"] for row in await connection.fetch(TAKEN_IN, pass_id))]
