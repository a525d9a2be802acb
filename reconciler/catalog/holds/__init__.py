"""Holds: what is deliberately kept. They are looked up by index, never read as a whole.

A claim takes the lock of `claims_wait` shared, and reads the holds in a statement after its marks are
locked. `add` takes the lock exclusively, and looks for claims afterwards. So one of the two sees the other:
a key under a new hold is either not claimed while the hold lasts, or reported as claimed already.
"""

from reconciler.catalog.holds.conditions import condition, held, held_condition
from reconciler.catalog.holds.table import PostgresHolds, add, claims_wait, purge, require_known

__all__ = [
    "PostgresHolds",
    "add",
    "claims_wait",
    "condition",
    "held",
    "held_condition",
    "purge",
    "require_known",
]
