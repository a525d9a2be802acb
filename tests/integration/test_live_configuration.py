"""The runtime file, swapped under a daemon as the kubelet swaps a ConfigMap."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import asyncpg
import pytest

from reconciler.app import catalog_config
from reconciler.catalog.open import open_catalog
from reconciler.errors import CatalogUnavailable
from reconciler.model import HoldKind, Mode, PassKind
from reconciler.operations import holds, status
from reconciler.settings import DatabaseSettings, load
from tests.integration.daemons import Daemon, daemon, until
from tests.integration.site import Site
from tests.support.mounted import Log, Volume
from tests.support.proxy import Direction, proxy_of

pytestmark = pytest.mark.anyio

PROMISED = timedelta(seconds=10)
AT_ONCE = 8
"""Single requests in flight for one bucket."""
DELETE = re.compile(rb"DELETE /[^/ ]+/(image/[^? ]+)")


TEXTS = (
    "dry_run: true\nmedia_retention_days: 90",
    "dry_run: false\nmedia_retention_days: 90\nbreaker: {max_count: 1}",
    "dry_run: false\nmedia_retention_days: 10",
)
"""Runtime files one after the other: the last two each ask for a decision."""


class Deletes:
    """Counts the requests that delete media on their way to the store, and may act at the next one."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.at_next: Callable[[], None] | None = None

    def __call__(self, direction: Direction, block: bytes) -> bytes:
        if direction is Direction.REQUEST and (found := DELETE.match(block)):
            self.asked.append(found[1])
            if self.at_next is not None:
                act, self.at_next = self.at_next, None
                act()
        return block


@asynccontextmanager
async def counted(site: Site) -> AsyncIterator[Deletes]:
    """From now on the site's store is reached by way of a counter."""
    deletes = Deletes()
    async with proxy_of(site.bucket.server.endpoint_url) as proxy:
        proxy.rewrite = deletes
        endpoint = proxy.through(site.bucket.server.endpoint_url)
        site.environment["RECONCILER_BUCKET__ENDPOINT_URL"] = endpoint
        yield deletes


async def swept(site: Site, mode: str, since: int) -> int:
    """How many sweeps of that mode were released after the pass `since`."""
    found = await site.sql(
        "SELECT count(*) FROM reconciler.passes WHERE kind = 'sweep' AND state = 'released' AND mode = $1"
        " AND id > $2",
        mode,
        since,
    )
    return int(found[0][0])


def hash_under(site: Site, text: str, file: Path) -> str:
    """The hash of the site's settings with such a runtime file."""
    file.write_text(text, encoding="utf-8")
    return load(site.settings(runtime_file=str(file))).config_hash()


async def reason(site: Site, kind: str) -> str:
    """Why the oldest pass of the kind that waits for a decision has tripped."""
    found = await site.sql(
        "SELECT trip_reason FROM reconciler.passes WHERE state = 'tripped' AND kind = $1 ORDER BY id",
        kind,
    )
    return str(found[0][0])


async def newest(site: Site) -> int:
    return max(number for number, _, _ in await site.passes())


async def test_a_swapped_file_is_in_force_before_the_next_request(ordered_site: Site, tmp_path: Path) -> None:
    """The store compares ETags key by key: a batch is many requests, and dry run stops the rest of them."""
    site, volume, log = ordered_site, Volume(tmp_path / "mounted", "dry_run: true"), Log(tmp_path / "log")
    keys = [f"image/{number:02}" for number in range(30)]
    await site.put(*keys)
    settings = {"runtime_file": str(volume.file), "dry_run": "false", "delete_concurrency": "1"}
    async with counted(site) as deletes, daemon(site, log.file, **settings) as running:

        async def previewed() -> bool:
            would = {"action": "delete_object", "result": "deleted", "mode": "dry_run"}
            return await running.metric("media_reconciler_actions_total", **would) == len(keys)

        await until(previewed)
        assert deletes.asked == []
        assert [line["reason"] for line in log.events("the environment is overridden")] == [
            f"RECONCILER_DRY_RUN is set in the environment and in {volume.file}, which wins: true"
        ]
        source = {"setting": "dry_run", "source": "runtime_file"}
        assert await running.metric("media_reconciler_setting_source", **source) == 1

        # Live, and in the middle of the first batch dry again.
        deletes.at_next = lambda: volume.swap("dry_run: true")
        volume.swap("dry_run: false")

        async def told(number: int) -> bool:
            return len(log.events("settings changed")) == number

        await until(lambda: told(2))
        changes = [line["changed"]["RECONCILER_DRY_RUN"] for line in log.events("settings changed")]
        assert changes == ["true -> false", "false -> true"]
        before = await newest(site)

        async def dry() -> bool:
            return await swept(site, "dry_run", before) >= 2

        await until(dry)
        assert await running.metric("media_reconciler_dry_run") == 1
        assert 1 <= len(deletes.asked) <= AT_ONCE
        gone = set(keys) - await site.keys()
        assert len(gone) == len(deletes.asked)
        results = {
            key for event, key, _, result in await site.ledger() if (event, result) == ("result", "deleted")
        }
        assert results == gone, "what was sent is written down"

        await a_bad_file_keeps_the_last_good_one(running, volume, log)
        assert len(deletes.asked) == len(gone)
        await flags_and_rates_follow(running, site, volume, deletes)
        assert await running.stop() == 0
    for line in log.events("settings changed"):
        assert line["at"] - max(at for at in volume.swapped_at if at <= line["at"]) < PROMISED


async def a_bad_file_keeps_the_last_good_one(running: Daemon, volume: Volume, log: Log) -> None:
    async def valid(value: float) -> bool:
        return await running.metric("media_reconciler_config_last_reload_successful") == value

    breaks: tuple[Callable[[], None], ...] = (lambda: volume.swap("dry_run: maybe"), volume.vanish)
    for break_it in breaks:
        break_it()
        await until(lambda: valid(0))
        assert await running.metric("media_reconciler_dry_run") == 1
        volume.swap("dry_run: true\nmedia_retention_days: 91")
        await until(lambda: valid(1))
    refused = [line["reason"] for line in log.events("runtime file refused, keeping the last good settings")]
    assert ["must be true or false" in refused[0], "No such file" in refused[1]] == [True, True]
    assert [line["mended"] for line in log.events("settings changed")][-2:] == [True, True]


async def flags_and_rates_follow(running: Daemon, site: Site, volume: Volume, deletes: Deletes) -> None:
    """A clean-up that is switched off in the middle of a collection takes no further batch."""
    asked, claimed = len(deletes.asked), await site.keys()
    await site.put(*(f"image/later-{number:02}" for number in range(30)))
    off_at_25 = "dry_run: false\norphan_cleanup_enabled: false\nmax_deletes_per_second: 25"
    deletes.at_next = lambda: volume.swap(off_at_25)
    volume.swap("dry_run: false\nmax_deletes_per_second: 10")

    async def off() -> bool:
        kept = {"kind": "sweep", "reason": "disabled"}
        return (await running.metric("media_reconciler_kept_keys", **kept) or 0) >= 20

    await until(off)
    assert await running.metric("media_reconciler_delete_rate_limit_keys_per_second") == 25
    assert 1 <= len(deletes.asked) - asked <= 10
    assert claimed <= await site.keys(), "what is claimed goes on later"


async def test_status_follows_the_file_though_no_pass_runs_and_the_log_has_every_order(
    ordered_site: Site, tmp_path: Path
) -> None:
    site, volume, log = ordered_site, Volume(tmp_path / "mounted", "dry_run: true"), Log(tmp_path / "log")
    calm = {"sweep_interval": "1h", "retention_interval": "1h", "runtime_file": str(volume.file)}
    async with site.catalog() as catalog, daemon(site, log.file, **calm) as running:

        async def mode(expected: Mode) -> bool:
            now = (await status.status(catalog)).mode
            return now is not None and (now.mode, now.source) == (expected, f"the runtime file {volume.file}")

        async def rests() -> bool:
            leading = (await status.status(catalog)).leading
            return leading is not None and {PassKind.SWEEP, PassKind.RETENTION} <= leading.next_pass.keys()

        await until(lambda: mode(Mode.DRY_RUN))
        await until(rests)
        before = await newest(site)
        volume.swap("dry_run: false")
        await until(lambda: mode(Mode.LIVE))
        now = (await status.status(catalog)).mode
        assert now is not None
        assert now.since is not None
        await holds.add(catalog, {HoldKind.KEY: ["image/a"]}, reason="a case", author="ada")

        async def told() -> bool:
            return bool(log.events("order given"))

        await until(told)
        assert await newest(site) == before
        assert await running.stop() == 0
    (order,) = log.events("order given")
    assert (order["what"], order["by"], order["about"]) == ("hold add", "ada", "key image/a: a case")


async def test_lower_limits_and_retentions_pass_the_breaker_anew(ordered_site: Site, tmp_path: Path) -> None:
    site, volume = ordered_site, Volume(tmp_path / "mounted", TEXTS[0])
    site.environment["RECONCILER_RUNTIME_FILE"] = str(volume.file)
    expected = [hash_under(site, text, tmp_path / "other.yaml") for text in TEXTS]
    await site.put("image/orphan-1", "image/orphan-2", "image/orphan-3")
    await site.tracked("image/old")
    await site.sql('UPDATE "MediaRecords" SET "CreatedAt" = now() - interval \'20 days\'')

    async def tripped(kind: str) -> bool:
        return (kind, "tripped") in [(kind, state) for _, kind, state in await site.passes()]

    async with daemon(site) as running:

        async def released() -> bool:
            return {kind for _, kind, state in await site.passes() if state == "released"} == {
                "sweep",
                "retention",
            }

        await until(released)

        # The pass was released under the old limits; each claim asks those of its moment.
        volume.swap(TEXTS[1])
        await until(lambda: tripped("sweep"))
        assert "RECONCILER_BREAKER__MAX_COUNT" in await reason(site, "sweep")
        assert len(await site.keys()) == 4

        # A shorter retention finds what the old one would have kept.
        volume.swap(TEXTS[2])
        await until(lambda: tripped("retention"))
        assert "media_retention 90d -> 10d" in await reason(site, "retention")
        assert len(await site.keys()) == 4
        await site.approve(
            max(n for n, kind, state in await site.passes() if (kind, state) == ("retention", "tripped"))
        )

        async def gone() -> bool:
            return "image/old" not in await site.keys()

        await until(gone)
        assert await running.stop() == 0
    found = [row[0] for row in await site.sql("SELECT DISTINCT config_hash FROM reconciler.passes")]
    # On a busy machine no pass begins between the second file and the third.
    assert {expected[0], expected[2]} <= set(found) <= set(expected)


async def answered(ask: Callable[[], Awaitable[object]]) -> None:
    """A connection that was ended is noticed by who uses it first; a login that is refused is an error."""
    with anyio.fail_after(20):
        while True:
            with suppress(CatalogUnavailable):
                await ask()
                return


async def test_a_password_that_was_changed_needs_no_restart(database: str, tmp_path: Path) -> None:
    admin = await asyncpg.connect(database)
    role, url = f"rotated_{admin.get_server_pid()}", tmp_path / "url"
    await admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'first'")
    at = urlsplit(database)._replace(query="").geturl().partition("@")[2]
    url.write_text(f"postgresql://{role}:first@{at}\n")
    settings = load({"RECONCILER_DATABASE_URL_FILE": str(url)}, kind=DatabaseSettings)
    try:
        async with open_catalog(catalog_config(settings)) as catalog:
            await catalog.records.now()
            await catalog.pauses.read()
            await admin.execute(f"ALTER ROLE {role} PASSWORD 'second'")
            url.write_text(f"postgresql://{role}:second@{at}\n")
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role
            )
            for ask in (catalog.records.now, catalog.pauses.read):
                await answered(ask)
    finally:
        await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await admin.close()
