"""What the store said of the keys of one claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.model import STAYED, ClaimedKey, Hidden, ObjectResult


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

    def settle(self, key: str, result: ObjectResult, detail: str) -> None:
        self.results[key] = (result, detail)

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
