"""16 hours of two replicas, in 16 minutes: `python -m tools.dashboards.day FILE` writes their metrics.

Replicas, Postgres and store are real and run under Debian's `faketime`, whose clock is `SPEED` times as fast.
So what is waited for comes sooner, and what takes time seems to take that much more of it: a request of 3 ms
is one of 180 ms, and the processor looks idle. `FILE` is OpenMetrics, one scrape a minute.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import TextIO
from uuid import UUID

import anyio
import anyio.to_thread
import asyncpg

from reconciler.catalog import migrate
from reconciler.embedded import client
from reconciler.embedded.postgres import start_postgres
from tests.integration.daemons import Daemon, daemon
from tests.integration.site import Site, make_site
from tests.servers import execute, fresh_bucket, fresh_database, start_moto
from tests.support.mounted import Volume
from tools.dashboards.prometheus import JOB, NAMESPACE
from tools.dashboards.scene import ROOT, objects, rows, seed

SPEED = 60
SCRAPE, STEP, END = 60, 10 * 60, 16 * 3600
"""Seconds of the simulated clock, as all that follows: between two scrapes, between two deeds, and in all."""

FAKED = {name: value for name, value in os.environ.items() if name.startswith(("FAKETIME", "LD_PRELOAD"))}
SETTINGS = {
    "delete_mode": "quarantine",
    "grace_period": "10m",
    "delete_delay": "2h",
    "undo_window": "8h",
    "sweep_interval": "30m",
    "retention_interval": "5m",
    "accounting_interval": "15m",
    "breaker__max_fraction": "0.9",
    "breaker__max_count": "150",
    "lease__ttl": "15m",
    "bucket__request_timeout": "4m",
    "price_per_gib_month": "2.3",
    "quota__max_objects": "100",
}
SMALL, LARGE = 2_000, 1_000_000
"""Bytes of an object that there is from the start, and of one that grows the bucket."""


@dataclass(slots=True)
class Day:
    """The site, its replicas by name, and what is written. `began` is the time of the simulated clock."""

    site: Site
    volume: Volume
    out: TextIO
    began: float
    owner: UUID
    replicas: dict[str, tuple[Daemon, AsyncExitStack]] = field(default_factory=dict)

    async def start(self, name: str) -> None:
        stack = AsyncExitStack()
        running = await stack.enter_async_context(daemon(self.site))
        self.replicas[name] = running, stack

    async def stop(self, name: str) -> None:
        running, stack = self.replicas.pop(name)
        running.process.send_signal(Signals.SIGTERM)
        await running.process.wait()
        await stack.aclose()

    async def scrape(self) -> None:
        """Write what each replica says now; `up`, too, which Prometheus adds itself."""
        for name, (running, _) in [*self.replicas.items()]:
            text = await anyio.to_thread.run_sync(fetch, running.port)
            labels = f'namespace="{NAMESPACE}",job="{JOB}",instance="{name}"'
            self.out.write(f"up{{{labels}}} {int(bool(text))} {time.time():.3f}\n")
            self.out.writelines(_stamped(text, labels, time.time()))

    async def until(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, self.began + seconds - time.time()))


def fetch(port: int) -> str:
    """What it exports; nothing where it does not answer within seconds of the real clock."""
    try:
        with urllib.request.urlopen(f"http://{client.HOST}:{port}/metrics", timeout=5 * SPEED) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def _stamped(text: str, labels: str, at: float) -> Iterator[str]:
    """Each sample with the labels of its target, and its time."""
    for line in text.splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found is not None:
            own = f"{found[2]},{labels}" if found[2] else labels
            yield f"{found[1]}{{{own}}} {found[3]} {at:.3f}\n"


# --- what happens --------------------------------------------------------------------------------------


async def usual(day: Day, number: int) -> None:
    """The gateway stores and forgets, more by day than by night."""
    site, busy = day.site, 1 + (number // 12) % 4
    stored = range(10 * number, 10 * number + busy)
    await objects(site, "image/new-", stored, size=LARGE)
    await rows(site, "image/new-", stored, day.owner)
    if number % 6 == 0:
        gone = range(10 * number, 10 * number + busy)
        await objects(site, "video/forgotten-", gone, size=LARGE // 2)
        await objects(site, "image/expired-late-", gone, size=LARGE // 4)
        await rows(site, "image/expired-late-", gone, day.owner, expired=True)
    if number % 18 == 0:
        await rows(site, f"video/missing-{number:03}-", range(2), day.owner)


async def go_live(day: Day) -> None:
    await anyio.to_thread.run_sync(day.volume.swap, runtime("false"))


async def rows_return(day: Day) -> None:
    """Of objects that are in quarantine by then: they heal."""
    for number in range(12):
        await day.site.row(f"image/orphan-{number:04}", day.owner, SizeBytes=SMALL + number)


async def undo(day: Day) -> None:
    await day.site.undo(keys=tuple(f"video/stale-{number:04}" for number in range(8)))


async def many_rows_vanish(day: Day) -> None:
    """The breaker trips, and nobody decides before the end."""
    await day.site.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" LIKE \'image/new-%\'')


DEEDS: Mapping[int, Callable[[Day], Awaitable[None]]] = {
    4 * 3600: go_live,
    8 * 3600: rows_return,
    10 * 3600: undo,
    14 * 3600: many_rows_vanish,
}


def runtime(dry_run: str) -> str:
    return f"dry_run: {dry_run}\nmax_deletes_per_second: 0.1\n"


# --- the day -------------------------------------------------------------------------------------------


@asynccontextmanager
async def started(site: Site, directory: Path, out: TextIO) -> AsyncIterator[Day]:
    owner = await seed(site)
    volume = Volume(directory / "runtime", runtime("true"))
    nobodys = {"PYTHONPATH": str(ROOT), "AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    site.environment.update(
        {**nobodys, **site.settings(**SETTINGS), "RECONCILER_RUNTIME_FILE": str(volume.file)}
    )
    del site.environment["RECONCILER_DRY_RUN"]
    del site.environment["RECONCILER_MAX_DELETES_PER_SECOND"]
    # Five seconds are a twelfth of one here.
    site.environment["RECONCILER_DATABASE_URL"] += "?connect_timeout=300"
    day = Day(site=site, volume=volume, out=out, began=time.time(), owner=owner)
    try:
        for name in ("reconciler-0", "reconciler-1"):
            await day.start(name)
        yield day
    finally:
        for name in [*day.replicas]:
            await day.stop(name)


async def watch(day: Day) -> None:
    for scraped in range(END // SCRAPE):
        await day.until(scraped * SCRAPE)
        await day.scrape()


async def live(site: Site, file: Path) -> None:
    with tempfile.TemporaryDirectory() as directory, file.open("w", encoding="utf-8") as out:
        async with started(site, Path(directory), out) as day, anyio.create_task_group() as group:
            group.start_soon(watch, day)
            for number, at in enumerate(range(0, END, STEP)):
                await day.until(at)
                await usual(day, number)
                if at in DEEDS:
                    await DEEDS[at](day)
                print(f"{at // 3600:2}:{at % 3600 // 60:02}", flush=True)
        out.write("# EOF\n")


class HurriedSupervisor(client.Supervisor):
    """Its programs have the simulated clock, too."""

    def start(self, name: str, argv: Sequence[str], **more: object) -> int:
        return super().start(name, argv, **{"env": FAKED, **more})  # type: ignore[arg-type]


def main(file: Path) -> None:
    if "FAKETIME" not in FAKED:
        again = [sys.executable, "-m", "tools.dashboards.day", str(file)]
        os.execvp("faketime", ["faketime", "-f", f"+0 x{SPEED}", *again])
    # One clock for all: where it began is in shared memory, and Postgres runs as an account without rights.
    for shared in Path("/dev/shm").glob("*faketime_*_" + FAKED["FAKETIME_SHARED"].rpartition("_")[2]):
        shared.chmod(0o666)
    # What is patient for a minute would be so for a second.
    client.START_SECONDS *= SPEED
    asyncpg.connect = functools.partial(asyncpg.connect, timeout=60 * SPEED)
    supervisor = HurriedSupervisor("/tmp")
    try:
        server, store = start_postgres(supervisor), start_moto(supervisor)
        execute(server.url(), "CREATE DATABASE migrated TEMPLATE template0")
        migrate.upgrade(server.url("migrated"), create_tables=True)
        with fresh_database(server, "migrated") as database, fresh_bucket(store) as bucket:
            anyio.run(live, make_site(database, bucket), file)
    finally:
        supervisor.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
