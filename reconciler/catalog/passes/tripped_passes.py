"""The passes that a decision may be about, locked; and why there is nothing to decide."""

from collections.abc import Sequence

import asyncpg

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.pass_groups import STATE
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import PassState

# Locks in the order of ids, as a pass does that ends: older ones, then its own.
LOCK = f"""
SELECT id, state, both_sides FROM {SCHEMA}.passes
WHERE kind = $1 AND state IN ('running', 'tripped') ORDER BY id FOR UPDATE
"""

# A pass that is not tripped, and the decision that superseded it.
NOT_TRIPPED = f"""
SELECT {STATE} AS state, p.decided_by, p.superseded_by, s.state AS other_state, s.decided_by AS other_by
FROM {SCHEMA}.passes p LEFT JOIN {SCHEMA}.passes s ON s.id = p.superseded_by WHERE p.id = $1
"""

FOUND = f"SELECT count(*) FROM {SCHEMA}.marks WHERE pass_id = ANY($1::bigint[]) AND state = 'found'"


async def lock(connection: AnyConnection, pass_id: int, action: str) -> Sequence[asyncpg.Record]:
    """Lock the running and tripped passes of its kind; raises NotDone unless the pass itself is tripped."""
    kind = await connection.fetchval(f"SELECT kind FROM {SCHEMA}.passes WHERE id = $1", pass_id)
    if kind is None:
        raise unknown(pass_id)
    locked: Sequence[asyncpg.Record] = await connection.fetch(LOCK, kind)
    tripped = [each for each in locked if each["state"] == PassState.TRIPPED]
    mine = next((each for each in tripped if each["id"] == pass_id), None)
    if mine is None:
        raise await _not_tripped(connection, pass_id, action, [each["id"] for each in tripped])
    worse = next((each["id"] for each in reversed(tripped) if each["both_sides"]), pass_id)
    if worse > pass_id and not mine["both_sides"]:
        raise NotDone(
            ErrorKind.CONFLICT,
            "later_pass_first",
            f"pass {worse}, later than {pass_id}, found both sides wrong: decide about that one",
            pass_id=pass_id,
            later=worse,
        )
    return locked


async def _not_tripped(
    connection: AnyConnection, pass_id: int, action: str, waiting: Sequence[int]
) -> NotDone:
    """`waiting`: the tripped passes of its kind."""
    row = await connection.fetchrow(NOT_TRIPPED, pass_id)
    assert row is not None
    by = f" (decided by {row['decided_by']})" if row["decided_by"] else ""
    other = row["superseded_by"]
    if other is not None:
        # A pass that was begun anew is superseded by the new one, about which nobody has decided.
        verb = "approved" if row["other_state"] == PassState.RELEASED else "discarded"
        by = f" by pass {other}" + (f", which {row['other_by']} has {verb}" if row["other_by"] else "")
    tail = f": there is nothing to {action}"
    if waiting:
        marks: int = await connection.fetchval(FOUND, waiting)
        tail += f"; pass {waiting[-1]} is the one that waits for a decision, with {marks:,} marked"
    elif other is not None:
        tail += "; what it found is judged again by the next pass"
    return NotDone(
        ErrorKind.CONFLICT,
        "pass_not_tripped",
        f"pass {pass_id} is {row['state']}{by}, not tripped{tail}",
        pass_id=pass_id,
        state=row["state"],
        decided_by=row["decided_by"],
        superseded_by=other,
        waits=waiting[-1] if waiting else None,
    )


def unknown(pass_id: int) -> NotDone:
    return NotDone(ErrorKind.NOT_FOUND, "no_such_pass", f"there is no pass {pass_id}", pass_id=pass_id)


def not_understood(pass_id: int) -> NotDone:
    return NotDone(
        ErrorKind.CONFLICT,
        "both_sides",
        f"pass {pass_id} found orphans and dangling records above their limits at once, which says that the"
        " comparison itself is wrong (another bucket, database, prefix or mapping); nothing was approved."
        " Mend that and discard the pass; or, if both sides really are to go, say that this is understood",
        pass_id=pass_id,
    )
