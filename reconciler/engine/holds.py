"""What is on hold is found and counted, and nothing is done about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from reconciler.engine.answers import Answers
from reconciler.model import DeletionResult, Finding, Hold, HoldKind, KeepReason, ObjectResult, Tally, Verdict
from reconciler.ports import Holds

LOOKUP_SIZE = 1_000

AUTHOR = "the store"
"""Of holds that the program makes by itself; a person who lifts one will see it made again."""


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


async def hold_refused(holds: Holds, answers: Answers) -> None:
    """Put on hold what cannot be deleted, or every later pass would mark it and every claim fail.

    Before the claim is confirmed: a crash in between repeats the claim, and comes to the same.
    """
    refused = {
        key: detail for key, (result, detail) in answers.results.items() if result is ObjectResult.HELD
    }
    await _hold(holds, refused, answers.held_until)


async def hold_locked(holds: Holds, answers: Iterable[DeletionResult]) -> None:
    """The same of answers to a purge, which is tried again when the hold has ended."""
    locked = [answer for answer in answers if answer.result is ObjectResult.HELD]
    reasons = {answer.key: answer.detail for answer in locked}
    await _hold(holds, reasons, {answer.key: answer.held_until for answer in locked})


async def _hold(holds: Holds, reasons: Mapping[str, str], until: Mapping[str, datetime | None]) -> None:
    made = [
        Hold(kind=HoldKind.KEY, target=key, reason=reason, author=AUTHOR, until=until.get(key))
        for key, reason in reasons.items()
    ]
    if made:
        await holds.add(made)
