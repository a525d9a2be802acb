"""What is on hold is found and counted, and nothing is done about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler.engine.answers import Answers
from reconciler.engine.steering import Ports
from reconciler.model import (
    Claim,
    DeletionResult,
    Finding,
    Hold,
    HoldKind,
    KeepReason,
    ObjectResult,
    Tally,
    Verdict,
)
from reconciler.ports import Holds

LOOKUP_SIZE = 1_000

AUTHOR = "the store"
"""Of holds that the program makes by itself; a person who lifts one, or its end, has the key tried again."""


async def keep_held(holds: Holds, findings: list[Finding]) -> Tally:
    """Mark as kept, in place, the findings whose key is on hold. Returns what that adds to the tally.

    What is kept for another reason stays so. A dangling record on hold does not count as missing: it
    stays, so there is nothing for the dangling cap to hold back.
    """
    kept = missing = 0
    for start in range(0, len(findings), LOOKUP_SIZE):
        page = findings[start : start + LOOKUP_SIZE]
        held = await holds.held([each.storage_key for each in page if each.kept is None])
        for index, finding in enumerate(page, start):
            hold = held.get(finding.storage_key)
            if hold is None or finding.kept is not None:
                continue
            reason = f"{finding.reason}; on hold by {hold.author}: {hold.reason}"
            findings[index] = replace(finding, kept=KeepReason.HOLD, reason=reason)
            kept += 1
            missing += finding.verdict is Verdict.DANGLING
    return Tally(kept={KeepReason.HOLD: kept}, missing=-missing) if kept else Tally()


async def hold_refused(ports: Ports, claim: Claim, answers: Answers, lasts: timedelta) -> None:
    """Put on hold what cannot be deleted, or every later pass would mark it and every claim fail.

    Until the store's own lock ends, where it tells that, else for as long as `lasts`; then it is tried again.
    Before the claim is confirmed: a crash in between repeats the claim, and comes to the same.
    """
    refused = [
        _Refused(key.mark.storage_key, detail, answers.held_until.get(key.mark.storage_key), key.mark.pass_id)
        for key in claim.keys
        for result, detail in (answers.results[key.mark.storage_key],)
        if result is ObjectResult.HELD
    ]
    await _hold(ports, refused, lasts)


async def hold_locked(ports: Ports, answers: Iterable[DeletionResult], lasts: timedelta) -> None:
    """The same of answers to a purge."""
    locked = [
        _Refused(answer.key, answer.detail, answer.held_until)
        for answer in answers
        if answer.result is ObjectResult.HELD
    ]
    await _hold(ports, locked, lasts)


@dataclass(frozen=True, slots=True)
class _Refused:
    """A key that the store keeps, why, until when if it says so, and the pass that wanted it gone."""

    key: str
    reason: str
    until: datetime | None = None
    pass_id: int | None = None


async def _hold(ports: Ports, refused: Sequence[_Refused], lasts: timedelta) -> None:
    if not refused:
        return
    end = await ports.records.now() + lasts
    made = {
        each.key: Hold(
            kind=HoldKind.KEY,
            target=each.key,
            reason=each.reason,
            author=AUTHOR,
            until=each.until or end,
            pass_id=each.pass_id,
        )
        for each in refused
    }
    await ports.holds.add(list(made.values()))
