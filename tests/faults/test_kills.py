"""SIGKILL at random points, with writers beside: nothing live is lost, and the next run finishes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.model import Outcome
from tests.faults.mortal import HOW
from tests.faults.rounds import KILL_ROUNDS, SEED, say
from tests.faults.truth import Truth, new_truth
from tests.integration.site import Site, make_site
from tests.servers import S3Server, fresh_bucket, fresh_database

pytestmark = [
    pytest.mark.soak,
    pytest.mark.anyio,
    pytest.mark.no_cover,  # who is killed tells nothing
]

RUNS = 12
"""More than enough to converge: the second sighting of a dangling record is the second run's."""
MOST_PATIENT = 8


def settings(patience: int) -> dict[str, str]:
    """As short as can be, since each round waits for the dead one's lease and requests; times `patience`."""
    return {
        "RECONCILER_LEASE__TTL": f"{2 * patience}s",
        "RECONCILER_BUCKET__REQUEST_TIMEOUT": f"{patience}s",
        "RECONCILER_DELETE_CONCURRENCY": "2",
        "RECONCILER_BREAKER__MAX_DANGLING": "100000",
    }


class Mortals:
    """Runs of the reconciler that may die; `log` is what they said."""

    def __init__(self, forker: anyio.abc.Process, log: Path) -> None:
        self._forker = forker
        self._log = log
        assert forker.stdout
        self._answers = BufferedByteReceiveStream(forker.stdout)

    async def once(
        self,
        site: Site,
        dies_at: int | None = None,
        how: str = "after",
        *,
        probes: bool = False,
        patience: int = 1,
    ) -> dict[str, Any]:
        request = {
            "environment": {**os.environ, **site.environment, **settings(patience)},
            "command": ["once", "--json", "--wait", "20s"],
            "log": str(self._log),
            "dies_at": dies_at,
            "how": how,
            "probes": probes,
        }
        assert self._forker.stdin
        await self._forker.stdin.send(json.dumps(request).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await self._answers.receive_until(b"\n", 1000))
        return answer

    def report(self) -> dict[str, Any]:
        """What the last run that lived printed."""
        lines = [line for line in self._log.read_text().splitlines() if line.startswith('{"mode"')]
        report: dict[str, Any] = json.loads(lines[-1])
        return report


@asynccontextmanager
async def mortals(directory: Path) -> AsyncIterator[Mortals]:
    command = [sys.executable, "-m", "tests.faults.mortal"]
    async with await anyio.open_process(command, stdin=subprocess.PIPE, stderr=None) as forker:
        yield Mortals(forker, directory / "log")
        assert forker.stdin
        await forker.stdin.aclose()
        await forker.wait()


async def converge(runs: Mortals, truth: Truth) -> None:
    """A busy machine does not renew a lease of two seconds in time: after a run that failed it is longer."""
    patience = 1
    for _ in range(RUNS):
        ended = await runs.once(truth.site, patience=patience)
        assert ended["status"] in {0, 1}, runs.report()
        outcome = runs.report()["outcome"]
        if outcome == Outcome.CONVERGED and set(truth.live) == await truth.site.keys():
            break
        if outcome == Outcome.FAILED:
            patience = min(2 * patience, MOST_PATIENT)
    else:
        pytest.fail(f"{RUNS} runs did not converge: {runs.report()}")
    await truth.converged()


@pytest.fixture
def other_site(postgres: EmbeddedPostgres, migrated_template: str, seaweed: S3Server) -> Iterator[Site]:
    with fresh_database(postgres, migrated_template) as database, fresh_bucket(seaweed) as bucket:
        yield make_site(database, bucket)


@pytest.mark.timeout(180 + 10 * KILL_ROUNDS)
async def test_killed_at_any_point_it_loses_nothing_live_and_the_next_run_finishes(
    site: Site, other_site: Site, tmp_path: Path
) -> None:
    """On two sites side by side, since most of a round is the wait for the dead one's lease and requests."""
    async with anyio.create_task_group() as lanes:
        for name, each in (("one", site), ("two", other_site)):
            lanes.start_soon(kill_again_and_again, each, name, KILL_ROUNDS // 2, tmp_path / name)


async def kill_again_and_again(site: Site, name: str, rounds: int, directory: Path) -> None:
    directory.mkdir()  # noqa: ASYNC240 - of no length
    chance = random.Random(f"{SEED}/kills/{name}")
    truth = await new_truth(site, name)
    await truth.seed(live=8, drift=8)
    killed = 0
    async with mortals(directory) as runs:
        sends = {probes: (await runs.once(site, probes=probes))["sends"] for probes in (True, False)}
        for number in range(rounds):
            probes = number % 5 == 0
            dies_at, how = chance.randrange(1, sends[probes] + 1), chance.choice(HOW)
            say(f"round {number} of {name}: killed {how} send {dies_at} of about {sends[probes]}")
            async with truth.writers():
                ended = await runs.once(site, dies_at, how, probes=probes)
            killed += ended["status"] < 0
            await truth.check()
            await converge(runs, truth)
    assert killed >= rounds // 2
