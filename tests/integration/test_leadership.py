"""One replica acts: it dies, stops, is paused, is cut off or robbed, and no other acts beside it.

Bounds are read from the database's own timestamps against the TTL, never from a test's clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.abc
import anyio.to_thread
import pytest

from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.leadership.lease import PostgresLease
from reconciler.model import Outcome, Term
from tests.integration.daemons import Daemon, daemon, until
from tests.integration.site import Site
from tests.support.proxy import tcp_proxy

pytestmark = pytest.mark.anyio

TTL = timedelta(seconds=4)
"""How long the lease lasts: half of the setting."""
LEASE = {"lease__ttl": "8s"}
POLITE = timedelta(seconds=2)


async def lease_row(site: Site) -> Any:
    (row,) = await site.sql("SELECT *, clock_timestamp() AS now FROM reconciler.lease")
    return row


async def leads(which: Daemon) -> bool:
    return await which.metric("media_reconciler_leader") == 1


async def stands_by(which: Daemon) -> bool:
    ready, _ = await which.get("/readyz")
    return ready == 200 and await which.metric("media_reconciler_leader") == 0


@asynccontextmanager
async def leader_and_standby(site: Site, **leaders: str) -> AsyncIterator[tuple[Daemon, Daemon]]:
    """Two daemons, of which the first leads; `leaders` are settings of its own."""
    async with daemon(site, **{**LEASE, **leaders}) as first:
        await until(lambda: leads(first))
        async with daemon(site, **LEASE) as second:
            await until(lambda: stands_by(second))
            yield first, second


async def nothing_written_after_the_takeover(site: Site, epoch: int, takeover: datetime) -> None:
    """The fence: no pass and no claim under the former epoch from then on."""
    late = "SELECT 1 FROM reconciler.ledger WHERE epoch = $1 AND at > $2"
    assert await site.sql(late, epoch, takeover) == []
    late = "SELECT 1 FROM reconciler.passes WHERE epoch = $1 AND cutoff > $2"
    assert await site.sql(late, epoch, takeover) == []


async def test_the_work_of_a_killed_leader_moves_within_its_ttl(ordered_site: Site) -> None:
    site = ordered_site
    async with leader_and_standby(site) as (first, second):
        before = await lease_row(site)
        first.process.kill()
        await first.process.wait()
        await until(lambda: leads(second))
        after = await lease_row(site)
        (killed,) = await site.sql("SELECT max(expires_at) AS ends FROM reconciler.lease")
        assert after["epoch"] == before["epoch"] + 1
        # The last renewal was before the kill, and the lease ends a TTL later: then it is taken.
        assert after["acquired_at"] - before["now"] <= TTL + timedelta(seconds=1)
        assert killed["ends"] > after["acquired_at"]

        async def works() -> bool:
            return bool(await site.sql("SELECT 1 FROM reconciler.passes WHERE epoch = $1", after["epoch"]))

        await until(works)
        await nothing_written_after_the_takeover(site, before["epoch"], after["acquired_at"])


@pytest.mark.incident(34)
async def test_a_leader_that_is_stopped_hands_over_within_two_seconds(ordered_site: Site) -> None:
    """And only once its work has ended: nothing is written under its epoch after the hand-over."""
    site = ordered_site
    await site.put(*(f"image/orphan-{number}" for number in range(20)))
    async with leader_and_standby(site, max_deletes_per_second="5") as (first, second):
        before = await lease_row(site)
        assert await first.stop() == 0
        released = await lease_row(site)
        await until(lambda: leads(second))
        after = await lease_row(site)
        # The row says when it ended; unless it has been taken already, which is sooner still.
        ended = released["expires_at"] if released["epoch"] == before["epoch"] else after["acquired_at"]
        assert after["epoch"] == before["epoch"] + 1
        assert after["acquired_at"] - ended <= POLITE
        await nothing_written_after_the_takeover(site, before["epoch"], after["acquired_at"])


@pytest.mark.incident(34)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_standbys_shutdown_starts_nothing(ordered_site: Site, how: signal.Signals) -> None:
    site = ordered_site
    await site.put("image/orphan")
    await site.sql(
        "UPDATE reconciler.lease SET holder = 'somebody', epoch = 7, expires_at = now() + interval '1 hour'"
    )
    async with daemon(site, **LEASE) as standby:
        await until(lambda: stands_by(standby))
        assert await standby.stop(how) == 0
    row = await lease_row(site)
    assert (row["holder"], row["epoch"]) == ("somebody", 7)
    assert await site.sql("SELECT 1 FROM reconciler.passes") == []
    assert await site.sql("SELECT 1 FROM reconciler.marks") == []
    assert site.bucket.keys(".reconciler/") == set()


@pytest.mark.incident(12)
async def test_a_leader_that_was_paused_beyond_its_ttl_stands_by_when_it_wakes(ordered_site: Site) -> None:
    site = ordered_site
    async with leader_and_standby(site) as (first, second):
        before = await lease_row(site)
        first.process.send_signal(signal.SIGSTOP)
        await until(lambda: leads(second))
        after = await lease_row(site)
        # At the end of the lease and not before, by the server's clock.
        assert after["epoch"] == before["epoch"] + 1
        assert after["acquired_at"] >= before["expires_at"]
        first.process.send_signal(signal.SIGCONT)
        await until(lambda: stands_by(first))
        assert (await lease_row(site))["epoch"] == after["epoch"]
        assert await leads(second)
        await nothing_written_after_the_takeover(site, before["epoch"], after["acquired_at"])


async def test_a_leader_whose_connections_are_cut_leads_on(ordered_site: Site) -> None:
    at = urlsplit(ordered_site.database)
    async with tcp_proxy(at.hostname or "127.0.0.1", at.port or 5432) as proxy:
        url = proxy.through(ordered_site.database)
        async with daemon(ordered_site, database_url=url, **LEASE) as running:
            await until(lambda: leads(running))
            before = await lease_row(ordered_site)
            assert proxy.cut() > 0

            async def renewed() -> bool:
                row = await lease_row(ordered_site)
                return bool(row["expires_at"] > before["expires_at"] + TTL / 2)

            await until(renewed)
            assert (await lease_row(ordered_site))["epoch"] == before["epoch"]


@pytest.mark.incident(12)
@pytest.mark.parametrize("how", ["refuse", "stall"])
async def test_a_leader_that_cannot_renew_stops_before_another_leads(ordered_site: Site, how: str) -> None:
    """Its database refuses connections, or is behind a dead route and says nothing at all."""
    site = ordered_site
    at = urlsplit(site.database)
    async with tcp_proxy(at.hostname or "127.0.0.1", at.port or 5432) as proxy:
        through = proxy.through(site.database)
        async with leader_and_standby(site, database_url=through) as (first, second):
            before = await lease_row(site)
            getattr(proxy, how)()
            await until(lambda: leads(second))
            after = await lease_row(site)
            assert not await leads(first), "it let go before its lease could be another's"
            assert after["acquired_at"] >= before["expires_at"]
            proxy.accept()
            await until(lambda: stands_by(first))
            assert (await lease_row(site))["epoch"] == after["epoch"]
            await nothing_written_after_the_takeover(site, before["epoch"], after["acquired_at"])


@asynccontextmanager
async def paused_at(site: Site, *where: str, **settings: str) -> AsyncIterator[anyio.abc.Process]:
    """A run of `once` that stops itself at that call, until it is sent SIGCONT."""
    command = [sys.executable, "-m", "tests.integration.kill_at", *where, "once", "--json"]
    # One at a time, so that no other is stopped in a transaction of its own.
    alone = {"delete_concurrency": "1", "listing_concurrency": "1"}
    environment = {**os.environ, **site.settings(**alone, **settings)}
    pipe = subprocess.PIPE
    paused = await anyio.open_process(command, env=environment, stdout=subprocess.DEVNULL, stderr=pipe)
    try:
        await anyio.to_thread.run_sync(os.waitid, os.P_PID, paused.pid, os.WSTOPPED)
        yield paused
    finally:
        if paused.returncode is None:
            paused.kill()
        await paused.aclose()


async def resumed(paused: anyio.abc.Process) -> tuple[int, str]:
    """Let it go on to its end: its exit status, and what it said."""
    paused.send_signal(signal.SIGCONT)
    assert paused.stderr is not None
    told = b"".join([block async for block in paused.stderr])
    return await paused.wait(), told.decode()


async def steal(site: Site) -> tuple[PostgresLease, Term]:
    """Take the lease over as if it had expired."""
    await site.sql("UPDATE reconciler.lease SET expires_at = clock_timestamp()")
    lease = PostgresLease(CatalogConfig(database_url=site.database))
    term = await lease.acquire("the thief", timedelta(hours=1))
    assert isinstance(term, Term)
    return lease, term


@pytest.mark.incident(12)
@pytest.mark.parametrize(
    "where", [("passes", "record", "stop"), ("marks", "claim", "stop-before"), ("store", "delete", "stop")]
)
async def test_who_was_robbed_of_the_lease_writes_nothing_more(
    ordered_site: Site, where: tuple[str, str, str]
) -> None:
    """Every writing transaction compares the epoch: marks, claims, and the confirmation of what went."""
    site = ordered_site
    await site.put("image/orphan")
    async with paused_at(site, *where, lease__ttl="1h") as paused:
        lease, term = await steal(site)
        before = await site.ledger()
        status, told = await resumed(paused)
        await lease.close()
    assert status == 1, told
    assert "another replica has led since" in told or "was taken over" in told
    assert await site.ledger() == before
    row = await lease_row(site)
    assert (row["holder"], row["epoch"]) == ("the thief", term.epoch)


@pytest.mark.attack(21)
async def test_who_was_paused_before_its_delete_sends_nothing(ordered_site: Site) -> None:
    """Woken after its TTL, with a keeper that sleeps on: only the gateway's fence stands before the store."""
    site = ordered_site
    await site.tracked("image/live")
    await site.put("image/expired")
    await site.row("image/expired", ExpiresAt=datetime.fromisoformat("2026-01-01T00:00:00Z"))
    async with paused_at(site, "marks", "look_again", "stop", "asleep") as paused:
        await site.sql('UPDATE "MediaRecords" SET "ExpiresAt" = NULL')
        assert (await site.once()).outcome is Outcome.CONVERGED
        status, told = await resumed(paused)
    assert await site.keys() == {"image/live", "image/expired"}
    assert status == 1, told
    assert "before the request was sent" in told


@pytest.mark.incident(32)
async def test_a_dry_run_holds_the_lease_and_seals_the_bucket(ordered_site: Site) -> None:
    site = ordered_site
    await site.put("image/orphan")
    async with daemon(site, dry_run="true", **LEASE) as running:
        await until(lambda: leads(running))
        report = await site.once_within(timedelta(0))
        assert report.outcome is Outcome.FAILED
        assert "the lease is held by" in report.detail
    (row,) = await site.sql("SELECT nonce FROM reconciler.site")
    assert row["nonce"] is not None
    assert await site.keys() == {"image/orphan"}
