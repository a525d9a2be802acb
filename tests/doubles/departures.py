"""The outbox of rows that left, over the database in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import anyio

from reconciler.model import Departed, PassKind, PassState, Term, Verdict
from tests.doubles.database import MemoryDatabase
from tests.doubles.observing import Surroundings, port


class MemoryDepartures:
    """What `MemoryDatabase.depart` noted."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def waiting(self) -> bool:
        self._database.answer()
        return bool(self._database.departures) or any(
            one.kind is PassKind.DEPARTURE and one.state is PassState.RUNNING
            for one in self._database.passes.values()
        )

    @port
    async def page(self, limit: int) -> Sequence[Departed]:
        self._database.answer()
        return self._database.departures[:limit]

    @port
    async def pending(self, limit: int) -> Sequence[Departed]:
        self._database.answer()
        departed = [
            Departed(id=0, storage_key=key, left_at=row.mark.first_seen_at, virtual_key=None)
            for key, row in sorted(self._database.marks.items())
            if row.mark.verdict is Verdict.DEPARTED and row.operation_id is None
        ]
        return departed[:limit]

    @port
    async def marked(self, keys: Sequence[str]) -> frozenset[str]:
        self._database.answer()
        marks = self._database.marks
        return frozenset(key for key in keys if key in marks and marks[key].mark.verdict is Verdict.DEPARTED)

    @port
    async def forget(self, term: Term, retention: timedelta) -> None:
        """Nobody sees the difference, but for the room that they take."""
        self._database.check(term)

    async def listen(self, heard: Callable[[], None]) -> None:
        await anyio.sleep_forever()
