"""Holds that the program makes by itself, for what the store refuses to delete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.engine.collect.answers import Answers
from reconciler.engine.runtime.context import Ports
from reconciler.model import Claim, DeletionResult, Hold, HoldKind, ObjectResult

AUTHOR = "the store"
"""Of holds that the program makes by itself; a person who lifts one, or its end, has the key tried again."""


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
