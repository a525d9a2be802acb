"""The breaker over real passes: what trips, that nothing of it goes, and what lets it through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.errors import NotDone
from reconciler.model import Outcome
from reconciler.operations import passes
from reconciler.operations.status import status
from tests.integration.site import DAY, Site
from tests.servers import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

ORPHANS = [f"image/orphan-{number}" for number in range(6)]


@pytest.fixture
def s3_server(seaweed: S3Server) -> S3Server:
    """One store is enough: what trips is counted in the database."""
    return seaweed


@pytest.mark.incident(27)
async def test_too_large_a_fraction_releases_nothing_until_a_person_approves(site: Site) -> None:
    """Raising the setting is no decision."""
    await site.tracked(*(f"image/live-{number}" for number in range(6)))
    await site.put(*ORPHANS)
    tripped = await site.once(breaker__max_fraction="0.4", breaker__min_count="1")
    assert tripped.outcome is Outcome.TRIPPED
    assert "RECONCILER_BREAKER__MAX_FRACTION" in tripped.detail
    assert "reconciler approve 1" in tripped.detail
    raised = await site.once()
    assert (raised.outcome, raised.removed.objects) == (Outcome.TRIPPED, 0)
    assert "pass 1 waits for a decision" in raised.detail
    assert len(await site.keys()) == 12
    assert await site.approve(await site.tripped()) == 6
    approved = await site.once(breaker__max_fraction="0.4", breaker__min_count="1")
    assert (approved.outcome, approved.removed.objects) == (Outcome.CONVERGED, 6)


@pytest.mark.incident(27)
async def test_a_discarded_pass_is_judged_anew(site: Site) -> None:
    await site.put(*ORPHANS)
    report = await site.once(breaker__max_count="5")
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "RECONCILER_BREAKER__MAX_COUNT" in report.detail
    assert await site.discard(await site.tripped()) == 6
    assert (await site.once(breaker__max_count="5")).outcome is Outcome.TRIPPED
    await site.discard(await site.tripped())
    assert (await site.once(breaker__max_count="6")).removed.objects == 6


async def test_an_approved_mark_still_waits_for_its_time_and_is_decided_anew(site: Site) -> None:
    await site.put(*ORPHANS)
    await site.once(breaker__max_count="5", delete_delay="1h")
    await site.approve(await site.tripped())
    early = await site.once(breaker__max_count="5", delete_delay="1h")
    assert (early.outcome, early.removed.objects) == (Outcome.PENDING, 0)
    await site.sql("UPDATE reconciler.marks SET due_at = now()")
    await site.row(ORPHANS[0])
    assert (await site.once(breaker__max_count="5")).removed.objects == 5
    assert await site.keys() == {ORPHANS[0]}


async def test_an_approval_ends_and_what_is_left_waits_again_and_says_so(site: Site) -> None:
    """A day after the delay, of two days here, during which nothing could go."""
    await site.put(*ORPHANS)
    few = {"breaker__max_count": "5", "delete_delay": "48h"}
    await site.once(**few)
    await site.approve(1)
    await _later(site, hours=73)
    ended = await site.once(**few)
    assert (ended.outcome, ended.removed.objects) == (Outcome.TRIPPED, 0)
    assert "pass 1 tripped: its approval by ada@desk at" in ended.detail
    assert "has ended (RECONCILER_APPROVAL_TTL), and 6 of its marks are left" in ended.detail
    assert "reconciler approve" in ended.detail
    assert len(await site.keys()) == 6
    assert await site.approve(await site.tripped()) == 6
    assert (await site.once(**few)).removed.objects == 6


async def test_the_end_of_an_approval_that_is_told_is_the_one_by_which_marks_go(site: Site) -> None:
    """Told by whoever has only the database; the run has another `APPROVAL_TTL` than the default."""
    await site.put(*ORPHANS)
    few = {"breaker__max_count": "5", "delete_delay": "48h", "approval_ttl": "6h"}
    await site.once(**few)

    async def ends() -> tuple[datetime, datetime]:
        async with site.catalog() as catalog:
            (given,) = (await status(catalog)).approved
            assert given == (await passes.show(catalog, given.pass_id)).approval
            assert (given.by, given.marks) == ("ada@desk", 6)
            assert given.until is not None
            return given.until

    async def to_go(hours: float) -> None:
        """Move all so that `hours` are left until the first end that is told."""
        (first, _), ((now,),) = await ends(), await site.sql("SELECT now()")
        await _later(site, hours=(first - now) / timedelta(hours=1) - hours)

    await site.approve(1)
    ((due,),) = await site.sql("SELECT max(due_at) FROM reconciler.marks")
    assert (await ends())[1] >= due + timedelta(hours=6)
    await to_go(-0.5)
    assert (await site.once(**few)).outcome is Outcome.TRIPPED
    async with site.catalog() as catalog:
        assert not (await status(catalog)).approved
    assert await site.approve(await site.tripped()) == 6
    await to_go(0.5)
    assert (await site.once(**few)).removed.objects == 6


async def test_a_long_delay_ends_no_approval(site: Site) -> None:
    await site.put(*ORPHANS)
    await site.once(breaker__max_count="5", delete_delay="48h")
    await site.approve(1)
    await _later(site, hours=71)
    assert (await site.once(breaker__max_count="5", delete_delay="48h")).removed.objects == 6


async def _later(site: Site, *, hours: float) -> None:
    """As if so much time had gone by since all that was written."""
    for column in ("passes SET decided_at", "marks SET due_at", "term SET live_since"):
        name = column.rpartition(" ")[2]
        await site.sql(f"UPDATE reconciler.{column} = {name} - interval '{hours} hours'")


@pytest.mark.incident(33)
@pytest.mark.attack(13)
async def test_the_caps_hold_where_the_deletion_begins(site: Site) -> None:
    """Six were released under a cap of ten; under one of five they are held back at the claim."""
    await site.put(*ORPHANS)
    assert (await site.once(breaker__max_count="10", delete_delay="1h")).outcome is Outcome.PENDING
    await site.sql("UPDATE reconciler.marks SET due_at = now()")
    report = await site.once(breaker__max_count="5")
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "at the claim: 6 orphans" in report.detail
    assert [state for _, kind, state in await site.passes() if kind == "sweep"] == ["tripped", "tripped"]
    assert await site.approve(await site.tripped()) == 6
    assert (await site.once(breaker__max_count="5")).removed.objects == 6


async def test_what_other_passes_have_released_goes_on_while_a_sweep_waits(site: Site) -> None:
    """Orphans, records without an object and expired ones alike, each found before the trip."""
    few = {"breaker__max_count": "5", "delete_delay": "1h"}
    await site.tracked(*(f"image/live-{number}" for number in range(6)))
    await site.put("image/early", "image/expired")
    await site.row("image/expired", ExpiresAt=datetime(2020, 1, 1, tzinfo=UTC))
    await site.row("image/missing")
    for _ in range(2):
        assert (await site.once(**few)).outcome is Outcome.PENDING
    await site.put(*ORPHANS)
    assert (await site.once(**few)).outcome is Outcome.TRIPPED
    await site.sql("UPDATE reconciler.marks SET due_at = now()")
    report = await site.once(**{**few, "delete_delay": "0s"})
    assert (report.outcome, report.removed.objects, report.removed.records) == (Outcome.TRIPPED, 2, 2)
    live = {f"image/live-{number}" for number in range(6)}
    assert await site.state() == ({*live, *ORPHANS}, live)


@pytest.mark.incident(27)
async def test_a_small_prefix_is_watched_by_itself(site: Site) -> None:
    await site.tracked(*(f"image/live-{number}" for number in range(30)), "video/live")
    await site.put("video/a", "video/b")
    limits = {"breaker__max_fraction": "0.5", "breaker__min_count": "2"}
    report = await site.once(**limits)
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "2 orphans under 'video/', 66.7 % of 3 objects" in report.detail


# --- settings that let more go ---------------------------------------------------------------------


@pytest.mark.incident(11)
async def test_a_shorter_retention_needs_an_approval_and_growth_does_not(site: Site) -> None:
    await site.tracked("image/live")
    await site.put("image/older", "image/oldest")
    await site.row("image/oldest", age=100 * DAY)
    await site.row("image/older", age=60 * DAY)
    assert (await site.once(media_retention_days="90")).removed.objects == 1
    await site.put("image/old")
    await site.row("image/old", age=95 * DAY)
    grown = await site.once(media_retention_days="91")
    assert (grown.outcome, grown.removed.objects) == (Outcome.CONVERGED, 1), "longer, and more to go"
    shorter = await site.once(media_retention_days="30")
    assert (shorter.outcome, shorter.removed.objects) == (Outcome.TRIPPED, 0)
    assert "1 finding (1 stale) that the settings of the last released pass" in shorter.detail
    assert "media_retention 91d -> 30d" in shorter.detail
    again = await site.once(media_retention_days="90")
    assert again.outcome is Outcome.TRIPPED, "changing it back is no decision either"
    await site.discard(await site.tripped())
    assert (await site.once(media_retention_days="90")).outcome is Outcome.CONVERGED
    await site.once(media_retention_days="30")
    await site.approve(await site.tripped())
    report = await site.once(media_retention_days="30")
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    assert await site.keys() == {"image/live"}


@pytest.mark.incident(4)
@pytest.mark.incident(11)
@pytest.mark.parametrize("order", ["bytes", "none"])
async def test_a_prefix_that_is_added_needs_an_approval(site: Site, order: str) -> None:
    await site.tracked("image/live", "music/live")
    await site.put("image/orphan", "music/orphan")
    settings = {"bucket__listing_order": order}
    assert (await site.once(**settings)).removed.objects == 1
    settings["bucket__prefixes"] = '["image/", "music/", "video/"]'
    report = await site.once(**settings)
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "1 finding (1 orphan) that the settings of the last released pass" in report.detail
    await site.approve(await site.tripped())
    assert (await site.once(**settings)).removed.objects == 1
    await site.put("music/later")
    assert (await site.once(**settings)).removed.objects == 1, "settings that were approved once"


@pytest.mark.incident(11)
async def test_a_kind_of_clean_up_that_is_switched_on_needs_an_approval(site: Site) -> None:
    await site.put("image/orphan")
    await site.once(orphan_cleanup_enabled="false")
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "orphan_cleanup False -> True" in report.detail


@pytest.mark.incident(11)
async def test_a_kind_that_was_released_by_a_dry_run_needs_an_approval_once_it_was_off(site: Site) -> None:
    """Going live by steps: what a dry run with everything on has released waits for its own step."""
    await site.row("image/expired", ExpiresAt=datetime.now(UTC) - DAY)
    await site.put("image/expired")
    for _ in range(2):
        assert (await site.once(dry_run="true")).outcome is Outcome.CONVERGED
    off = await site.once(enable_auto_cleanup="false")
    assert off.removed.objects == 0
    report = await site.once()
    assert (report.outcome, report.removed.objects, report.removed.records) == (Outcome.TRIPPED, 0, 0)
    await site.approve(await site.tripped())
    assert (await site.once()).removed.objects == 1


@pytest.mark.incident(16)
async def test_dangling_records_have_a_small_cap_of_their_own(site: Site) -> None:
    await site.tracked("image/live")
    for number in range(3):
        await site.row(f"image/gone-{number}")
    for _ in range(3):
        report = await site.once(breaker__max_dangling="2")
        assert report.outcome is Outcome.TRIPPED
    assert len(await site.rows()) == 4


@pytest.mark.incident(1)
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


@pytest.mark.incident(1)
@pytest.mark.incident(30)
async def test_an_emptied_table_trips(site: Site) -> None:
    await site.tracked("image/a", "image/b")
    limits = {"breaker__max_fraction": "0.5"}
    assert (await site.once(**limits)).outcome is Outcome.CONVERGED
    await site.sql('DELETE FROM "MediaRecords"')
    report = await site.once(**limits)
    assert report.outcome is Outcome.TRIPPED
    assert "no rows at all" in report.detail
    assert len(await site.keys()) == 2
    again = (await site.once(**limits)).detail
    assert "pass 5 tripped and adds nothing to pass 3: no rows at all" in again
    assert "`reconciler approve 3`" in again, "the number that `passes` tells"


@pytest.mark.incident(27)
@pytest.mark.attack(13)
async def test_drift_on_both_sides_stops_the_marks_of_earlier_passes_too(site: Site) -> None:
    """It says that the join itself is wrong, so nothing that it ever marked is to be trusted."""
    await site.tracked("image/live")
    await site.put("image/early-orphan")
    await site.once(delete_delay="1h")
    await site.sql("UPDATE reconciler.marks SET due_at = now()")
    await site.put(*ORPHANS)
    gone = [f"image/gone-{number}" for number in range(6)]
    for key in gone:
        await site.row(key)
    report = await site.once(breaker__max_fraction="0.5", breaker__max_dangling="2", breaker__min_count="1")
    assert report.outcome is Outcome.TRIPPED
    assert report.removed.objects == 0
    # In order by now, and by any limits: a person has to say so.
    for key in ORPHANS:
        site.bucket.client.delete_object(Bucket=site.bucket.name, Key=key)
    await site.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" = ANY($1)', gone)
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    tripped = await site.tripped()
    with pytest.raises(NotDone, match="is understood"):
        await site.approve(tripped)
    assert (await site.once()).removed.objects == 0
    await site.approve(await site.tripped(), understood=True)
    assert (await site.once()).removed.objects == 1
    assert await site.state() == ({"image/live"}, {"image/live"})


async def test_plan_says_that_it_would_trip(site: Site) -> None:
    await site.put(*ORPHANS)
    report, findings = await site.plan(breaker__max_count="5")
    assert report.outcome is Outcome.TRIPPED
    assert {finding.storage_key for finding in findings} == set(ORPHANS)
