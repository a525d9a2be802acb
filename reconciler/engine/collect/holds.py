"""Holds that the program places by itself, for what the store refuses to delete."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.engine.collect.answers import Answers
from reconciler.engine.runtime.context import Ports
from reconciler.model import Claim, DeletionResult, Hold, HoldKind, ObjectResult

AUTHOR = "the store"
"""Author of the program's own holds. If a person lifts one, or it ends, the key is tried again."""


async def hold_refused(ports: Ports, claim: Claim, answers: Answers, lasts: timedelta) -> None:
    """Put on hold what cannot be deleted; otherwise every later pass would mark it and every claim fail.

    Until the store's own lock ends, if the store says when, else for `lasts`; then the key is tried again.
    Done before the claim is confirmed: a crash in between repeats the claim, with the same result.
    """
    refused = [
        _Refused(key.mark.storage_key, detail, answers.held_until.get(key.mark.storage_key), key.mark.pass_id)
        for key in claim.keys
        for result, detail in (answers.results[key.mark.storage_key],)
        if result is ObjectResult.HELD
    ]
    await _hold(ports, refused, lasts)


async def hold_locked(ports: Ports, answers: Iterable[DeletionResult], lasts: timedelta) -> None:
    """Put on hold what the store refused to purge, in the same way."""
    locked = [
        _Refused(answer.key, answer.detail, answer.held_until)
        for answer in answers
        if answer.result is ObjectResult.HELD
    ]
    await _hold(ports, locked, lasts)


@dataclass(frozen=True, slots=True)
class _Refused:
    """A key that the store keeps: why, until when if it says so, and the pass that wanted it deleted."""

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
