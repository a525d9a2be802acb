"""Orphans beside rows that spell their keys otherwise, over the database in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from reconciler.model import Mark, NearMiss, PassKind, PassState, Verdict
from reconciler.model.keys import is_managed
from reconciler.model.spelling import Orphans, fingerprints, spellings
from reconciler.ports import Folded
from tests.doubles.database import MemoryDatabase
from tests.doubles.observing import Surroundings, port


class MemoryNearMisses:
    """By pass: the folded forms of orphans and of rows."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def note(self, pass_id: int, objects: Sequence[Folded], rows: Sequence[Folded]) -> None:
        self._database.answer()
        self._noted(pass_id, is_row=False).update(objects)
        self._noted(pass_id, is_row=True).update(rows)

    @port
    async def note_outside(self, pass_id: int, rows: Sequence[Folded]) -> None:
        self._database.answer()
        wanted = {fold for _, fold in self._noted(pass_id, is_row=False)}
        self._noted(pass_id, is_row=True).update(each for each in rows if each[1] in wanted)

    @port
    async def note_hidden(self, orphans: Orphans, *, unpaired: bool) -> bool:
        self._database.answer()
        hidden = [
            row.one.storage_key
            for row in self._database.hidden.values()
            if row.state in {"hidden", "restoring"} and not row.one.erased
        ]
        folds = {fold for _, fold in self._noted(orphans.pass_id, is_row=True)}
        noted = {each for each in orphans.folded(hidden) if unpaired or each[1] in folds}
        self._noted(orphans.pass_id, is_row=False).update(noted)
        return bool(self._noted(orphans.pass_id, is_row=False))

    @port
    async def named_by(self, key: str) -> Sequence[str]:
        self._database.answer()
        passes = {pass_id for pass_id, _ in self._database.spellings}
        return [
            row
            for pass_id in passes
            for row, fold in self._noted(pass_id, is_row=True)
            if row != key and (key, fold) in self._noted(pass_id, is_row=False)
        ]

    def gathered(self) -> Sequence[str]:
        return ()

    @port
    async def spare(self, pass_id: int, after: str, limit: int) -> Sequence[NearMiss]:
        self._database.answer()
        rows: dict[str, list[str]] = defaultdict(list)
        for key, fold in self._noted(pass_id, is_row=True):
            rows[fold].append(key)
        objects = sorted(self._noted(pass_id, is_row=False))
        pairs = [
            NearMiss(storage_key=key, row_key=min(others), rows=0)
            for key, fold in objects
            if key > after and (others := [each for each in rows[fold] if each != key])
        ][:limit]
        spared = 0
        for pair in pairs:
            self._withdraw(pair.storage_key, Verdict.ORPHAN)
            for key in rows[dict(objects)[pair.storage_key]]:
                spared += self._withdraw(key, Verdict.DANGLING)
        return [replace(pair, rows=0 if index else spared) for index, pair in enumerate(pairs)]

    def _withdraw(self, key: str, verdict: Verdict) -> bool:
        row = self._database.marks.get(key)
        if row is None or row.operation_id is not None or row.mark.verdict is not verdict:
            return False
        del self._database.marks[key]
        return True

    @port
    async def forget(self, pass_id: int) -> None:
        self._database.answer()
        for noted in list(self._database.spellings):
            if noted[0] < pass_id:
                del self._database.spellings[noted]

    def _noted(self, pass_id: int, *, is_row: bool) -> set[Folded]:
        return self._database.spellings.setdefault((pass_id, is_row), set())


def has_twin(database: MemoryDatabase, mark: Mark, prefixes: tuple[str, ...]) -> bool:
    """Whether a row that the sweep could not have weighed spells the marked key otherwise."""
    if mark.verdict is Verdict.DANGLING:
        return False
    bucket = database.identity.bucket if database.identity else ""
    if _written_since(database, mark, prefixes, bucket):
        return True
    if mark.verdict is Verdict.DEPARTED and _spelled_by_any_row(database, mark, prefixes, bucket):
        return True
    others = spellings(mark.storage_key, bucket, prefixes)
    if any(key in others and not is_managed(key, prefixes) for key in database.referenced):
        return True
    return any(
        not is_managed(row.storage_key, prefixes)
        or row.created_at is None
        or row.created_at >= mark.first_seen_at
        for row in database.rows.values()
        if row.storage_key in others
    )


def _spelled_by_any_row(database: MemoryDatabase, mark: Mark, prefixes: tuple[str, ...], bucket: str) -> bool:
    keys = {row.storage_key for row in database.rows.values()} | database.referenced
    folds = {*fingerprints(mark.storage_key, bucket, prefixes)}
    return any(folds.intersection(fingerprints(key, bucket, prefixes)) for key in keys - {mark.storage_key})


def _written_since(database: MemoryDatabase, mark: Mark, prefixes: tuple[str, ...], bucket: str) -> bool:
    """Whether a row written since the last complete sweep began folds as an orphan of that sweep does."""
    complete = (PassState.RELEASED, PassState.TRIPPED)
    swept = [
        one.id for one in database.passes.values() if one.kind is PassKind.SWEEP and one.state in complete
    ]
    noted = database.spellings.get((max(swept, default=0), False), set())
    folds = {fold for key, fold in noted if key == mark.storage_key}
    if not folds:
        return False
    keys = {
        row.storage_key for row in database.rows.values() if database.written.get(row.id, 0) >= max(swept)
    }
    keys = (keys | database.referenced) - {mark.storage_key}
    return any(folds.intersection(fingerprints(key, bucket, prefixes)) for key in keys)
