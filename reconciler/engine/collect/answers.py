"""The store's answers about the keys of one claim."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from reconciler.engine.runtime.tasks import for_each
from reconciler.errors import KeyRefused, ReconcilerError
from reconciler.model import GONE, STAYED, Blame, ClaimedKey, Hidden, ObjectResult

log = structlog.get_logger(__name__)

PATIENCE = 6
"""Refused attempts at a key before it is put on hold. A failed attempt and the takeover that follows it
count one each, so this is the fourth refusal, three quarters of an hour after the first."""

MANY = 8
"""Keys in a row that the store has no room for, before a person is asked to make room."""


@dataclass(slots=True)
class Answers:
    """The result for each key so far.

    `sent`: a request that deletes was sent. `store_away`: the store stopped answering partway.
    `held_until`: when the store will release a key that it keeps, if it says so. `hidden`: where objects that
    are deleted, or were about to be, can still be found.
    """

    results: dict[str, tuple[ObjectResult, str]] = field(default_factory=dict)
    sent: bool = False
    store_away: bool = False
    held_until: dict[str, datetime | None] = field(default_factory=dict)
    hidden: dict[str, Hidden] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    """Keys that were missing when they were to be hidden: a repeated request may have hidden them already."""
    unmarked: set[str] = field(default_factory=set)
    """Keys that were deleted without a delete marker named: only the versions show whether one hides them."""
    halt: str = ""
    """Why nothing more may be deleted once this is recorded."""
    full: str = ""
    """The store's message and the remedy, if the store has no room at all for what deleting here needs."""
    without_room: list[str] = field(default_factory=list)
    """The store's messages about keys for which it has no room, or no key to encrypt with."""
    alone: set[str] = field(default_factory=set)
    """Keys that FAILED for reasons of their own, while the store answered for others."""

    def settle(self, key: str, result: ObjectResult, detail: str) -> None:
        self.results[key] = (result, detail)

    def refuse(self, claimed: ClaimedKey, blame: Blame, detail: str) -> None:
        """Settle a key that the store refuses: put it off, or on hold once putting it off is no use."""
        key, held = claimed.mark.storage_key, blame is Blame.OBJECT
        held |= blame is Blame.KEY and claimed.attempts >= PATIENCE
        self.settle(key, ObjectResult.HELD if held else ObjectResult.FAILED, detail)
        if blame is not Blame.MOMENT:
            self.alone.add(key)
        if blame is Blame.STORE:
            self.without_room.append(detail)

    def speak_of_room(self) -> None:
        """Halt, once this is recorded, if the store had no room for many keys and accepted none."""
        went = any(result in GONE for result, _ in self.results.values())
        if len(self.without_room) >= MANY and not went:
            self.full = self.full or self.without_room[0]

    @property
    def unanswered(self) -> bool:
        """Whether any key FAILED for a reason that does not concern that key alone."""
        return any(
            result is ObjectResult.FAILED and key not in self.alone
            for key, (result, _) in self.results.items()
        )

    def stayed(self) -> Counter[ObjectResult]:
        """Keys that were due and turned out to stay, counted by what was found."""
        return Counter(result for result, _ in self.results.values() if result in STAYED)

    def rows_alone(self, keys: Sequence[ClaimedKey]) -> list[str]:
        """Keys whose rows would go without any request sent: dangling ones, and those of shared objects."""
        go = {ObjectResult.MISSING, ObjectResult.UNTOUCHED}
        unasked = (each for each in keys if each.decision.verify_absence or not each.decision.delete_object)
        named = (each.mark.storage_key for each in unasked)
        return [key for key in named if key in self.results and self.results[key][0] in go]

    def unsettled(self, keys: Sequence[ClaimedKey]) -> list[ClaimedKey]:
        return [key for key in keys if key.mark.storage_key not in self.results]


async def for_each_alone(
    keys: Sequence[ClaimedKey],
    act: Callable[[ClaimedKey], Awaitable[None]],
    answers: Answers,
    *,
    concurrency: int,
) -> None:
    """Await `act` for each key; an error about one key settles that key, and the others go on.

    Errors about the store, the lease or this program are raised.
    """

    async def alone(claimed: ClaimedKey) -> None:
        try:
            await act(claimed)
        except KeyRefused as error:
            answers.refuse(claimed, error.blame, str(error))
            answers.alone.add(claimed.mark.storage_key)
        except ReconcilerError:
            raise
        except Exception as error:
            key = claimed.mark.storage_key
            log.exception("a key is put off on a fault of the program", storage_key=key)
            answers.refuse(claimed, Blame.KEY, f"a fault of the program: {error!r}")

    await for_each(keys, alone, concurrency=concurrency)
