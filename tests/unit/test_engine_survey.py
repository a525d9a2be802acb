"""`plan`: the findings of a pass, its breaker, and not a trace left behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.engine.detect.plan import survey
from reconciler.model import Finding, ListingOrder, Outcome, Report, Verdict
from tests.doubles.build import LIMITS, policy
from tests.doubles.world import BUCKET, World

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


async def plan(world: World) -> tuple[Report, list[Finding]]:
    findings: list[Finding] = []
    report = await survey(world.ports, world.limits, world.runtime, BUCKET, findings.extend)
    return report, findings


def drifted(order: ListingOrder, orphans: int) -> World:
    world = World(order=order, page_size=7, under=policy(delete_delay=timedelta(0)))
    for number in range(40):
        world.bucket.upload(f"image/live{number}", age=3 * DAY)
        world.database.insert(f"image/live{number}", age=3 * DAY)
    for number in range(orphans):
        world.bucket.upload(f"image/orphan{number}", age=3 * DAY)
    world.database.insert("image/dangling", age=3 * DAY)
    world.database.insert("image/live-expired", age=3 * DAY, expires_at=world.around.now)
    world.bucket.upload("image/live-expired", age=3 * DAY)
    return world


@pytest.mark.parametrize("order", list(ListingOrder))
async def test_a_plan_names_what_a_run_finds_and_writes_nothing(order: ListingOrder) -> None:
    world = drifted(order, orphans=2)
    report, findings = await plan(world)
    assert report.outcome is Outcome.CONVERGED
    assert sorted((one.verdict, one.storage_key) for one in findings) == [
        (Verdict.DANGLING, "image/dangling"),
        (Verdict.EXPIRED, "image/live-expired"),
        (Verdict.ORPHAN, "image/orphan0"),
        (Verdict.ORPHAN, "image/orphan1"),
    ]
    database = world.database
    assert (database.marks, database.passes, database.term, database.identity) == ({}, {}, None, None)
    assert world.bucket.identity is None
    run = await world.run_once()
    assert (run.objects, run.records, run.found) == (report.objects, report.records, report.found)


async def test_a_plan_trips_where_a_run_would_and_goes_on_where_it_would() -> None:
    world = drifted(ListingOrder.BYTES, orphans=20)
    report, findings = await plan(world)
    assert (report.outcome, len(findings)) == (Outcome.TRIPPED, 22)
    assert "RECONCILER_BREAKER__MAX_FRACTION" in report.detail
    assert report.detail in (await world.run_once()).detail
    world.in_force(limits=replace(LIMITS, max_fraction=0.5))
    latched = (await plan(world))[0]
    assert latched.outcome is Outcome.TRIPPED
    assert "within its limits, but pass 1 waits for a decision" in latched.detail
    await world.decide()
    world.in_force(limits=LIMITS)
    assert (await plan(world))[0].outcome is Outcome.CONVERGED, "what was approved does not count"


async def test_a_plan_does_not_count_what_is_marked_already_twice() -> None:
    world = drifted(ListingOrder.BYTES, orphans=4)
    world.in_force(policy=policy())
    await world.run_once()
    world.in_force(policy=policy(), limits=replace(LIMITS, max_count=4))
    assert (await plan(world))[0].outcome is Outcome.CONVERGED
