"""What was deleted and can be brought back, in memory: objects alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from reconciler.model import HiddenObject, Queued, Removal, Returned, Term, UndoScope, Upload
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

    @port
    async def hidden(self, key: str) -> Sequence[HiddenObject]:
        self._database.answer()
        return []

    @port
    async def recoverable(self, keys: Sequence[str]) -> set[str]:
        self._database.answer()
        return set()

    @port
    async def widowed(self, keys: Sequence[str]) -> set[str]:
        self._database.answer()
        return set()

    @port
    async def queue(self, keys: Sequence[str], reason: str) -> None:
        self._database.answer()
        self._database.restores += keys

    @port
    async def queued(self, limit: int) -> Sequence[Queued]:
        self._database.answer()
        return []

    @port
    async def dequeue(self, queued: Queued) -> None:
        self._database.answer()

    @port
    async def postpone(self, key: str) -> None:
        self._database.answer()


class MemoryPurges:
    """Nothing is ever due: the engine's tests of the purge run on the real servers."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def claim(
        self, term: Term, window: timedelta, dead_after: timedelta, limit: int
    ) -> Sequence[HiddenObject]:
        self._database.check(term)
        return []

    @port
    async def done(self, term: Term, ids: Sequence[int]) -> None:
        self._database.check(term)

    @port
    async def back(self, term: Term, ids: Sequence[int]) -> None:
        self._database.check(term)

    @port
    async def aborted(self, term: Term, uploads: Sequence[Upload]) -> None:
        self._database.check(term)

    @port
    async def spent(self, event: str) -> int:
        self._database.answer()
        return 0

    @port
    async def hidden(self) -> tuple[int, int]:
        self._database.answer()
        return len(self._database.hidden), sum(each.size for each in self._database.hidden.values())

    @port
    async def forget(self, term: Term, window: timedelta, retention: timedelta) -> None:
        self._database.check(term)
