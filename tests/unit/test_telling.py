"""The sending loop, over an outbox in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio
import pytest

from reconciler.engine.tell.telling import Teller
from reconciler.model import Delivered, Message, Subscription, Term
from tests.doubles.build import NOW
from tests.doubles.world import World

pytestmark = pytest.mark.anyio


@dataclass
class Receiver:
    """A channel that answers as the test says, and remembers what it was sent."""

    answer: Callable[[Sequence[Message]], Delivered]
    sent: list[list[int]] = field(default_factory=list)
    batch: int = 2
    receiver = "somebody"
    subscription = Subscription(channel="there", kinds=("object deleted",))

    async def send(self, messages: Sequence[Message]) -> Delivered:
        self.sent.append([each.id for each in messages])
        await anyio.lowlevel.checkpoint()
        return self.answer(messages)


def _all(messages: Sequence[Message]) -> Delivered:
    return Delivered(arrived={each.id: None for each in messages})


async def _told(receiver: Receiver) -> tuple[World, Teller, Term]:
    world = World()
    world.channels.append(receiver)
    for number in (1, 2, 3):
        world.outbox.messages[number] = Message(
            id=number,
            kind="object deleted",
            storage_key=f"image/{number}",
            ledger_id=number,
            payload={},
            created_at=NOW,
            attempts=0,
        )
    cycle = world.cycle()
    term = await world.take_lease()
    return world, cycle.tellers[0], term


async def test_everything_is_sent_in_batches() -> None:
    receiver = Receiver(_all)
    world, teller, term = await _told(receiver)
    await teller.tell(term)
    assert receiver.sent == [[1, 2], [3]]
    assert world.outbox.messages == {}


async def test_a_receiver_that_is_away_gets_no_second_batch() -> None:
    receiver = Receiver(lambda sent: Delivered(arrived={sent[0].id: None}, away="503"))
    world, teller, term = await _told(receiver)
    await teller.tell(term)
    assert receiver.sent == [[1, 2]]
    assert [*world.outbox.messages] == [2, 3], "the first arrived, and is not sent again"
    assert world.outbox.away == ["503"]


async def test_a_channel_that_says_nothing_does_not_send_for_ever() -> None:
    receiver = Receiver(lambda _: Delivered())
    _, teller, term = await _told(receiver)
    with pytest.raises(AssertionError, match="said nothing of 2"):
        await teller.tell(term)


async def test_what_was_cut_off_while_it_was_sent_is_sent_again() -> None:
    with anyio.CancelScope() as scope:

        def stop(messages: Sequence[Message]) -> Delivered:
            scope.cancel()
            return _all(messages)

        world, teller, term = await _told(Receiver(stop))
        await teller.tell(term)
    assert [*world.outbox.messages] == [3], "what had been answered is settled in spite of the signal"
    receiver = Receiver(_all)
    await Teller(world.ports, receiver).tell(term)
    assert receiver.sent == [[3]]


async def test_a_single_run_tells_what_it_did() -> None:
    receiver = Receiver(_all)
    world, _, term = await _told(receiver)
    await world.ports.lease.release(term)
    await world.run_once()
    assert world.outbox.opened == ["there"]
    assert receiver.sent == [[1, 2], [3]]
