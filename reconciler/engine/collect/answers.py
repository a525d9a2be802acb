"""What the store said of the keys of one claim."""

from __future__ import annotations

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
"""Attempts at a key that the store refuses before it is on hold. An attempt that fails and the takeover
that follows it count one each, so that is the fourth refusal, three quarters of an hour after the first."""

MANY = 8
"""Keys in a row that the store has no room for, before a person is asked to make some."""


@dataclass(slots=True)
class Answers:
    """What became of each key so far.

    `sent`: a request that deletes went out. `store_away`: the store stopped answering on the way.
    `held_until`: when the store frees a key that it keeps, where it says so. `hidden` says where objects
    that went, or were about to, still are.
    """

    results: dict[str, tuple[ObjectResult, str]] = field(default_factory=dict)
    sent: bool = False
    store_away: bool = False
    held_until: dict[str, datetime | None] = field(default_factory=dict)
    hidden: dict[str, Hidden] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    """Keys that were found missing when they were to be hidden: a repeated request may have hidden them."""
    unmarked: set[str] = field(default_factory=set)
    """Keys that were deleted, and no delete marker was named: whether one hides them, the versions tell."""
    halt: str = ""
    """Why nothing more may be deleted once this is written down."""
    full: str = ""
    """What the store said, and what to do, where it has no room at all for what is deleted here."""
    without_room: list[str] = field(default_factory=list)
    """What the store said of keys for which it has no room, or no key to encrypt with."""
    alone: set[str] = field(default_factory=set)
    """Keys that FAILED by themselves, while the store was there for others."""

    def settle(self, key: str, result: ObjectResult, detail: str) -> None:
        self.results[key] = (result, detail)

    def refuse(self, claimed: ClaimedKey, blame: Blame, detail: str) -> None:
        """Settle a key that the store refuses: it is put off, or on hold where that is of no use any more."""
        key, held = claimed.mark.storage_key, blame is Blame.OBJECT
        held |= blame is Blame.KEY and claimed.attempts >= PATIENCE
        self.settle(key, ObjectResult.HELD if held else ObjectResult.FAILED, detail)
        if blame is not Blame.MOMENT:
            self.alone.add(key)
        if blame is Blame.STORE:
            self.without_room.append(detail)

    def speak_of_room(self) -> None:
        """Halt, once this is written down, where the store has no room for many, and took none."""
        went = any(result in GONE for result, _ in self.results.values())
        if len(self.without_room) >= MANY and not went:
            self.full = self.full or self.without_room[0]

    @property
    def unanswered(self) -> bool:
        """Whether a key FAILED and it was not about that key alone."""
        return any(
            result is ObjectResult.FAILED and key not in self.alone
            for key, (result, _) in self.results.items()
        )

    def stayed(self) -> Counter[ObjectResult]:
        """Keys that were due and are not to go after all, by what was found."""
        return Counter(result for result, _ in self.results.values() if result in STAYED)

    def rows_alone(self, keys: Sequence[ClaimedKey]) -> list[str]:
        """Keys of which rows would go, and for which nothing was sent: dangling ones, and shared objects'."""
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
    """Await `act` for each; what goes wrong about one key settles that key, and the others go on.

    Raises what is about the store, the lease or us.
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
