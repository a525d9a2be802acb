"""R-68: a side that is empty or foreign, however few its findings, on real servers with default limits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler import app
from reconciler.model import Check, CheckStatus, Outcome
from reconciler.settings import SettingsSource
from tests.integration.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

DEFAULTS = {"breaker__max_fraction": "0.1"}


@pytest.mark.attack(68)
async def test_a_forgotten_mapping_trips_and_nothing_goes(site: Site) -> None:
    """The table that `migrate` made is empty, and the gateway's rows are in another one."""
    objects = {f"image/{number}.png" for number in range(3)}
    await site.put(*objects)
    for _ in range(2):
        report = await site.once(**DEFAULTS)
        assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "not one row in the managed prefixes, and 3 objects" in report.detail
    assert await site.keys() == objects


@pytest.mark.attack(68)
async def test_another_bucket_trips_and_no_row_goes(site: Site) -> None:
    await site.row("image/a")
    await site.row("image/b")
    for _ in range(2):
        report = await site.once(**DEFAULTS)
        assert (report.outcome, report.removed.records) == (Outcome.TRIPPED, 0)
    assert "not one object in the managed prefixes, and 2 rows" in report.detail
    assert await site.rows() == {"image/a", "image/b"}


@pytest.mark.attack(68)
async def test_rows_of_another_gateway_trip_though_there_are_some(site: Site) -> None:
    await site.put("image/a", "image/b")
    for number in range(4):
        await site.row(f"image/theirs-{number}")
    report = await site.once(**DEFAULTS)
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "none of 2 objects is named by any of 4 rows" in report.detail


@pytest.mark.attack(68)
async def test_a_prefix_whose_rows_are_in_a_second_table_trips(site: Site) -> None:
    await site.tracked(*(f"image/{number}" for number in range(30)))
    await site.put("video/a", "video/b")
    report = await site.once(**DEFAULTS)
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "not one row under 'video/', and 2 objects" in report.detail


@pytest.mark.attack(68)
async def test_a_prefix_that_a_view_names_does_not_trip(site: Site) -> None:
    """A view over an array of keys, one a row: what it names counts as the rows of its prefix."""
    await site.tracked(*(f"image/{number}" for number in range(30)))
    await site.put("video/a", "video/b", "video/orphan")
    await site.script(
        "CREATE TABLE albums (parts text[]); INSERT INTO albums VALUES ('{video/a,video/b}');"
        "CREATE VIEW album_parts AS SELECT unnest(parts) AS key FROM albums"
    )
    settings = {**DEFAULTS, "catalog__also_referenced": '["public.album_parts.key"]'}
    report = await site.once(**settings)
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    await site.put("video/another")
    await site.script("TRUNCATE albums")
    report = await site.once(**settings)
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "not one row under 'video/', and 3 objects: are" in report.detail


@pytest.mark.attack(68)
async def test_a_table_that_lost_a_few_rows_trips_and_an_approval_lets_them_go(site: Site) -> None:
    await site.tracked(*(f"image/{number}" for number in range(12)))
    assert (await site.once(**DEFAULTS)).outcome is Outcome.CONVERGED
    await site.sql("""DELETE FROM "MediaRecords" WHERE "StorageKey" IN ('image/0', 'image/1')""")
    report = await site.once(**DEFAULTS)
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "10 rows" in report.detail
    assert "where the last released pass saw 12" in report.detail
    await site.approve(await site.tripped())
    approved = await site.once(**DEFAULTS)
    assert (approved.outcome, approved.removed.objects) == (Outcome.CONVERGED, 2)


async def test_what_we_removed_ourselves_is_no_loss(site: Site) -> None:
    await site.tracked(*(f"image/{number}" for number in range(12)))
    assert (await site.once(**DEFAULTS)).outcome is Outcome.CONVERGED
    await site.sql("""UPDATE "MediaRecords" SET "ExpiresAt" = now() - interval '1 h'
                      WHERE "StorageKey" IN ('image/0', 'image/1', 'image/2')""")
    assert (await site.once(**DEFAULTS)).removed.records == 3
    await site.put("image/orphan")
    report = await site.once(**DEFAULTS)
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)


async def test_a_new_site_is_not_pestered(site: Site) -> None:
    """Nothing at all; then uploads whose rows are not there yet, within their grace."""
    assert (await site.once(**DEFAULTS, grace_period="1h")).outcome is Outcome.CONVERGED
    await site.put("image/a", "image/b", "image/c")
    assert (await site.once(**DEFAULTS, grace_period="1h")).outcome is Outcome.CONVERGED
    await site.row("video/a", age=timedelta(minutes=5))
    assert (await site.once(**DEFAULTS, grace_period="1h")).outcome is Outcome.CONVERGED


async def test_an_upload_that_was_left_behind_does_not_trip(site: Site) -> None:
    await site.tracked("image/a", "image/b")
    await site.put("image/c")
    report = await site.once(**DEFAULTS)
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)


async def test_doctor_says_where_the_sides_do_not_fit(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ordered_site.environment.items():
        monkeypatch.setenv(name, value)

    async def rows() -> Check:
        (check,) = [check for check in await app.doctor(SettingsSource()) if check.name == "rows"]
        return check

    assert (await rows()).status is CheckStatus.OK
    await ordered_site.put("image/a.png")
    empty = await rows()
    assert empty.status is CheckStatus.WARN
    assert "is empty, for `reconciler migrate` made it, and the bucket holds 'image/a.png'" in empty.detail
    await ordered_site.row("/image/a.png")
    outside = await rows()
    assert outside.status is CheckStatus.WARN
    for example in ("'/image/a.png'", "'image/a.png'"):
        assert example in outside.detail
    await ordered_site.row("image/b.png")
    assert (await rows()).status is CheckStatus.OK
