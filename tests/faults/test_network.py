"""Networks that cut, delay, truncate and corrupt, between the program and both servers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from reconciler.errors import ConfigError
from reconciler.model import Outcome
from tests.faults.rounds import NETWORK_ROUNDS, SEED, say
from tests.faults.truth import Truth
from tests.integration.site import Site
from tests.support.proxy import Fault, Proxy, Schedule, proxy_of

pytestmark = [
    pytest.mark.soak,
    pytest.mark.anyio,
    # An answer with garbled headers is dropped unread, and its connection closes when it is collected.
    pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning"),
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


async def once(site: Site, settings: Mapping[str, str]) -> Outcome | None:
    """How it ended; a ConfigError (a corrupted password is a wrong one) is an ending as well."""
    try:
        report = await site.once(**settings)
    except ConfigError as error:
        say(f"ended by {error!r}")
        return None
    say(f"ended {report.outcome} {report.detail} {report.removed}")
    return report.outcome


async def converge(truth: Truth, settings: Mapping[str, str]) -> None:
    for _ in range(RUNS):
        ended = await once(truth.site, settings)
        if ended is Outcome.CONVERGED and set(truth.live) == await truth.site.keys():
            break
    await truth.converged()


@contextmanager
def unreadable_bytes_end_their_connection() -> Iterator[None]:
    """What asyncpg stumbles over asyncio tells the loop, and ends the connection. The program logs it."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    assert before is not None, "anyio's, which fails the test"

    def told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if type(context.get("protocol")).__module__.startswith("asyncpg."):
            say(f"told {context['message']} {context['exception']!r}")
        else:
            before(loop, context)

    loop.set_exception_handler(told)
    try:
        yield
    finally:
        loop.set_exception_handler(before)


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("short_patience")
@pytest.mark.parametrize("name", ROUNDS)
async def test_a_network_that_fails_loses_nothing_live(truth: Truth, name: str) -> None:
    site = truth.site
    chance = random.Random(f"{SEED}/network/{name}")
    await truth.seed(live=12, drift=8)
    async with (
        proxy_of(site.database) as to_database,
        proxy_of(site.bucket.server.endpoint_url) as to_bucket,
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
        with unreadable_bytes_end_their_connection():
            async with truth.writers():
                for _ in range(2):
                    await once(site, settings)
        await truth.check()
        say(f"{happened(to_database, to_bucket)}")
        for proxy in (to_database, to_bucket):
            proxy.schedule = None
            proxy.cut()
        await converge(truth, settings)


def happened(*proxies: Proxy) -> Counter[str]:
    return sum((proxy.happened for proxy in proxies), Counter())
