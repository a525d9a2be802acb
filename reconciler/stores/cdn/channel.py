"""The outbox's channel to a CDN: which URLs, or which tags, a message is about, and what became of them."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeAlias
from urllib.parse import quote

from reconciler.model import KEY_REVOKED, Delivered, Message, Purge, Subscription, cache_tag
from reconciler.ports import Clock
from reconciler.stores.cdn.pace import Pace
from reconciler.stores.cdn.provider import Provider
from reconciler.stores.http import Unreachable

CHANNEL: Final = "cdn"

KINDS: Final = (
    *("object deleted", "object missing", "object erased"),
    *("record deleted", "record left"),
    KEY_REVOKED,
)
"""Whatever a CDN may still serve afterwards. A removed row tells its own URL."""

SECONDS_A_BATCH: Final = 5.0
"""How long a batch takes at the provider's limit: what is cut off in the middle is sent again."""

LARGEST_BATCH: Final = 1_000

PLACE: Final = "{key}"
"""Stands in a template for a storage key."""

Ask: TypeAlias = Callable[[Sequence[str]], Awaitable[Purge]]


class Owners(Protocol):
    """Knows virtual keys; see `ports.Outbox`."""

    async def ended(self, virtual_keys: Collection[str]) -> tuple[frozenset[str], datetime]: ...


@dataclass(slots=True)
class _Told:
    """What the provider has said so far, by URL or tag."""

    done: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    away: str = ""
    after: timedelta | None = None


class CdnChannel:
    """`ports.Channel` to one provider.

    `template` is a URL with `{key}`, None where only rows know theirs. With `tags`, a virtual key that has
    ended is purged as a whole, by the tag that all its media bear.
    """

    def __init__(
        self,
        provider: Provider,
        owners: Owners,
        clock: Clock,
        *,
        template: str | None,
        url_column: str | None,
        tags: bool,
    ) -> None:
        self._provider = provider
        self._owners = owners
        self._template = template
        self._tags = tags
        self._url_pace = Pace(provider.url_limit, clock)
        self._tag_pace = Pace(provider.tag_limit, clock)
        self.receiver = provider.name
        self.subscription = Subscription(channel=CHANNEL, kinds=KINDS, url_column=url_column)
        self.batch = min(LARGEST_BATCH, max(1, int(provider.url_limit.rate * SECONDS_A_BATCH)))

    async def send(self, messages: Sequence[Message]) -> Delivered:
        told = _Told()
        ended, ended_at = await self._ended(messages)
        await self._purge(sorted(cache_tag(each) for each in ended), told, by_tag=True)
        forgotten = {each for each in ended if cache_tag(each) in told.done}
        # A tag that is refused says nothing of the URLs; one that was not sent is sent once it can be.
        waiting = ended if told.away else forgotten
        rest = [each for each in messages if not _of_those_alone(each, waiting)]
        spread = [each.id for each in rest if each.kind == KEY_REVOKED]
        urls = {each.id: self._urls(each) for each in rest if each.kind != KEY_REVOKED}
        # Message by message: one that has two URLs arrives also where a provider never takes the whole batch.
        await self._purge(dict.fromkeys(url for of in urls.values() for url in of), told, by_tag=False)
        return Delivered(
            arrived={
                one: f"{self.receiver} {told.done[of[0]]}".strip() if of else None
                for one, of in urls.items()
                if all(url in told.done for url in of)
            },
            refused={
                one: told.refused[refused[0]]
                for one, of in urls.items()
                if (refused := [url for url in of if url in told.refused])
            },
            ended={each: f"{self.receiver} {told.done[cache_tag(each)]} by tag" for each in forgotten},
            ended_at=ended_at,
            spread=spread,
            away=told.away,
            after=told.after,
        )

    async def _ended(self, messages: Sequence[Message]) -> tuple[frozenset[str], datetime | None]:
        owners = {owner for each in messages for owner in _owners(each)}
        return await self._owners.ended(owners) if self._tags and owners else (frozenset(), None)

    def _urls(self, message: Message) -> Sequence[str]:
        """What a cache may have it under: what its row says, and what the template makes of its key."""
        found = []
        if url := message.payload.get("url"):
            found.append(str(url))
        if self._template and message.storage_key:
            found.append(url_of(self._template, message.storage_key))
        return list(dict.fromkeys(found))

    async def _purge(self, targets: Collection[str], told: _Told, *, by_tag: bool) -> None:
        """Purge them in their order, in as many requests as that takes, until the provider is away."""
        provider = self._provider
        ask, pace = (provider.tags, self._tag_pace) if by_tag else (provider.urls, self._url_pace)
        size = provider.tags_at_once if by_tag else provider.urls_at_once
        ordered = list(targets)
        chunks = [ordered[at : at + size] for at in range(0, len(ordered), size)]
        while chunks and not told.away:
            chunk = chunks.pop(0)
            await pace.take(len(chunk))
            try:
                purge = await ask(chunk)
            except Unreachable as error:
                told.away = str(error)
                return
            if len(purge.refused) == len(chunk) > 1:
                # One bad URL makes the provider refuse them all: it is found by halving.
                middle = len(chunk) // 2
                chunks[:0] = [chunk[:middle], chunk[middle:]]
                continue
            told.done.update(purge.done)
            told.refused.update(purge.refused)
            told.away, told.after = purge.away, purge.after


def url_of(template: str, key: str) -> str:
    """The URL of a key: percent-encoded, but for the slashes, as browsers and S3 spell it."""
    return template.replace(PLACE, quote(key, safe="/~"))


def _owners(message: Message) -> Sequence[str]:
    return [str(each) for each in message.payload.get("owners") or ()]


def _of_those_alone(message: Message, virtual_keys: Collection[str]) -> bool:
    owners = _owners(message)
    return bool(owners) and all(each in virtual_keys for each in owners)
