"""Two replicas on one site under load, while all is done to them that a year brings.

Leaders are killed and paused, the schema is expanded and contracted under them while they are replaced one by
one, settings are rolled. What came of it is read from the ledger, by the database's own clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest

from reconciler.engine.runtime.tasks import for_each
from tests.faults.truth import Truth, new_truth
from tests.integration.daemons import Daemon, started, until
from tests.integration.next_version import CONTRACTED, EXPANDED, NOW
from tests.integration.site import Site
from tests.integration.test_leadership import (
    leads,
    lease_row,
    nothing_written_after_the_takeover,
    stands_by,
)

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

TTL = timedelta(seconds=30)
"""The default. In it are the lease, half as long, and a third in which the former leader may object. What is
left is to look for a free lease, to write the seal and to claim, on a machine that does much else."""
SOON = {"RECONCILER_SWEEP_INTERVAL": "2s", "RECONCILER_RETENTION_INTERVAL": "2s"}
BACKLOG = 200
SLOW = "max_deletes_per_second: 10\n"
"""So that a backlog lasts, and there is always a batch in hand."""


@dataclass(slots=True)
class Replicas:
    """Daemons on one site, of which one leads; `runtime` is a mounted directory that they share."""

    site: Site
    directory: Path
    stack: AsyncExitStack
    generations: int = 0

    async def start(self, revision: str = NOW, **settings: str) -> Daemon:
        """One more, of that version of the program; awaited until it could lead."""
        environment = {**self.site.settings(**settings), **SOON}
        daemon = await self.stack.enter_async_context(started(self.command(revision, "run"), environment))
        await until(lambda: ready(daemon))
        return daemon

    def command(self, revision: str, *command: str) -> list[str]:
        if revision == NOW:
            return [sys.executable, "-m", "reconciler", *command]
        later = "tests.integration.next_version"
        return [sys.executable, "-m", later, revision, str(self.directory / "versions"), *command]

    async def run(self, revision: str, *command: str) -> tuple[int, str]:
        """A command of that version: its exit status, and all that it said."""
        environment = {**os.environ, **self.site.settings()}
        ended = await anyio.run_process(
            self.command(revision, *command), env=environment, check=False, stderr=subprocess.STDOUT
        )
        return ended.returncode, ended.stdout.decode()

    def configure(self, text: str) -> None:
        """Swap the runtime settings as the kubelet does: a new directory, then the symlink to it."""
        self.generations += 1
        runtime = self.directory / "runtime"
        fresh = runtime / f"..{self.generations}"
        fresh.mkdir()
        (fresh / "runtime.yaml").write_text(text)
        (runtime / "..data_tmp").symlink_to(fresh.name)
        (runtime / "..data_tmp").rename(runtime / "..data")


@asynccontextmanager
async def replicas(site: Site, directory: Path) -> AsyncIterator[Replicas]:
    for name in ("runtime", "versions"):
        (directory / name).mkdir()
    (directory / "runtime" / "runtime.yaml").symlink_to("..data/runtime.yaml")
    ours = {
        "lease__ttl": f"{TTL.total_seconds():g}s",
        "delete_concurrency": "2",
        "bucket__request_timeout": "5s",
        "breaker__max_dangling": "100000",
        "runtime_file": str(directory / "runtime" / "runtime.yaml"),
    }
    site.environment.update(site.settings(**ours))
    async with AsyncExitStack() as stack:
        made = Replicas(site, directory, stack)
        made.configure(SLOW)
        yield made


async def ready(which: Daemon) -> bool:
    return (await which.get("/readyz"))[0] == 200


async def reloaded(which: Daemon, *, well: bool) -> bool:
    return await which.metric("media_reconciler_config_last_reload_successful") == well


async def halted(which: Daemon) -> bool:
    return await which.metric("media_reconciler_halted") == 1


async def collects(site: Site) -> None:
    """Await a batch that is in hand now, of the term that is under way: between its claim and its end."""
    under_way = (
        "SELECT 1 FROM reconciler.marks JOIN reconciler.ledger USING (operation_id)"
        " WHERE state = 'claimed' AND event = 'intent'"
        " AND ledger.epoch = (SELECT epoch FROM reconciler.lease)"
    )

    async def claimed() -> bool:
        return bool(await site.sql(under_way))

    with anyio.fail_after(60):
        while not await claimed():
            pass


async def goes_on(site: Site, term: int) -> None:
    """Await that something more is deleted, under that epoch or a later one."""
    (before,) = await site.sql("SELECT coalesce(max(id), 0) AS id FROM reconciler.ledger")
    more = "SELECT 1 FROM reconciler.ledger WHERE id > $1 AND epoch >= $2 AND result = 'deleted'"

    async def deleted() -> bool:
        return bool(await site.sql(more, before["id"], term))

    await until(deleted)


async def pile_up(truth: Truth, objects: int) -> None:
    """Objects that nobody has a record of."""

    async def put(key: str) -> None:
        await truth.put(key)

    await for_each([truth.new_key() for _ in range(objects)], put, concurrency=16)


@asynccontextmanager
async def load(truth: Truth) -> AsyncIterator[None]:
    """There is always something due, however long what is done to the replicas takes."""

    async def keep_up() -> None:
        while True:
            (row,) = await truth.site.sql("SELECT count(*) AS marks FROM reconciler.marks")
            if row["marks"] < BACKLOG:
                await pile_up(truth, BACKLOG // 4)
            await anyio.sleep(1)

    async with anyio.create_task_group() as beside:
        beside.start_soon(keep_up)
        yield
        beside.cancel_scope.cancel()


async def settled(truth: Truth) -> None:
    """Await that nothing is left to do; what a request lost is tried again later and later.

    A pass that is under way may have seen what has gone since, and would mark it once more.
    """
    at_rest = (
        "SELECT 1 WHERE NOT EXISTS (SELECT FROM reconciler.marks)"
        " AND NOT EXISTS (SELECT FROM reconciler.passes WHERE state = 'running')"
    )
    with anyio.fail_after(120):
        while not (await truth.site.sql(at_rest) and await truth.settled()):  # noqa: ASYNC110 - servers
            await anyio.sleep(0.2)


async def longest_standstill(site: Site, begin: datetime, end: datetime) -> timedelta:
    """Between two results of the ledger, in a time in which there was always something due."""
    (row,) = await site.sql(
        "SELECT max(gap) AS gap FROM (SELECT at - lag(at) OVER (ORDER BY at) AS gap FROM reconciler.ledger"
        " WHERE event = 'result' AND at BETWEEN $1 AND $2) AS gaps",
        begin,
        end,
    )
    gap: timedelta = row["gap"]
    return gap


async def now(site: Site) -> datetime:
    (row,) = await site.sql("SELECT clock_timestamp() AS now")
    at: datetime = row["now"]
    return at


async def nothing_went_twice(site: Site) -> None:
    """No object and no row has two ends."""
    twice = await site.sql(
        "SELECT what, storage_key, record_id, count(*) FROM reconciler.ledger"
        " WHERE result IN ('deleted', 'missing') GROUP BY what, storage_key, record_id HAVING count(*) > 1"
    )
    assert twice == []


# --- what is done to them: each gives the leader and the standby as they are afterwards ----------------


async def a_leader_is_killed(they: Replicas, leader: Daemon, standby: Daemon) -> tuple[Daemon, Daemon]:
    site, before = they.site, await lease_row(they.site)
    await collects(site)
    leader.process.kill()
    await leader.process.wait()
    await until(lambda: leads(standby))
    after = await lease_row(site)
    await goes_on(site, after["epoch"])
    await nothing_written_after_the_takeover(site, before["epoch"], after["acquired_at"])
    return standby, leader


async def the_schema_is_expanded(they: Replicas, leader: Daemon, standby: Daemon) -> tuple[Daemon, Daemon]:
    """The older version leads on; and where it is started anew, it stands by as before."""
    assert standby.process.returncode is not None
    status, told = await they.run(EXPANDED, "migrate")
    assert (status, told) == (0, f"schema reconciler is at {EXPANDED}, was at {NOW}\n")
    await goes_on(they.site, (await lease_row(they.site))["epoch"])
    return leader, await they.start(NOW)


async def a_leader_is_paused(they: Replicas, leader: Daemon, standby: Daemon) -> tuple[Daemon, Daemon]:
    """Beyond its lease; then it wakes, and stands by."""
    site, before = they.site, await lease_row(they.site)
    await collects(site)
    leader.process.send_signal(signal.SIGSTOP)
    await until(lambda: leads(standby))
    after = await lease_row(site)
    await goes_on(site, after["epoch"])
    leader.process.send_signal(signal.SIGCONT)
    await until(lambda: stands_by(leader))
    await goes_on(site, after["epoch"])
    await nothing_written_after_the_takeover(site, before["epoch"], after["acquired_at"])
    return standby, leader


async def the_schema_is_contracted(they: Replicas, leader: Daemon, standby: Daemon) -> tuple[Daemon, Daemon]:
    """Too early: the older version still leads. It says so and lets go; the newer one goes on."""
    assert await standby.stop() == 0
    newer = await they.start(EXPANDED)
    status, told = await they.run(CONTRACTED, "migrate")
    assert (status, told) == (0, f"schema reconciler is at {CONTRACTED}, was at {EXPANDED}\n")
    await until(lambda: halted(leader))
    await until(lambda: leads(newer))
    await goes_on(they.site, (await lease_row(they.site))["epoch"])
    assert await leader.stop() == 0
    return newer, leader


async def settings_are_rolled(they: Replicas, leader: Daemon, standby: Daemon) -> tuple[Daemon, Daemon]:
    """Static ones by replacing one after the other, runtime ones in the file of both."""
    assert standby.process.returncode is not None
    second = await they.start(EXPANDED, delete_concurrency="4")
    assert await leader.stop() == 0
    await until(lambda: leads(second))
    first = await they.start(EXPANDED, delete_concurrency="4")
    for text, well in (("max_deletes_per_second: -1\n", False), (SLOW, True)):
        they.configure(text)
        for each in (first, second):
            await until(partial(reloaded, each, well=well))
        await goes_on(they.site, (await lease_row(they.site))["epoch"])
    return second, first


@pytest.mark.timeout(400)
async def test_two_replicas_outlive_what_is_done_to_them(ordered_site: Site, tmp_path: Path) -> None:
    site = ordered_site
    truth = await new_truth(site, "replicas")
    await truth.seed(live=8, drift=8)
    await pile_up(truth, BACKLOG)
    async with replicas(site, tmp_path) as they:
        leader = await they.start()
        await goes_on(site, 1)
        standby = await they.start()
        told = [await now(site)]
        async with load(truth):
            for act in (
                a_leader_is_killed,
                the_schema_is_expanded,
                a_leader_is_paused,
                the_schema_is_contracted,
                settings_are_rolled,
            ):
                async with truth.writers():
                    leader, standby = await act(they, leader, standby)
                told.append(await now(site))
        they.configure("max_deletes_per_second: 100\n")
        await settled(truth)
        assert (await standby.stop(), await leader.stop()) == (0, 0)
    await truth.converged()
    await nothing_went_twice(site)
    assert await longest_standstill(site, told[0], told[-1]) <= TTL
