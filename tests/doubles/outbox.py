"""The outbox, over the database in memory; a test puts the messages in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from reconciler.model import Delivered, Message, Subscription, Term, Unsent
from tests.doubles.database import MemoryDatabase
from tests.doubles.observing import Surroundings, port


class MemoryOutbox:
    """`messages` are those of one channel. Nothing here waits: what was refused is due again at once."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.messages: dict[int, Message] = {}
        self.answers: dict[int, str | None] = {}
        self.away: list[str] = []
        self.opened: list[str] = []

    @property
    def around(self) -> Surroundings:
        return self._database.around

    async def open(self, term: Term, subscriptions: Sequence[Subscription], keep: timedelta) -> None:
        self._database.check(term)
        self.opened = [each.channel for each in subscriptions]

    @port
    async def due(self, channel: str, limit: int) -> Sequence[Message]:
        self._database.answer()
        return [self.messages[one] for one in sorted(self.messages)][:limit]

    @port
    async def settle(self, term: Term, channel: str, delivered: Delivered) -> int:
        self._database.check(term)
        for one, answer in delivered.arrived.items():
            del self.messages[one]
            self.answers[one] = answer
        if delivered.away:
            self.away.append(delivered.away)
        return len(delivered.arrived)

    async def ended(self, virtual_keys: Collection[str]) -> tuple[frozenset[str], datetime]:
        owners = self._database.owners
        gone = {one for one in virtual_keys if one not in owners or not owners[one].enabled}
        return frozenset(gone), self._database.now

    async def backlog(self) -> Mapping[str, Unsent]:
        oldest = min((each.created_at for each in self.messages.values()), default=None)
        return {"": Unsent(pending=len(self.messages), oldest=oldest)}
