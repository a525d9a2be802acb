"""The common budget of keys a second, in memory: what the real one has to agree with."""

from __future__ import annotations

import math
from datetime import timedelta

from tests.doubles.database import MemoryDatabase
from tests.doubles.observing import Surroundings, port

LONGEST_QUEUE = 60.0


class MemoryBudget:
    """One instant until which all that was granted is paid for."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    async def reserve(self, keys: float, rate: float, saved: int) -> float:
        return 0.0 if math.isinf(rate) else await self._reserve(keys, rate, saved)

    @port
    async def _reserve(self, keys: float, rate: float, saved: int) -> float:
        database = self._database
        database.answer()
        earliest = database.now - timedelta(seconds=saved / rate)
        latest = database.now + timedelta(seconds=LONGEST_QUEUE * max(1.0, 1.0 / rate))
        paid = min(max(database.paid_until, earliest), latest)
        database.paid_until = paid + timedelta(seconds=keys / rate)
        return max(0.0, (database.paid_until - database.now).total_seconds())
