"""The stop that an operator sets, in memory."""

from __future__ import annotations

from reconciler.model import Pause
from tests.doubles.database import MemoryDatabase
from tests.doubles.observing import Surroundings, port


class MemoryPauseSwitch:
    """One row of the database."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def read(self) -> Pause:
        self._database.answer()
        return self._database.pause

    @port
    async def pause(self, by: str, reason: str) -> Pause:
        database = self._database
        database.answer()
        if not database.pause.paused:
            database.pause = Pause(paused=True, at=database.now, by=by, reason=reason)
        return database.pause

    @port
    async def resume(self, by: str) -> Pause:
        database = self._database
        database.answer()
        before = database.pause
        if before.paused:
            database.pause = Pause(at=database.now, by=by)
        return before
