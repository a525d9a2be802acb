"""Rows for objects that have none: what is known of each object, the rows made, and their removal again.

A row is made in one transaction with its line of the ledger. A mark of the key, in any state, keeps the row
from being made; and a mark that is written meanwhile is claimed only once this transaction, which has an id
before it looks, has ended: then the claim finds the row. So no row is made for what is being deleted.
"""

from reconciler.catalog.recovery.adoption.adopting import PostgresAdoptions
from reconciler.catalog.recovery.adoption.runs import TAKEN

__all__ = ["TAKEN", "PostgresAdoptions"]
