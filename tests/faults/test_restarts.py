"""Servers that die under a daemon and come back, and a disk that fills up: left alone, it converges."""

from __future__ import annotations

import random
from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from reconciler.embedded.client import Supervisor
from reconciler.embedded.postgres import EmbeddedPostgres, start_postgres
from reconciler.embedded.seaweedfs import start_s3
from reconciler.model import Outcome
from tests.conftest import TEMPLATE, _make_template
from tests.faults.rounds import SEED, say
from tests.faults.servers import Restartable, restartable_postgres, restartable_s3
from tests.faults.truth import new_truth
from tests.integration.daemons import daemon, until
from tests.integration.site import Site, make_site
from tests.integration.test_unordered import small_disk
from tests.servers import S3Server, execute, fresh_bucket, fresh_database
from tests.support.quirky_store import quirky_store

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

ROUNDS = 3


@pytest.fixture(scope="module")
def mortal_server(supervisor: Supervisor) -> tuple[Restartable, EmbeddedPostgres]:
    server = start_postgres(supervisor, name="mortal-postgres")
    _make_template(server)
    return restartable_postgres(supervisor, server, "mortal-postgres"), server


@pytest.fixture
def mortal_postgres(mortal_server: tuple[Restartable, EmbeddedPostgres]) -> Iterator[tuple[Restartable, str]]:
    """With the address of a fresh database, migrated."""
    restartable, server = mortal_server
    with fresh_database(server, TEMPLATE) as url:
        yield restartable, url


@pytest.fixture(scope="module")
def mortal_s3(supervisor: Supervisor) -> tuple[Restartable, S3Server]:
    server = start_s3(supervisor, name="mortal-seaweedfs")
    store = S3Server(
        kind="seaweedfs",
        endpoint_url=server.endpoint_url,
        access_key=server.access_key,
        secret_key=server.secret_key,
        region=server.region,
    )
    return restartable_s3(supervisor, server, "mortal-seaweedfs"), store


@pytest.fixture
def mortal_site(
    mortal_postgres: tuple[Restartable, str],
    mortal_s3: tuple[Restartable, S3Server],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    store = mortal_s3[1]
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    with fresh_bucket(store) as bucket:
        yield make_site(mortal_postgres[1], bucket)


async def crash_again_and_again(site: Site, server: Restartable) -> None:
    """With writers beside, who meet the same crash, and a daemon that nobody restarts."""
    chance = random.Random(f"{SEED}/{server.name}")
    truth = await new_truth(site, server.name)
    await truth.seed(live=8, drift=8)
    async with daemon(site, delete_concurrency="2", breaker__max_dangling="100000") as running:
        for number in range(ROUNDS):
            seconds = chance.uniform(0, 2)
            say(f"round {number}: {server.name} dies after {seconds:.3f} s")
            async with truth.writers():
                await anyio.sleep(seconds)  # the random point
                await anyio.to_thread.run_sync(server.stop)
                await anyio.to_thread.run_sync(server.start)
            await until(truth.settled)
            await truth.converged()
        assert await running.stop() == 0


@pytest.mark.timeout(300)
async def test_postgres_that_crashes_and_comes_back_loses_nothing_live(
    mortal_site: Site, mortal_postgres: tuple[Restartable, str]
) -> None:
    await crash_again_and_again(mortal_site, mortal_postgres[0])


@pytest.mark.timeout(300)
async def test_a_store_that_crashes_and_comes_back_loses_nothing_live(
    mortal_site: Site, mortal_s3: tuple[Restartable, S3Server]
) -> None:
    await crash_again_and_again(mortal_site, mortal_s3[0])


@pytest.fixture
def cramped(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """A database whose new tables go to a disk of 8 MiB, most of them taken by a table `ballast`."""
    with small_disk(postgres, "8m") as space, fresh_database(postgres, migrated_template) as url:
        execute(
            url,
            f"CREATE TABLE ballast (text text) TABLESPACE {space}",
            "INSERT INTO ballast SELECT repeat('x', 1000) FROM generate_series(1, 6500)",
            f'ALTER DATABASE "{url.rpartition("/")[2]}" SET default_tablespace = {space}',
        )
        yield url


async def test_a_disk_that_was_full_is_forgotten_once_it_has_room_again(cramped: str) -> None:
    """The table of the listing has no room: nothing of the pass is released, and the next one completes."""
    live = {f"image/live-{number}" for number in range(5)}
    async with quirky_store() as store:
        site = make_site(cramped, store.bucket())
        store.put(*live, *(f"image/orphan-{number:05}" for number in range(3_000)))
        owner = await site.virtual_key()
        for key in live:
            await site.row(key, owner)
        report = await site.once(bucket__listing_order="none", lease__ttl="60s")
        assert (report.outcome, report.removed.objects) == (Outcome.FAILED, 0), report.detail
        await site.sql("DROP TABLE ballast")
        report = await site.once(bucket__listing_order="none", lease__ttl="60s")
        assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 3_000), report.detail
        assert (store.keys(), await site.rows()) == (live, live)
