"""Sweeps by Google's Storage Insights reports: they nominate as S3's inventories do, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler import app
from reconciler.model import CheckStatus, KeepReason, Outcome, Verdict
from reconciler.settings import SettingsSource
from tests.integration.site import DAY, Site
from tests.servers import Bucket, S3Server, fresh_bucket
from tests.support.storage_insights import ID, Line, Reports

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def delivered(moto: S3Server) -> Iterator[Bucket]:
    with fresh_bucket(moto) as bucket:
        yield bucket


@pytest.fixture
def site(ordered_site: Site, delivered: Bucket) -> Site:
    changes = {
        "sweep__source": "inventory",
        "inventory__id": ID,
        "inventory__destination": f"gs://{delivered.name}/inventory_reports",
        "upload_window": "0s",
    }
    return Site(ordered_site.database, ordered_site.bucket, ordered_site.settings(**changes))


@pytest.fixture
def reports(site: Site, delivered: Bucket) -> Reports:
    return Reports(site.bucket, delivered)


async def scene(site: Site) -> None:
    owner = await site.virtual_key()
    await site.tracked(*(f"image/{number:03}" for number in range(20)), "video/a b+c%20é/ö", owner=owner)
    await site.put("image/orphan", 'video/or "phan",;+%20')
    await site.row("image/missing", owner, age=5 * DAY)


FINDINGS = {
    "image/orphan": Verdict.ORPHAN,
    'video/or "phan",;+%20': Verdict.ORPHAN,
    "image/missing": Verdict.DANGLING,
}


@pytest.mark.parametrize(
    "form", [None, (",", "\n", True), (";", "\r\n", False)], ids=["Parquet", "CSV with names", "CSV"]
)
async def test_a_plan_reads_reports_of_each_kind(
    site: Site, reports: Reports, form: tuple[str, str, bool] | None
) -> None:
    reports.csv = form
    await scene(site)
    # Versions that are not current any more.
    past = [
        Line("image/past", 1, LONG_AGO, deleted=LONG_AGO),
        Line("image/000", 9, LONG_AGO, deleted=LONG_AGO),
    ]
    reports.deliver([*reports.listed(), *past])
    report, findings = await site.plan()
    assert (report.objects, report.records, report.detail) == (23, 22, "")
    assert {each.storage_key: each.verdict for each in findings} == FINDINGS


async def test_what_a_report_shows_goes_and_what_has_no_md5_stays(site: Site, reports: Reports) -> None:
    await scene(site)
    await site.put("image/composed", "image/again")
    live = {key for key in await site.keys() if key not in FINDINGS}

    def said(line: Line) -> Line:
        match line.name:
            case "image/composed":
                return Line(line.name, line.size, line.updated, None)
            case "image/again":  # another body of the same size, a moment ago
                return Line(line.name, line.size, line.updated, "f" * 32)
        return line

    reports.deliver([said(line) for line in reports.listed()])
    report = await site.once()
    assert (report.outcome, report.removed.objects, report.removed.records) == (Outcome.PENDING, 2, 0)
    assert report.kept[KeepReason.PENDING] == 3  # those two, and the row's mark that waits
    assert await site.keys() == live
    reports.deliver()
    report = await site.once()
    assert report.removed.records == 1
    (check,) = [
        each for each in await app.doctor(SettingsSource(site.environment)) if each.name == "inventory"
    ]
    assert (check.status, "which began" in check.detail) == (CheckStatus.OK, True)


async def test_a_report_with_other_lines_than_it_says_is_refused(site: Site, reports: Reports) -> None:
    await scene(site)
    everything = await site.state()

    def fewer(manifest: dict[str, Any], _: dict[str, bytes]) -> None:
        manifest["records_processed"] += 1

    def gone(_: dict[str, Any], shards: dict[str, bytes]) -> None:
        shards.popitem()

    def swapped(manifest: dict[str, Any], _: dict[str, bytes]) -> None:
        fields = manifest["report_config"]["object_metadata_report_options"]["metadata_fields"]
        fields.reverse()

    for form, spoil, expected in (
        (None, fewer, "says 25 of its rows, and its files have 24"),
        ((",", "\n", False), fewer, "says 25 of its rows, and its files have 24"),
        (None, gone, "is gone: did a lifecycle rule take it?"),
        ((",", "\n", True), swapped, "has other columns than its manifest says"),
    ):
        reports.csv = form
        reports.deliver(spoil=spoil)
        report = await site.once()
        assert (report.outcome, report.removed.objects) == (Outcome.FAILED, 0)
        assert expected in report.detail
    assert await site.sql("SELECT storage_key FROM reconciler.marks") == []
    assert await site.state() == everything
