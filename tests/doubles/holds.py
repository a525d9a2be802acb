"""Holds over the database in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Hold, HoldFilter, HoldKind
from tests.doubles.database import MemoryDatabase
from tests.doubles.observing import Surroundings, port


class MemoryHolds:
    """What is deliberately kept, by kind, target and author."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def add(self, holds: Sequence[Hold]) -> Sequence[str]:
        database = self._database
        database.answer()
        for hold in holds:
            if not (hold.reason.strip() and hold.author.strip()):
                raise NotDone(
                    ErrorKind.INVALID, "reason_or_author_missing", "a hold needs a reason and an author"
                )
            key = (hold.kind, hold.target, hold.author)
            before = database.holds.get(key)
            if hold.pass_id is not None and before is not None and not _sooner(before, hold):
                continue
            added = before.added_at if before else database.now
            database.holds[key] = replace(hold, added_at=added)
        database.remember()
        going = {key for key, row in database.marks.items() if row.operation_id is not None}
        going |= {row.one.storage_key for row in database.hidden.values() if row.state == "purging"}
        return sorted(key for key in going if any(database.covers(hold, key) for hold in holds))

    @port
    async def remember(self) -> None:
        self._database.answer()
        self._database.remember()

    @port
    async def on(self, kind: HoldKind, targets: Sequence[str]) -> Sequence[Hold]:
        self._database.answer()
        return sorted(self._on(kind, targets), key=_place)

    def _on(self, kind: HoldKind, targets: Sequence[str]) -> list[Hold]:
        holds = self._database.holds_in_force()
        return [hold for hold in holds if hold.kind is kind and hold.target in targets]

    @port
    async def remove(
        self, kind: HoldKind, targets: Sequence[str], author: str | None = None, *, by: str = ""
    ) -> int:
        del by  # the double's ledger knows of deletions alone
        database = self._database
        database.answer()
        going = [hold for hold in self._on(kind, targets) if author in {None, hold.author}]
        for hold in going:
            del database.holds[hold.kind, hold.target, hold.author]
        database.remember()
        return len(going)

    @port
    async def lift(self, wanted: HoldFilter, *, by: str = "") -> int:
        del by
        self._database.answer()
        going = self._wanted(wanted)
        for hold in going:
            del self._database.holds[hold.kind, hold.target, hold.author]
        self._database.remember()
        return len(going)

    def _wanted(self, wanted: HoldFilter) -> list[Hold]:
        passes = None if wanted.pass_id is None else self._database.superseded(wanted.pass_id)
        return [
            hold
            for hold in self._database.holds_in_force()
            if wanted.kind in {None, hold.kind}
            and hold.target.startswith(wanted.prefix)
            and wanted.author in {None, hold.author}
            and (passes is None or hold.pass_id in passes)
            and (wanted.reason or "") in hold.reason
        ]

    @port
    async def page(
        self, wanted: HoldFilter | None = None, after: Hold | None = None, limit: int = 1000
    ) -> Sequence[Hold]:
        self._database.answer()
        found = self._wanted(wanted or HoldFilter())
        last = _place(after) if after else ("", "", "")
        return sorted((hold for hold in found if _place(hold) > last), key=_place)[:limit]

    @port
    async def held(self, keys: Sequence[str]) -> Mapping[str, Hold]:
        database = self._database
        database.answer()
        found = {key: database.hold_on(key) for key in keys}
        return {key: hold for key, hold in found.items() if hold is not None}

    @port
    async def count(self) -> Mapping[HoldKind, int]:
        self._database.answer()
        return Counter(hold.kind for hold in self._database.holds_in_force())


def _sooner(hold: Hold, other: Hold) -> bool:
    return hold.until is not None and other.until is not None and hold.until < other.until


def _place(hold: Hold) -> tuple[str, str, str]:
    return hold.kind.value, hold.target, hold.author
