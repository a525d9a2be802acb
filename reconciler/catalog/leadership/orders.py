"""What people have ordered: written down for the replicas, which log it."""

from collections.abc import Sequence

from reconciler.catalog.db.connections import Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import Order

NOTE = f"""
WITH former AS (DELETE FROM {SCHEMA}.orders WHERE at < clock_timestamp() - interval '1 year')
INSERT INTO {SCHEMA}.orders (author, what, about) VALUES ($1, $2, $3)
"""

NEWEST = f"SELECT coalesce(max(id), 0) FROM {SCHEMA}.orders"

SINCE = f"SELECT id, at, author, what, about FROM {SCHEMA}.orders WHERE id > $1 ORDER BY id LIMIT 1000"


class PostgresOrders:
    """Kept for a year. Each replica looks every few seconds, since some poolers pass no notification on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, author: str, what: str, about: str) -> None:
        """Once it is done."""
        async with self._database.connection() as connection:
            await connection.execute(NOTE, author, what, about)

    async def newest(self) -> int:
        """The id of the last one; 0 before the first."""
        async with self._database.connection() as connection:
            newest: int = await connection.fetchval(NEWEST)
        return newest

    async def since(self, order_id: int) -> Sequence[Order]:
        """Those after that one, the oldest first."""
        async with self._database.connection() as connection:
            return [Order(**dict(row)) for row in await connection.fetch(SINCE, order_id)]
