"""`python -m tests.integration.kill_at PORT METHOD before|after|stop COMMAND…`: killed at a chosen call.

SIGKILL, so that nothing can clean up: the next run has only what is in Postgres and in the bucket. With
`stop` it is paused once, after the call (`stop-before`: before it), and goes on when it is sent SIGCONT.
`asleep` before the command: who keeps lease and seal never wakes, as if always scheduled last.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread

from reconciler import app, cli
from reconciler.engine.cycle import Cycle
from reconciler.model import Term
from reconciler.sources import comparing, fetching, ranges
from tests.integration.site import Site
from tests.support.abilities import KIND, tell_by_environment
from tests.support.forks import FORKER

FEW = 5
"""Rows of a range of a sweep by inventory that is killed."""


class Deadly:
    """A port whose one method kills the process, before it acts or after."""

    def __init__(self, port: Any, method: str, when: str) -> None:
        self._port, self._method, self._when = port, method, when

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._port, name)
        if name != self._method:
            return call

        async def deadly(*args: Any, **kwargs: Any) -> Any:
            when = self._when
            if when.startswith("stop"):
                self._when = ""
                answer = await call(*args, **kwargs) if when == "stop" else None
                os.kill(os.getpid(), signal.SIGSTOP)
                return await call(*args, **kwargs) if when == "stop-before" else answer
            if not when:
                return await call(*args, **kwargs)
            if when == "after":
                await call(*args, **kwargs)
            return os.kill(os.getpid(), signal.SIGKILL)

        return deadly


class DeadlyArea:
    """Likewise for a call on the staging table that the area opens."""

    def __init__(self, area: Any, method: str, when: str) -> None:
        self._area, self._method, self._when = area, method, when

    def __getattr__(self, name: str) -> Any:
        return getattr(self._area, name)

    @asynccontextmanager
    async def open(self, pass_id: int | None) -> AsyncIterator[Any]:
        async with self._area.open(pass_id) as staging:
            yield Deadly(staging, self._method, self._when)


async def killed_at(site: Site, *arguments: str, **settings: str) -> None:
    """One such run, killed with `before` or `after`; the next does not have to wait for what it held.

    Fails if the call was never made.
    """
    await just_killed_at(site, *arguments, **settings)
    await site.outlive_the_dead()


async def just_killed_at(site: Site, *arguments: str, **settings: str) -> None:
    """Likewise, a moment ago."""

    def run() -> tuple[int, str]:
        everything = {**os.environ, **site.settings(**settings), KIND: site.bucket.server.kind}
        ended = FORKER.run(__name__, *arguments, environment=everything, measured=False)
        return ended.status, ended.told

    status, told = await anyio.to_thread.run_sync(run)
    assert status == -signal.SIGKILL, told


async def asleep(_cycle: Cycle, _term: Term | None = None) -> None:
    await anyio.sleep_forever()


def main() -> int:
    port, method, when, *command = sys.argv[1:]
    if command[0] == "asleep":
        command = command[1:]
        for keeper in ("keep", "watch"):
            setattr(Cycle, keeper, asleep)
    tell_by_environment()
    wire = app.wiring.wire

    def wire_deadly(*args: Any, **kwargs: Any) -> Any:
        ports = wire(*args, **kwargs)
        kind = DeadlyArea if port == "staging" else Deadly
        deadly: dict[str, Any] = {port: kind(getattr(ports, port), method, when)}
        return replace(ports, **deadly)

    if port in BY_INVENTORY:
        kill_by_inventory(port, method, when)
    else:
        app.wiring.wire = wire_deadly
    return cli.main(command)


BY_INVENTORY = ("download", "export", "area", "range")
"""What a sweep by inventory acts through. Whatever the method, `download` is killed with half of the second
file on disk, and `range` at the third range; all of them have a few rows.
"""


def kill_by_inventory(port: str, method: str, when: str) -> None:
    wiring: Any = app.wiring
    made = wiring.inventories_of

    def deadly(*args: Any) -> Any:
        found = made(*args)
        changes: dict[str, Any] = {port: DeadlyArea(getattr(found, port), method, when)}
        return replace(found, **changes)

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    ranges.cut.__defaults__ = (FEW,)
    fetch = fetching._fetch

    async def half(files: Any, file: Any, path: Any, alive: Any) -> None:
        if not path.name.endswith("0"):
            await fetch(files, file, path, alive)
            path.write_bytes(path.read_bytes()[: file.size // 2])
            die()
        await fetch(files, file, path, alive)

    if port == "download":
        change: Any = fetching
        change._fetch, change.AT_ONCE = half, 1
    elif port == "range":
        compare, compared = comparing.Comparison.compare, itertools.count(1)

        def third(self: Any, span: Any) -> Any:
            return die() if next(compared) == 3 else compare(self, span)

        comparison: Any = comparing.Comparison
        comparison.compare = third
    else:
        wiring.inventories_of = deadly


if __name__ == "__main__":
    sys.exit(main())
