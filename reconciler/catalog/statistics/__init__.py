"""What the leader reports: the state of marks and passes, and what is stored.

Nothing here writes or locks, and a reading holds no other transaction's horizon back: it has no transaction
id of its own.
"""

from reconciler.catalog.statistics.breakdown import DAYS
from reconciler.catalog.statistics.reading import PostgresStatistics
from reconciler.catalog.statistics.standing import Drift

__all__ = ["DAYS", "Drift", "PostgresStatistics"]
