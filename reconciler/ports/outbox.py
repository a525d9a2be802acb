"""What is still to be told to others, and how it is sent."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.model import Delivered, Message, Subscription, Term, Unsent


class Outbox(Protocol):
    """Messages, written in the transaction of what they tell, for channels that are open."""

    async def open(self, term: Term, subscriptions: Sequence[Subscription], keep: timedelta) -> None:
        """From now on, these channels are told and no others. What waits for a closed one stays, for `keep`.
        A channel that rests is tried again. Raises LeaseLost.
        """
        ...

    async def due(self, channel: str, limit: int) -> Sequence[Message]:
        """The first messages that may be sent now, by id; none while the channel rests.

        Those of one storage key are in their order, and none is given while an earlier one waits.
        """
        ...

    async def settle(self, term: Term, channel: str, delivered: Delivered) -> int:
        """Remove what has arrived, and put off the rest. Returns how many have arrived.

        Raises LeaseLost; then all is sent again.
        """
        ...

    async def ended(self, virtual_keys: Collection[str]) -> tuple[frozenset[str], datetime]:
        """Those that are disabled, have expired or are not there any more, and the time of that reading.

        None is where there is no table of virtual keys.
        """
        ...

    async def backlog(self) -> Mapping[str, Unsent]:
        """By channel: those that are open, and those for which something still waits."""
        ...


class Channel(Protocol):
    """A receiver, and how it is told."""

    @property
    def receiver(self) -> str:
        """Who that is, in a word, for metrics."""
        ...

    @property
    def subscription(self) -> Subscription: ...

    @property
    def batch(self) -> int:
        """How many messages `send` takes at once."""
        ...

    async def send(self, messages: Sequence[Message]) -> Delivered:
        """Send them, in their order by storage key. A cancellation ends it; then all are sent again."""
        ...
