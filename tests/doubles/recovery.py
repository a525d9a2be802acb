"""What was deleted and can be brought back, in memory: objects alone."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model import Removal, Returned, UndoScope
from tests.doubles.database import MemoryDatabase
from tests.doubles.surroundings import Surroundings, port


class MemoryRecovery:
    """Remembers nothing of what went: the engine's tests of it run on the real servers."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def removals(self, scope: UndoScope, after: str = "", limit: int = 1000) -> Sequence[Removal]:
        self._database.answer()
        return []

    @port
    async def gone(self, scope: UndoScope) -> int:
        self._database.answer()
        return 0

    @port
    async def claim_return(self, object_id: int) -> bool:
        self._database.answer()
        return False

    @port
    async def put_back(self, removal: Removal, author: str, *, object_back: bool) -> Sequence[Returned]:
        self._database.answer()
        return []
