"""SIGKILL at random points, with writers beside: nothing live is lost, and the next run finishes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.model import Outcome
from tests.faults.mortal import HOW
from tests.faults.rounds import KILL_ROUNDS, SEED, say
from tests.faults.runs import Mortals, mortals
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
        "lease__ttl": f"{2 * patience}s",
        "bucket__request_timeout": f"{patience}s",
        "delete_concurrency": "2",
        "breaker__max_dangling": "100000",
    }


async def converge(runs: Mortals, truth: Truth) -> None:
    """A busy machine does not renew a lease of two seconds in time: after a run that failed it is longer."""
    patience = 1
    for _ in range(RUNS):
        ended = await runs.once(truth.site, settings(patience))
        assert ended.status in {0, 1}, ended
        if ended.outcome == Outcome.CONVERGED and set(truth.live) == await truth.site.keys():
            break
        if ended.outcome == Outcome.FAILED:
            patience = min(2 * patience, MOST_PATIENT)
    else:
        pytest.fail(f"{RUNS} runs did not converge: {ended}")
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
        sends = {
            probes: (await runs.once(site, settings(1), probes=probes)).sends for probes in (True, False)
        }
        for number in range(rounds):
            probes = number % 5 == 0
            dies_at, how = chance.randrange(1, sends[probes] + 1), chance.choice(HOW)
            say(f"round {number} of {name}: killed {how} send {dies_at} of about {sends[probes]}")
            async with truth.writers():
                ended = await runs.once(site, settings(1), dies_at=dies_at, how=how, probes=probes)
            killed += ended.status < 0
            await truth.check()
            await converge(runs, truth)
    assert killed >= rounds // 2
