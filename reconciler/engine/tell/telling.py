"""Sends what the outbox holds for one channel. What was sent and not yet settled is sent again."""

import anyio
import structlog

from reconciler.engine.runtime.context import Ports
from reconciler.model import Term
from reconciler.ports import Channel

log = structlog.get_logger(__name__)

SETTLE_SECONDS = 5.0
"""How long what was sent may take to be settled after a signal; otherwise it is sent again."""


class Teller:
    """Tells one channel. A receiver that is away, or slow, keeps nothing else waiting."""

    def __init__(self, ports: Ports, channel: Channel) -> None:
        self._ports = ports
        self._channel = channel
        self.name = channel.subscription.channel

    @property
    def loop(self) -> str:
        """The name of the loop that runs it."""
        return f"telling {self.name}"

    async def tell(self, term: Term) -> None:
        """Send what may be sent, until nothing is left or the receiver is away. Raises LeaseLost."""
        outbox, channel = self._ports.outbox, self._channel
        while messages := await outbox.due(self.name, channel.batch):
            self._ports.observer.alive(self.loop)
            delivered = await channel.send(messages)
            if delivered.nothing:
                message = f"channel {self.name} said nothing of {len(messages)} messages"
                raise AssertionError(message)
            arrived = 0
            with anyio.CancelScope(shield=True), anyio.move_on_after(SETTLE_SECONDS):
                arrived = await outbox.settle(term, self.name, delivered)
            refused, away = len(delivered.refused), bool(delivered.away)
            self._ports.observer.delivered(self.name, channel.receiver, arrived, refused, away=away)
            for reason in sorted({*delivered.refused.values()}):
                log.warning("message refused, tried again later", channel=self.name, reason=reason)
            if delivered.away:
                log.warning("nobody takes messages, trying again", channel=self.name, reason=delivered.away)
                return
