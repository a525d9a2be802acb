"""Networks that cut, delay, truncate and corrupt, between the program and both servers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.model import Outcome
from tests.faults.rounds import NETWORK_ROUNDS, SEED, say
from tests.faults.runs import Ended, Mortals, mortals
from tests.faults.truth import Truth
from tests.integration.site import Site
from tests.support.proxy import Fault, Proxy, Schedule, proxy_of

pytestmark = [
    pytest.mark.soak,
    pytest.mark.anyio,
    pytest.mark.no_cover,  # the program is a process of its own
]

RUNS = 8
"""More than enough to converge over a network that works."""

ROUNDS = [f"round-{number}" for number in range(NETWORK_ROUNDS)]


def schedule(chance: random.Random) -> Schedule:
    """Some rounds have one kind of fault alone, some all; from one fault in some requests to many in each."""
    kinds: tuple[Fault, ...] = tuple(Fault)
    faults = chance.choice([kinds, kinds, *((kind,) for kind in kinds)])
    mean = 10 ** chance.uniform(3.3, 5.3)
    return Schedule(seed=chance.randrange(10**9), mean_bytes=mean, faults=faults)


async def once(runs: Mortals, site: Site, settings: Mapping[str, str]) -> Ended:
    """A run of its own; a corrupted password is a wrong one, so a refusal is an ending as well."""
    ended = await runs.once(site, settings, probes=True, impatient=True)
    say(f"ended {ended.status} {ended.outcome} {ended.told}")
    assert ended.status <= 3
    assert "(unexpected;" not in ended.told
    return ended


async def converge(runs: Mortals, truth: Truth, settings: Mapping[str, str]) -> None:
    for _ in range(RUNS):
        ended = await once(runs, truth.site, settings)
        assert ended.status >= 0
        if ended.outcome == Outcome.CONVERGED and set(truth.live) == await truth.site.keys():
            break
    await truth.converged()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ROUNDS)
async def test_a_network_that_fails_loses_nothing_live(truth: Truth, name: str, tmp_path: Path) -> None:
    """Changed bytes of Postgres can crash the driver's C code, and so the program: that counts as a kill."""
    site = truth.site
    chance = random.Random(f"{SEED}/network/{name}")
    await truth.seed(live=12, drift=8)
    async with (
        proxy_of(site.database) as to_database,
        proxy_of(site.bucket.server.endpoint_url) as to_bucket,
        mortals(tmp_path) as runs,
    ):
        settings = {
            "database_url": to_database.through(site.database),
            "bucket__endpoint_url": to_bucket.through(site.bucket.server.endpoint_url),
            "lease__ttl": "6s",
            "delete_concurrency": "2",
            "breaker__max_dangling": "100000",
        }
        for proxy in (to_database, to_bucket):
            proxy.schedule = schedule(chance)
            say(f"{proxy.schedule}")
        async with truth.writers():
            for _ in range(2):
                ended = await once(runs, site, settings)
                assert ended.status >= 0 or to_database.happened[Fault.CORRUPT]
        await truth.check()
        say(f"{happened(to_database, to_bucket)}")
        for proxy in (to_database, to_bucket):
            proxy.schedule = None
            proxy.cut()
        await converge(runs, truth, settings)


def happened(*proxies: Proxy) -> Counter[str]:
    return sum((proxy.happened for proxy in proxies), Counter())
