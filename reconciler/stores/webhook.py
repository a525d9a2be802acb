"""A webhook that is told of events, each signed as Standard Webhooks say. Needs the extra `events`.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from anyio import create_task_group
from standardwebhooks.webhooks import Webhook

from reconciler.model import Delivered, Message, Subscription
from reconciler.stores.http import Answer, Http, Unreachable

CHANNEL: Final = "webhook"

AT_ONCE: Final = 8
"""Requests under way: events of one storage key one after the other."""

SHORTEST: Final = 24
"""Bytes of a secret, as the standard asks for."""

GONE: Final = 410
OF_ALL: Final = frozenset({401, 403, 404, 405, 407})
"""Answers that are about the address or its rights, whatever is sent."""


class Event(Protocol):
    """An event as it is sent."""

    @property
    def id(self) -> str: ...

    @property
    def text(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """Where events are sent, and what signs them.

    `secrets` reads the secrets, `whsec_…`, each of which signs. `render` makes the event of a message, None
    where there is nothing to tell. `switch_off` is called with the reason where the receiver wants no more.
    """

    url: str
    kinds: Sequence[str]
    secrets: Callable[[], Sequence[str]]
    render: Callable[[Message], Event | None]
    switch_off: Callable[[Subscription, str], Awaitable[None]]


@dataclass(slots=True)
class _Sent:
    """What has become of one batch so far."""

    arrived: dict[int, str | None] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    away: str = ""
    after: timedelta | None = None


def address_of(url: str) -> str:
    """What tells one address from another, without saying it: it may hold a secret."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def signers(secrets: Sequence[str]) -> Sequence[Webhook]:
    """What signs by each secret. Raises ValueError for none, and for what is no secret."""
    if not secrets:
        raise ValueError("it holds no secret")
    try:
        keys = [base64.b64decode(each.removeprefix("whsec_") + "==") for each in secrets]
    except ValueError:
        keys = [b""]
    if min(map(len, keys)) < SHORTEST:
        message = f"a line of it is no secret: whsec_ and {SHORTEST} bytes or more in base64"
        raise ValueError(message)
    return [Webhook(each) for each in keys]


class WebhookChannel:
    """`ports.Channel` for one webhook. An answer of 410 switches it off."""

    receiver = CHANNEL
    batch = 64

    def __init__(self, http: Http, config: WebhookConfig) -> None:
        self._http = http
        self._config = config
        self.subscription = Subscription(channel=CHANNEL, kinds=config.kinds, address=address_of(config.url))

    async def send(self, messages: Sequence[Message]) -> Delivered:
        sent = _Sent()
        try:
            sign = signers(self._config.secrets())
        except (OSError, ValueError) as error:
            return Delivered(away=f"the file of EVENTS__WEBHOOK_SECRET_FILE cannot be used: {error}")
        by_key: dict[str | None, list[Message]] = {}
        for message in messages:
            by_key.setdefault(message.storage_key, []).append(message)
        waiting = iter(by_key.values())

        async def work() -> None:
            for of_key in waiting:
                await self._in_order(of_key, sign, sent)
                if sent.away:
                    return

        async with create_task_group() as group:
            for _ in range(min(AT_ONCE, len(by_key))):
                group.start_soon(work)
        return Delivered(arrived=sent.arrived, refused=sent.refused, away=sent.away, after=sent.after)

    async def _in_order(self, messages: Sequence[Message], sign: Sequence[Webhook], sent: _Sent) -> None:
        """Those of one key: what comes after one that did not arrive waits for it."""
        for message in messages:
            event = self._config.render(message)
            if event is None:
                sent.arrived[message.id] = None
                continue
            if sent.away:
                return
            try:
                answer = await self._http.ask(
                    "POST", self._config.url, _headers(event, sign), event.text.encode()
                )
            except Unreachable as error:
                sent.away = str(error)
                return
            if answer.well:
                sent.arrived[message.id] = None
                continue
            await self._not_taken(message, answer, sent)
            return

    async def _not_taken(self, message: Message, answer: Answer, sent: _Sent) -> None:
        if answer.status == GONE:
            sent.away = "the webhook answered 410, and is switched off: it wants no more events"
            await self._config.switch_off(self.subscription, f"it answered {answer}")
        elif answer.away or answer.status in OF_ALL:
            sent.away, sent.after = f"the webhook answered {answer}", answer.after
        else:
            sent.refused[message.id] = f"the webhook answered {answer}"


def _headers(event: Event, sign: Sequence[Webhook]) -> dict[str, str]:
    """The body is signed as the text that is sent; the time is that of this attempt."""
    now = datetime.now(UTC)
    return {
        "Content-Type": "application/cloudevents+json",
        "webhook-id": event.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(each.sign(event.id, now, event.text) for each in sign),
    }
