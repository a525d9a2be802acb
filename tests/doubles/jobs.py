"""Passes that somebody asked for, over the database in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.model import PassKind
from tests.doubles.database import MemoryDatabase
from tests.doubles.observing import Surroundings, port


@dataclass(slots=True)
class Asked:
    """One job; `by` is the term that has begun to answer it."""

    kind: PassKind
    by: str | None = None
    pass_id: int | None = None
    errors: list[str] = field(default_factory=list)


class MemoryJobs:
    """`asked` is what somebody asked for."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.asked: list[Asked] = []

    @property
    def around(self) -> Surroundings:
        return self._database.around

    def _open(self, kind: PassKind | None = None) -> list[Asked]:
        return [each for each in self.asked if each.pass_id is None and kind in {None, each.kind}]

    @port
    async def wanted(self, holder: str) -> frozenset[PassKind]:
        self._database.answer()
        return frozenset(each.kind for each in self._open() if each.by != holder)

    @port
    async def begin(self, kind: PassKind, holder: str) -> None:
        self._database.answer()
        for each in self._open(kind):
            each.by = holder

    @port
    async def answered(self, kind: PassKind, holder: str, pass_id: int) -> None:
        self._database.answer()
        for each in self._open(kind):
            if each.by == holder:
                each.pass_id = pass_id

    @port
    async def failed(self, kind: PassKind, holder: str, error: str) -> None:
        self._database.answer()
        for each in self._open(kind):
            if each.by == holder:
                each.errors.append(error)
