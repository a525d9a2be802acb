"""Compares listed objects with what their rows say of the bytes: in a plan, and in a sweep from time to time.

Reading sizes takes the table itself, where keys alone come from an index: so not every sweep does it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler.model import Finding, KeepReason, ObjectPage, Pass, Tally, Verdict
from reconciler.planning import integrity
from reconciler.planning.reporting import tally_of
from reconciler.ports import Records


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """The comparison of one pass. `wanted`: whether this pass makes it; else it finds nothing."""

    records: Records
    wanted: bool

    async def of(self, page: ObjectPage) -> tuple[list[Finding], Tally]:
        """The objects of the page that are not what a row says, one finding each, and their tally."""
        if not self.wanted or not page.keys:
            return [], Tally()
        rows = await self.records.contents(page.keys)
        places = {key: index for index, key in enumerate(page.keys)}
        found: dict[str, Finding] = {}
        for row in rows:
            index = places[row.storage_key]
            # Most rows agree with the size, which is looked at before anything is made of the page.
            if row.content_hash is None and row.size_bytes in {None, 0, page.sizes[index]}:
                continue
            finding = integrity.mismatch(page.object_at(index), row)
            if finding is not None:
                found.setdefault(row.storage_key, finding)
        findings = list(found.values())
        return findings, replace(tally_of(findings), compared=len(page.keys))


def is_due(compared_at: datetime | None, interval: timedelta | None, now: datetime) -> bool:
    """Whether a sweep at `now` compares; an interval of None: none ever does, and the first never."""
    return interval is not None and now - (compared_at or now) >= interval


def recalled(before: Pass | None) -> Tally:
    """What the last comparison found, for a sweep that makes none: it stands until the next one."""
    number = before.tally.kept.get(KeepReason.MISMATCH, 0) if before else 0
    if not number:
        return Tally()
    return Tally(found={Verdict.MISMATCH: number}, kept={KeepReason.MISMATCH: number})
