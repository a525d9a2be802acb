"""What went wrong elsewhere because nobody was told, or the wrong thing was."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from reconciler.app.daemon import connect_and_lead
from reconciler.model import Outcome
from reconciler.settings import SettingsSource
from reconciler.telemetry.health import Health
from reconciler.telemetry.metrics import Metrics
from tests.integration.site import Site
from tests.support.ports import interpose
from tools.metrics_reference import families

pytestmark = pytest.mark.anyio

USURPED = """
WITH term AS (UPDATE reconciler.term SET epoch = epoch + 1, nonce = gen_random_uuid() RETURNING epoch, nonce)
UPDATE reconciler.lease SET holder = 'another', epoch = term.epoch, nonce = term.nonce,
    expires_at = clock_timestamp() + interval '1 hour' FROM term
"""


class Told:
    """The metrics of one program, as they would be scraped."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, version="0")

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"media_reconciler_{name}", labels)


@asynccontextmanager
async def daemon(
    site: Site, told: Told, health: Health, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """The daemon in this process, until the body ends."""
    for name, value in site.settings(sweep_interval="1s", retention_interval="1s").items():
        monkeypatch.setitem(os.environ, name, value)
    stopping = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(connect_and_lead, SettingsSource(), told.metrics, health, stopping)
        yield
        stopping.set()
        group.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Poll, bounded: metrics and probes are looked at, and tell nobody by themselves."""
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - as said
            await anyio.sleep(0.05)


@pytest.mark.incident(29)
async def test_only_a_pass_that_was_released_moves_the_time_of_the_last_success(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-29: what an alert on a standstill reads. A trip and a failure are attempts, and no more."""

    async def fail(*_: Any, **__: Any) -> None:
        raise OSError("a fault of the program")

    told = Told()
    await ordered_site.put("image/orphan")
    tripped = await ordered_site.once_told(told.metrics, breaker__max_count="0", breaker__min_count="1")
    assert tripped.outcome is Outcome.TRIPPED
    with monkeypatch.context() as patched:
        interpose(patched, "listing", list_page=fail)
        with pytest.raises(OSError, match="a fault of the program"):
            await ordered_site.once_told(told.metrics)
    attempt = told.value("pass_last_attempt_timestamp_seconds", kind="sweep")
    assert attempt is not None
    assert attempt > 0
    assert told.value("pass_last_success_timestamp_seconds", kind="sweep") == 0


@pytest.mark.incident(29)
async def test_the_age_of_what_was_left_is_told(ordered_site: Site) -> None:
    """I-29: marks that nobody collects grow old in a metric."""
    told = Told()
    told.metrics.leading(leader=True)
    await ordered_site.put("image/orphan")
    await ordered_site.once_told(told.metrics, delete_delay="30d")
    await ordered_site.sql("UPDATE reconciler.marks SET first_seen_at = first_seen_at - interval '9 days'")
    report = await ordered_site.once_told(told.metrics, delete_delay="30d")
    assert report.outcome is Outcome.PENDING
    age = told.value("drift_oldest_age_seconds", verdict="orphan")
    assert age is not None
    assert age >= timedelta(days=9).total_seconds()
    assert (told.value("drift_keys", verdict="orphan"), told.value("marks_pending")) == (1, 1)


@pytest.mark.incident(35)
async def test_a_loop_that_hangs_fails_the_liveness_probe_by_its_name(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-35: the probe reads the loops' own stamps, and a store that never answers leaves none."""
    hangs = anyio.Event()

    async def hang(*_: Any, **__: Any) -> None:
        hangs.set()
        await anyio.sleep_forever()

    interpose(monkeypatch, "listing", list_page=hang)
    health = Health(always={}, while_leading={"sweep": timedelta(seconds=0.5)})
    async with daemon(ordered_site, Told(), health, monkeypatch):
        with anyio.fail_after(60):
            await hangs.wait()
        await until(lambda: bool(health.stuck()))
        (line,) = health.stuck()
        assert line.startswith("sweep: silent for")


@pytest.mark.incident(36)
async def test_a_leader_that_is_usurped_takes_its_gauges_with_it(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-36: what only a leader knows is exported by a leader alone."""
    told = Told()
    await ordered_site.put("image/orphan")
    ordered_site.environment["RECONCILER_DELETE_DELAY"] = "1h"
    async with daemon(ordered_site, told, Health(), monkeypatch):
        await until(lambda: told.value("drift_keys", verdict="orphan") == 1)
        await until(lambda: told.value("storage_objects", media_type="other", provider="other") == 0)
        await until(lambda: told.value("bucket_objects") == 1)
        await ordered_site.sql(USURPED)
        await until(lambda: told.value("leader") == 0)
        exported = {family.name for family in told.registry.collect()}
        only_leaders = set(families()) - set(families(leads=False))
        assert not exported & only_leaders, "none of them all"
