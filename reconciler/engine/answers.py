"""What the store said of the keys of one claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.model import ClaimedKey, Hidden, ObjectResult


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
    halt: str = ""
    """Why nothing more may be deleted once this is written down."""

    def settle(self, key: str, result: ObjectResult, detail: str) -> None:
        self.results[key] = (result, detail)

    def unsettled(self, keys: Sequence[ClaimedKey]) -> list[ClaimedKey]:
        return [key for key in keys if key.mark.storage_key not in self.results]
