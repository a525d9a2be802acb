"""The engine's protocols for the store's events: the queue that they come by, and the keys to look at."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.model import Hint, HintsStanding, Look, QueueMessage, StoreEvent


class Queue(Protocol):
    """A queue of messages, each delivered at least once, in any order, maybe late."""

    async def receive(self) -> Sequence[QueueMessage]:
        """Up to ten messages; waits some seconds for the first. Raises QueueUnavailable."""
        ...

    async def delete(self, messages: Sequence[QueueMessage]) -> None:
        """Delete them: what is not deleted comes again. Raises QueueUnavailable."""
        ...

    async def sets_aside(self) -> bool:
        """Whether the queue itself puts away what is delivered too often: it has a dead-letter queue."""
        ...


class Hints(Protocol):
    """Keys to look at, durable, each once."""

    async def note(self, changes: Sequence[StoreEvent], window: timedelta) -> None:
        """Note keys: what was removed at once, what appeared `window` after it did, and after now at most.

        A key that is noted already is looked at by the earlier of the two times.
        """
        ...

    async def due(self, limit: int) -> Sequence[Hint]:
        """Those to look at now, the longest due first."""
        ...

    async def looked(self, looks: Sequence[Look]) -> None:
        """Settle hints, or put them off. One that was noted again meanwhile stays as it is."""
        ...

    async def forget(self) -> None:
        """Forget what was found before the last complete sweep began: that has judged it."""
        ...

    async def full(self) -> bool:
        """Whether so many keys wait that no more should be noted for now."""
        ...

    async def standing(self) -> HintsStanding: ...

    async def now(self) -> datetime:
        """The server's clock."""
        ...
