"""What was deleted is purged from the CDN, whatever fails on the way; and what lives is not."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio.to_thread
import pytest

from reconciler.model import Outcome
from reconciler.stores.cdn.channel import url_of
from tests.cli.program import reconciler
from tests.integration.daemons import Daemon, daemon, until
from tests.integration.kill_at import killed_at
from tests.integration.site import Site
from tests.support.cdns import TOKEN, Cdn, Reply, serving

pytestmark = pytest.mark.anyio

AT = "https://cdn.example/{key}"


@pytest.fixture
def site(ordered_site: Site) -> Site:
    """On one store: which it is makes no difference to a CDN."""
    return ordered_site


@pytest.fixture
async def cdn() -> AsyncIterator[Cdn]:
    async with serving("webhook") as served:
        yield served


def _told(cdn: Cdn, tmp_path: Path, **changes: str) -> dict[str, str]:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    told = {"provider": "webhook", "api_url": cdn.url, "url": AT, "token_file": str(token), **changes}
    return {f"cdn__{name}": value for name, value in told.items()}


async def _waiting(site: Site) -> int:
    return int((await site.sql("SELECT count(*) FROM reconciler.outbox"))[0][0])


async def _uncached(site: Site) -> set[str]:
    found = await site.sql("SELECT storage_key FROM reconciler.ledger WHERE event = 'uncached'")
    return {row[0] for row in found}


async def test_what_went_is_purged_and_what_a_disabled_key_still_has(
    site: Site, cdn: Cdn, tmp_path: Path
) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    await site.tracked("image/live")
    await site.put("image/orphan é", "image/expired")
    await site.row("image/expired", ExpiresAt=past, PublicUrl="https://media.example/7?v=1")
    revoked = await site.virtual_key(enabled=False)
    await site.tracked("image/kept-1", "image/kept-2", owner=revoked)
    report = await site.once(revoked_key_policy="keep", **_told(cdn, tmp_path))
    assert report.outcome is Outcome.CONVERGED
    went = {"image/orphan é", "image/expired"}
    hidden = {"image/kept-1", "image/kept-2"}
    urls = {url_of(AT, key) for key in went | hidden}
    assert {*cdn.purged} == urls | {"https://media.example/7?v=1"}
    assert await site.keys() == {"image/live"} | hidden
    assert (await _uncached(site), await _waiting(site)) == (went | hidden, 0)


async def test_with_tags_one_request_forgets_a_key_that_is_gone(site: Site, cdn: Cdn, tmp_path: Path) -> None:
    owner = await site.virtual_key(enabled=False)
    keys = {f"image/{number}" for number in range(30)}
    await site.tracked(*keys, owner=owner)
    await site.tracked("image/live")
    report = await site.once(**_told(cdn, tmp_path, tags="true"))
    assert (report.outcome, await site.keys()) == (Outcome.CONVERGED, {"image/live"})
    assert cdn.purged == [f"vk-{owner}"], "and no URL of the thirty"
    assert (await _uncached(site), await _waiting(site)) == (keys, 0)


async def test_a_cdn_that_fails_keeps_no_deletion_waiting_and_is_told_later(
    site: Site, cdn: Cdn, tmp_path: Path
) -> None:
    await site.put("image/orphan")
    cdn.next = [Reply(503)]
    told = _told(cdn, tmp_path)
    assert (await site.once(**told)).outcome is Outcome.CONVERGED
    assert (await site.keys(), cdn.purged, await _waiting(site)) == (set(), [], 1)
    ((failures, error),) = await site.sql("SELECT failures, last_error FROM reconciler.channels")
    assert (failures, error) == (1, "503")
    assert (await site.once(**told)).outcome is Outcome.CONVERGED
    assert (cdn.purged, await _waiting(site)) == ([url_of(AT, "image/orphan")], 0)


@pytest.mark.soak
async def test_a_sender_that_was_killed_sends_again_and_loses_nothing(
    site: Site, cdn: Cdn, tmp_path: Path
) -> None:
    keys = {f"image/{number}" for number in range(150)}
    await site.put(*keys)
    told = _told(cdn, tmp_path)
    await killed_at(site, "outbox", "settle", "before", "once", "--json", **told)
    assert (len(cdn.purged), await _waiting(site)) == (150, 150), "sent, and not settled"
    await site.once(**told)
    assert sorted(cdn.purged) == sorted(2 * [url_of(AT, key) for key in keys])
    assert (await _uncached(site), await _waiting(site)) == (keys, 0)


@pytest.mark.soak
async def test_a_daemon_tells_a_cdn_that_throttles_refuses_and_is_away(
    site: Site, cdn: Cdn, tmp_path: Path
) -> None:
    keys = {f"image/{number:03}" for number in range(300)}
    refused = url_of(AT, "image/207")
    cdn.bad = {refused}
    cdn.next = [Reply(429, None, {"Retry-After": "0"}), Reply(503)]
    told = _told(cdn, tmp_path)
    async with daemon(site, None, **told) as first:
        await site.put(*keys)
        await until(lambda: _sent(cdn, 50))
        assert await first.stop(signal.SIGTERM) == 0
    cdn.next = []
    await site.put("image/late")
    async with daemon(site, None, **told) as second:
        await until(lambda: _only_waits(site, "image/207"))
        await until(lambda: _uncached_is(site, (keys | {"image/late"}) - {"image/207"}))
        ((attempts, error),) = await site.sql("SELECT attempts, last_error FROM reconciler.outbox")
        assert (attempts, error) == (1, "no such host")
        await until(lambda: _metric_is(second, "media_reconciler_outbox_messages", 1))
        cdn.bad = set()
        await site.sql("UPDATE reconciler.outbox SET due_at = clock_timestamp()")
        await until(lambda: _uncached_is(site, keys | {"image/late"}))
        assert await second.stop(signal.SIGTERM) == 0
    assert await _waiting(site) == 0


async def _sent(cdn: Cdn, number: int) -> bool:
    return len(cdn.purged) >= number


async def _only_waits(site: Site, key: str) -> bool:
    return [row[0] for row in await site.sql("SELECT storage_key FROM reconciler.outbox")] == [key]


async def _uncached_is(site: Site, keys: set[str]) -> bool:
    return await _uncached(site) == keys


async def _metric_is(running: Daemon, name: str, wanted: float) -> bool:
    return await running.metric(name, channel="cdn") == wanted


async def test_doctor_tries_the_token_and_purges_nothing(site: Site, cdn: Cdn, tmp_path: Path) -> None:
    environment = site.settings(**_told(cdn, tmp_path))

    async def look() -> dict[str, object]:
        (only,) = await looks()
        return only

    async def looks() -> list[dict[str, object]]:
        ran = await anyio.to_thread.run_sync(lambda: reconciler("doctor", "--json", env=environment))
        found = [each for each in json.loads(ran.out)["checks"] if each["name"] == "cdn"]
        return [{name: each[name] for name in ("status", "detail")} for each in found]

    assert await look() == {"status": "ok", "detail": "webhook: the webhook answers"}
    cdn.token = "another"
    assert await look() == {"status": "fail", "detail": "webhook: 401"}
    del environment["RECONCILER_CDN__URL"]
    assert len(await looks()) == 1, "rows have their URLs"
    await site.sql('ALTER TABLE "MediaRecords" RENAME COLUMN "PublicUrl" TO "Url"')
    nothing, _ = await looks()
    told = (
        "no URL is ever purged: the media table has no column PublicUrl, and RECONCILER_CDN__URL is not set"
    )
    assert nothing == {"status": "fail", "detail": told}
    assert cdn.purged == []
