"""The breaker over real passes: what trips, that nothing of it goes, and what lets it through."""

from __future__ import annotations

import pytest

from reconciler.model import Outcome
from tests.integration.site import Site

pytestmark = pytest.mark.anyio

ORPHANS = [f"image/orphan-{number}" for number in range(6)]


async def test_too_large_a_fraction_releases_nothing_until_the_setting_is_raised(site: Site) -> None:
    await site.tracked(*(f"image/live-{number}" for number in range(6)))
    await site.put(*ORPHANS)
    tripped = await site.once(breaker__max_fraction="0.4", breaker__min_count="1")
    assert tripped.outcome is Outcome.TRIPPED
    assert "RECONCILER_BREAKER__MAX_FRACTION" in tripped.detail
    assert len(await site.keys()) == 12
    assert (await site.once(breaker__max_fraction="0.6", breaker__min_count="1")).removed.objects == 6


async def test_too_large_a_count_releases_nothing(site: Site) -> None:
    await site.put(*ORPHANS)
    report = await site.once(breaker__max_count="5")
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "RECONCILER_BREAKER__MAX_COUNT" in report.detail
    assert (await site.once(breaker__max_count="6")).removed.objects == 6


async def test_dangling_records_have_a_small_cap_of_their_own(site: Site) -> None:
    await site.tracked("image/live")
    for number in range(3):
        await site.row(f"image/gone-{number}")
    for _ in range(3):
        report = await site.once(breaker__max_dangling="2")
        assert report.outcome is Outcome.TRIPPED
    assert len(await site.rows()) == 4


@pytest.mark.incident(30)
async def test_an_emptied_bucket_trips(site: Site) -> None:
    await site.tracked("image/a", "image/b")
    limits = {"breaker__max_fraction": "0.5"}
    assert (await site.once(**limits)).outcome is Outcome.CONVERGED
    for key in await site.keys():
        site.bucket.client.delete_object(Bucket=site.bucket.name, Key=key)
    report = await site.once(**limits)
    assert report.outcome is Outcome.TRIPPED
    assert "no objects at all" in report.detail
    assert len(await site.rows()) == 2


async def test_an_emptied_table_trips(site: Site) -> None:
    await site.tracked("image/a", "image/b")
    limits = {"breaker__max_fraction": "0.5"}
    assert (await site.once(**limits)).outcome is Outcome.CONVERGED
    await site.sql('DELETE FROM "MediaRecords"')
    report = await site.once(**limits)
    assert report.outcome is Outcome.TRIPPED
    assert "no rows at all" in report.detail
    assert len(await site.keys()) == 2


async def test_drift_on_both_sides_stops_the_marks_of_earlier_passes_too(site: Site) -> None:
    """It says that the join itself is wrong, so nothing that it ever marked is to be trusted."""
    await site.tracked("image/live")
    await site.put("image/early-orphan")
    await site.once(delete_delay="1h")
    await site.sql("UPDATE reconciler.marks SET due_at = now()")
    await site.put(*ORPHANS)
    for number in range(6):
        await site.row(f"image/gone-{number}")
    report = await site.once(breaker__max_fraction="0.5", breaker__max_dangling="2", breaker__min_count="1")
    assert report.outcome is Outcome.TRIPPED
    assert report.removed.objects == 0
    assert "image/early-orphan" in await site.keys()


async def test_plan_says_that_it_would_trip(site: Site) -> None:
    await site.put(*ORPHANS)
    report, findings = await site.plan(breaker__max_count="5")
    assert report.outcome is Outcome.TRIPPED
    assert {finding.storage_key for finding in findings} == set(ORPHANS)
