"""Near misses: orphans that a row spells otherwise. Noted during the comparison, paired at its end."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from reconciler.engine.detect.lost_objects import Returns
from reconciler.model import Finding, KeepReason, NearMiss, Tally, Verdict
from reconciler.model.spelling import Orphans
from reconciler.ports import Folded, NearMisses, Records

log = structlog.get_logger(__name__)

PAGE = 1_000
FURTHER = 20_000
"""Keys of further columns to read per page: without an index each page reads the whole table."""
SHOWN = 5
"""Pairs that the log names."""

GATHERED = 100_000
"""Keys of each side that a plan remembers. Keys beyond that are shown as if they had no pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelled:
    """The keys of one pass by their folded form: orphans, and rows without an object."""

    near: NearMisses
    orphans: Orphans
    compared: tuple[str, ...]
    """The prefixes whose rows are compared: all others may only spell an orphan's key."""

    async def note(self, findings: Sequence[Finding], missing: Sequence[str]) -> None:
        """Note the keys. Called before the findings are written, so that a resumed pass knows them all."""
        orphans = [each.storage_key for each in findings if _would_go(each)]
        if orphans or missing:
            folded = self.orphans.folded
            await self.near.note(self.orphans.pass_id, folded(orphans), folded(missing))

    async def settle(self, records: Records, returns: Returns, tally: Tally) -> Tally:
        """Take back the findings that have a pair, once all are noted. Returns the addition to the tally.

        An orphan that went already comes back, if a row that lacks its object spells its key otherwise.
        """
        noted = replace(self.orphans, gathered=self.near.gathered())
        outside = bool(tally.kept.get(KeepReason.OUTSIDE_PREFIX))
        if not await self.near.note_hidden(noted, unpaired=outside):
            return Tally()
        if outside:
            async for keys in records.outside(self.compared, PAGE):
                await self.near.note_outside(noted.pass_id, noted.folded(keys))
        async for keys in records.spelled_otherwise(noted, FURTHER):
            await self.near.note_outside(noted.pass_id, noted.folded(keys))
        after, kept, rows, by_store = "", 0, 0, 0
        while pairs := await self.near.spare(noted.pass_id, after, PAGE):
            if not kept:
                shown = [f"{each.storage_key!r}, row {each.row_key!r}" for each in pairs[:SHOWN]]
                log.warning("near misses are kept: rows spell these keys otherwise", pairs=shown)
            await returns.of_rows([each.storage_key for each in pairs])
            kept, rows = kept + len(pairs), rows + sum(each.rows for each in pairs)
            by_store += sum(each.by_store for each in pairs)
            after = pairs[-1].storage_key
        if not kept:
            return Tally()
        return Tally(kept={KeepReason.NEAR_MISS: kept + rows}, missing=by_store - rows)


@dataclass(slots=True)
class Gathered:
    """`ports.NearMisses` in memory for one pass, up to a limit: a plan writes nothing."""

    objects: dict[str, str] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)
    """The folded form by key."""
    first_object: dict[str, str] = field(default_factory=dict)
    first_row: dict[str, str] = field(default_factory=dict)
    """The first key by its folded form."""

    async def note(self, pass_id: int, objects: Sequence[Folded], rows: Sequence[Folded]) -> None:  # noqa: ARG002
        _remember(objects, self.objects, self.first_object)
        _remember(rows, self.rows, self.first_row)

    async def note_outside(self, pass_id: int, rows: Sequence[Folded]) -> None:  # noqa: ARG002
        paired = [each for each in rows if each[1] in self.first_object]
        _remember(paired, self.rows, self.first_row)

    async def note_hidden(self, orphans: Orphans, *, unpaired: bool) -> bool:  # noqa: ARG002
        return bool(self.first_object)

    async def named_by(self, key: str) -> Sequence[str]:  # noqa: ARG002
        return ()

    def gathered(self) -> Sequence[str]:
        return list(self.first_object)

    async def spare(self, pass_id: int, after: str, limit: int) -> Sequence[NearMiss]:  # noqa: ARG002
        keys = sorted(key for key, folded in self.objects.items() if folded in self.first_row and key > after)
        return [NearMiss(storage_key=key, row_key=self.first_row[self.objects[key]]) for key in keys[:limit]]

    async def forget(self, pass_id: int) -> None:  # noqa: ARG002
        for each in (self.objects, self.rows, self.first_object, self.first_row):
            each.clear()

    def pair_of(self, finding: Finding) -> str | None:
        """The other side's key, for an orphan or a record whose object is missing; None if it has no pair."""
        if finding.verdict is Verdict.ORPHAN:
            return self.first_row.get(self.objects.get(finding.storage_key, ""))
        return self.first_object.get(self.rows.get(finding.storage_key, ""))


def _remember(keys: Sequence[Folded], folds: dict[str, str], first: dict[str, str]) -> None:
    for key, folded in keys:
        if len(folds) < GATHERED:
            folds[key] = folded
            first[folded] = min(first.get(folded, key), key)


def _would_go(finding: Finding) -> bool:
    return finding.verdict is Verdict.ADOPT or (finding.verdict is Verdict.ORPHAN and finding.kept is None)
