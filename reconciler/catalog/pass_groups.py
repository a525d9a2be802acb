"""The passes that one decision takes in: a mark bears the id of the pass that found it first."""

from __future__ import annotations

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA

# What was approved in one statement bears one instant; what still waits is decided with the next.
TAKEN_IN = f"""
SELECT t.id FROM {SCHEMA}.passes p JOIN {SCHEMA}.passes t
    ON t.marker = p.marker AND t.state = p.state AND t.id < p.id
    AND (p.state = 'tripped' OR p.state = 'armed' AND t.decided_at = p.decided_at)
WHERE p.id = $1
"""


async def taken_in(connection: AnyConnection, pass_id: int | None) -> list[int] | None:
    """The pass and the earlier ones that are, or were, released with it; None for no pass in particular."""
    if pass_id is None:
        return None
    return [pass_id, *(row["id"] for row in await connection.fetch(TAKEN_IN, pass_id))]
