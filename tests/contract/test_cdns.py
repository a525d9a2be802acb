"""The CDN channel against servers that keep what the providers have published."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.app.process import SystemClock
from reconciler.errors import Untold
from reconciler.model import KEY_REVOKED, CdnProvider, CloudflarePlan, Message
from reconciler.ports import Clock
from reconciler.stores.cdn import CdnConfig, open_cdn, verify
from reconciler.stores.cdn.channel import url_of
from reconciler.stores.cdn.provider import Refused
from reconciler.stores.http import Answer
from tests.doubles.build import NOW
from tests.doubles.observing import Surroundings
from tests.support.cdns import PROVIDERS, TOKEN, ZONE, Cdn, Reply, serving

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("credentials")]

AT = "https://cdn.example/{key}"
TAGGED = {"cloudfront": "#vk-{}"}
"""How a provider writes a tag where that is not the tag alone."""


@dataclass
class Keys:
    """Virtual keys, of which some have ended."""

    gone: set[str] = field(default_factory=set)

    async def ended(self, virtual_keys: Collection[str]) -> tuple[frozenset[str], datetime]:
        return frozenset(self.gone & {*virtual_keys}), NOW


@pytest.fixture(params=list(PROVIDERS))
async def cdn(request: pytest.FixtureRequest) -> AsyncIterator[Cdn]:
    async with serving(request.param) as served:
        served.name = request.param
        yield served


def _config(cdn: Cdn, **changes: Any) -> CdnConfig:
    values: dict[str, Any] = {
        "provider": CdnProvider(cdn.name),
        "zone": ZONE,
        "plan": CloudflarePlan.FREE,
        "token": lambda: TOKEN,
        "api_url": cdn.url,
        "template": AT,
        "url_column": None,
        "tags": False,
    }
    return CdnConfig(**{**values, **changes})


def _message(
    number: int, key: str | None, *owners: str, kind: str = "object deleted", **told: Any
) -> Message:
    return Message(
        id=number,
        kind=kind,
        storage_key=key,
        ledger_id=number,
        payload={"owners": list(owners), **told},
        created_at=NOW - timedelta(minutes=1),
        attempts=0,
    )


def _seen(cdn: Cdn, url: str) -> str:
    """What a provider is told of a URL."""
    return url.removeprefix("https://cdn.example") if cdn.name == "cloudfront" else url


async def _send(
    cdn: Cdn, *messages: Message, keys: Keys | None = None, clock: Clock | None = None, **changes: Any
) -> Any:
    async with open_cdn(_config(cdn, **changes), keys or Keys(), clock or Surroundings()) as channel:
        return await channel.send(messages)


async def test_a_url_is_purged_and_the_providers_id_is_the_answer(cdn: Cdn) -> None:
    odd = "image/a b+c%2F#é?*~'.png"
    sent = await _send(
        cdn, _message(1, "image/1"), _message(2, odd), _message(3, None, url=AT.format(key="x"))
    )
    wanted = [url_of(AT, "image/1"), "https://cdn.example/image/a%20b%2Bc%252F%23%C3%A9%3F%2A~%27.png", AT]
    wanted[2] = AT.format(key="x")
    assert sorted(cdn.purged) == sorted(_seen(cdn, url) for url in wanted)
    assert {*sent.arrived} == {1, 2, 3}
    assert all(answer.startswith(f"{cdn.name} ") and answer[-1].isalnum() for answer in sent.arrived.values())
    assert (sent.refused, sent.away) == ({}, "")


async def test_many_are_sent_in_requests_as_large_as_are_taken(cdn: Cdn) -> None:
    sent = await _send(cdn, *[_message(number, f"image/{number}") for number in range(230)])
    assert len(sent.arrived) == len({*cdn.purged}) == 230
    assert len(cdn.requests) == {"cloudflare": 3, "webhook": 3, "cloudfront": 1}.get(cdn.name, 230)


async def test_a_provider_that_fails_within_each_batch_gets_on_with_messages_of_two_urls(cdn: Cdn) -> None:
    """They would wait for ever if all second URLs came after all first ones."""
    answer = cdn.answer
    cdn.answer = lambda cdn, asked: Reply(503) if len(cdn.requests) == 3 else answer(cdn, asked)
    two = [_message(each, f"image/{each}", url=f"https://media.example/{each}") for each in range(200)]
    assert (await _send(cdn, *two)).arrived


async def test_a_key_that_has_ended_is_purged_once_by_its_tag(cdn: Cdn) -> None:
    messages = [_message(number, f"image/{number}", "a 1") for number in range(50)]
    others = [
        _message(50, "image/live", "2"),
        _message(51, "image/shared", "a 1", "2"),
        _message(52, "image/x"),
    ]
    revoked = _message(53, None, "3", kind=KEY_REVOKED)
    sent = await _send(cdn, *messages, *others, revoked, keys=Keys({"a 1", "3"}), tags=True)
    tags = [TAGGED.get(cdn.name, "vk-{}").format(each) for each in ("3", "a%201")]
    urls = [_seen(cdn, url_of(AT, f"image/{each}")) for each in ("live", "shared", "x")]
    assert sorted(cdn.purged) == sorted(tags + urls), "the media of keys that live are purged one by one"
    assert {*sent.ended} == {"a 1", "3"}
    assert sent.ended_at == NOW
    assert {*sent.arrived} == {50, 51, 52}
    assert not sent.spread


async def test_without_tags_a_disabled_key_is_spread_over_its_media(cdn: Cdn) -> None:
    sent = await _send(cdn, _message(1, None, "1", kind=KEY_REVOKED), keys=Keys({"1"}))
    assert (list(sent.spread), sent.arrived, cdn.requests) == ([1], {}, [])


async def test_a_tag_that_is_refused_leaves_the_urls(cdn: Cdn) -> None:
    cdn.bad = {TAGGED.get(cdn.name, "vk-{}").format("1")}
    revoked = _message(2, None, "1", kind=KEY_REVOKED)
    sent = await _send(cdn, _message(1, "image/1", "1"), revoked, keys=Keys({"1"}), tags=True)
    assert cdn.purged == [_seen(cdn, url_of(AT, "image/1"))]
    assert ({*sent.arrived}, list(sent.spread), sent.ended) == ({1}, [2], {})


async def test_one_bad_url_keeps_no_other_from_being_purged(cdn: Cdn) -> None:
    cdn.bad = {_seen(cdn, url_of(AT, "image/7"))}
    sent = await _send(cdn, *[_message(number, f"image/{number}") for number in range(20)])
    assert [*sent.refused] == [7]
    assert sent.refused[7]
    assert {*sent.arrived} == {*range(20)} - {7}
    assert not sent.away


@pytest.mark.parametrize("status", [429, 500, 403])
async def test_a_provider_that_is_away_is_asked_no_more(cdn: Cdn, status: int) -> None:
    cdn.next = [Reply(status, b"<html>oops\x00</html>", {"Retry-After": "7"})]
    sent = await _send(cdn, *[_message(number, f"image/{number}") for number in range(1500)])
    assert (sent.arrived, sent.refused, len(cdn.requests)) == ({}, {}, 1)
    assert str(status) in sent.away
    asks = cdn.name != "cloudfront" and status != 403
    assert sent.after == (timedelta(seconds=7) if asks else None)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("7", 7),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("99999999", 3600),
        ("soon", None),
        ("", None),
        ("²", None),
    ],
)
def test_a_rest_that_is_asked_for_is_read_as_seconds_or_a_date(given: str, seconds: int | None) -> None:
    after = Answer(status=429, headers={"retry-after": given}, body=b"").after
    assert after == (None if seconds is None else timedelta(seconds=seconds))


async def test_what_arrived_before_the_provider_went_away_is_not_sent_again(cdn: Cdn) -> None:
    served = cdn.answer
    cdn.answer = lambda cdn, request: served(cdn, request) if len(cdn.requests) < 2 else Reply(502, b"<E/>")
    sent = await _send(cdn, *[_message(number, f"image/{number:04}") for number in range(1100)])
    assert (0 in sent.arrived, 1099 in sent.arrived) == (True, False)
    assert sent.away


async def test_nobody_there_is_away_too(cdn: Cdn) -> None:
    sent = await _send(cdn, _message(1, "image/1"), api_url="http://127.0.0.1:9")
    assert (sent.arrived, sent.refused) == ({}, {})
    assert "127.0.0.1" in sent.away


async def test_the_token_is_tried_without_purging_anything(cdn: Cdn) -> None:
    assert await verify(_config(cdn))
    cdn.token = "another"
    with pytest.raises(Refused):
        await verify(_config(cdn))
    cdn.next = [Reply(503, b"<E/>")]
    with pytest.raises(Untold):
        await verify(_config(cdn))
    assert cdn.purged == []


async def test_a_token_that_changes_counts_at_once_and_one_that_is_gone_rests(cdn: Cdn) -> None:
    if cdn.name == "cloudfront":
        return
    tokens = [TOKEN, "new"]
    cdn.next = []

    def token() -> str:
        if not tokens:
            raise FileNotFoundError(2, "no such file")
        return tokens.pop(0)

    async with open_cdn(_config(cdn, token=token), Keys(), Surroundings()) as channel:
        assert (await channel.send([_message(1, "image/1")])).arrived
        cdn.token = "new"
        assert (await channel.send([_message(2, "image/2")])).arrived
        assert "no such file" in (await channel.send([_message(3, "image/3")])).away


@pytest.mark.parametrize(
    ("provider", "tags", "number", "seconds"),
    [
        ("bunny", False, 220, 20.0),
        ("bunny", True, 30, 20.0),
        ("cloudflare", False, 2400, 2.0),
        ("cloudflare", True, 30, 60.0),
        ("fastly", False, 356, 3.6),
    ],
)
async def test_requests_keep_the_published_limits(
    provider: str, tags: bool, number: int, seconds: float
) -> None:
    clock = Surroundings()
    async with serving(provider) as cdn:
        cdn.name = provider
        keys = Keys({str(each) for each in range(number)}) if tags else Keys()
        messages = [_message(each, f"image/{each}", str(each)) for each in range(number)]
        sent = await _send(cdn, *messages, keys=keys, clock=clock, tags=tags)
    assert len(sent.ended or sent.arrived) == number
    assert clock.monotonic() == pytest.approx(seconds, rel=0.01)


async def test_cloudfront_waits_for_what_is_in_progress() -> None:
    async with serving("cloudfront") as cdn:
        cdn.name, cdn.in_progress = "cloudfront", 2_999
        sent = await _send(cdn, _message(1, "image/1"), _message(2, "image/2"))
        assert (sent.arrived, sent.after) == ({}, timedelta(seconds=15))
        assert "TooManyInvalidationsInProgress" in sent.away


@pytest.mark.parametrize(("provider", "batch"), [("bunny", 25), ("fastly", 138), ("cloudflare", 1_000)])
async def test_a_batch_takes_seconds_at_the_providers_limit(provider: str, batch: int) -> None:
    config = _config(Cdn(PROVIDERS[provider], name=provider))
    async with open_cdn(config, Keys(), SystemClock()) as channel:
        assert channel.batch == batch


async def test_a_star_in_a_url_purges_nothing_else_at_cloudfront() -> None:
    async with serving("cloudfront") as cdn:
        cdn.name = "cloudfront"
        await _send(cdn, _message(1, None, url="https://cdn.example/image/*?v=*"))
        assert cdn.purged == ["/image/%2A?v=%2A"]
