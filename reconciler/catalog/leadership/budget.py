"""The rate in keys a second that all replicas and commands share: one row, by the server's clock."""

import math

from reconciler.catalog.db.connections import Database
from reconciler.catalog.db.schema import SCHEMA

LONGEST_QUEUE = 60.0
"""Seconds, or keys at rates below one a second: the row is further ahead only where a clock went back."""

# The state is one instant, at which everything granted so far is paid for. A caller that waited for the row's
# lock reads the clock again. $1 keys, $2 keys a second, $3 keys saved up, $4 seconds of the longest queue.
RESERVE = f"""
UPDATE {SCHEMA}.budget
SET paid_until = least(
        greatest(paid_until, clock_timestamp() - $3::float8 / $2::float8 * interval '1 second'),
        clock_timestamp() + $4::float8 * interval '1 second'
    ) + $1::float8 / $2 * interval '1 second'
RETURNING extract(epoch FROM paid_until - clock_timestamp())::float8
"""


class PostgresBudget:
    """`ports.Budget` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, keys: float, rate: float, saved: int) -> float:
        if math.isinf(rate):
            return 0.0
        longest = LONGEST_QUEUE * max(1.0, 1.0 / rate)
        async with self._database.connection() as connection:
            wait: float = await connection.fetchval(RESERVE, keys, rate, saved, longest)
        return max(0.0, wait)
