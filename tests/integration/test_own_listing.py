"""Sweeps by a listing of our own on local disk: as a listing, for more keys than should be held elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import ConfigError
from reconciler.model import Outcome
from reconciler.settings import load
from tests.integration.kill_at import killed_at
from tests.integration.site import DAY, Site
from tests.support.ports import interpose

pytestmark = [pytest.mark.anyio, pytest.mark.calm]


def to_disk(site: Site, folder: Path) -> Site:
    changes = {
        "sweep__source": "listing_parquet",
        "inventory__directory": str(folder),
        "upload_window": "0s",
    }
    return Site(site.database, site.bucket, site.settings(**changes))


def left_in(folder: Path) -> int:
    return len(list(folder.iterdir()))


async def scene(site: Site) -> set[str]:
    """Returns the keys that live. Their order is not that in which directories are listed."""
    live = {
        *(f"image/{number:03}" for number in range(20)),
        *(f"image/a{each}" for each in ("-b", "/b", "0")),
    }
    live.add("video/ö+%20 é")
    await site.tracked(*live)
    await site.put("image/orphan", "video/or phan+%20", "elsewhere/orphan")
    await site.row("image/missing", age=5 * DAY)
    await site.row("image/unripe", age=DAY)
    return live


async def test_what_it_shows_goes_as_what_a_listing_shows(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.engine.detect.key_ranges.ROWS_A_RANGE", 5)
    site = to_disk(site, tmp_path)
    live = await scene(site)
    listed, of_listing = await site.plan(sweep__source="list")
    planned, found = await site.plan()
    assert (planned.objects, planned.records) == (listed.objects, listed.records) == (26, 26)
    ripe = {each.storage_key: each.verdict for each in of_listing if each.storage_key != "image/unripe"}
    assert {each.storage_key: each.verdict for each in found} == ripe
    assert sorted(ripe) == ["image/missing", "image/orphan", "video/or phan+%20"]
    first = await site.once()
    assert (first.outcome, first.removed.objects, first.removed.records) == (Outcome.PENDING, 2, 0)
    assert await site.keys() == live | {"elsewhere/orphan"}
    second = await site.once()
    assert (second.outcome, second.removed.records) == (Outcome.CONVERGED, 1)
    assert await site.rows() == live | {"image/unripe"}
    assert left_in(tmp_path) == 0


async def test_a_listing_that_lacks_what_head_finds_is_refused(
    ordered_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is nominated by a list that is seen to be incomplete."""
    site = to_disk(ordered_site, tmp_path)
    await scene(site)
    await site.sql("""UPDATE "MediaRecords" SET "CreatedAt" = now() - interval '5 days'""")
    whole = await site.state()

    async def lacking(list_page: Any, *args: Any, **place: Any) -> Any:
        page = await list_page(*args, **place)
        return page.only([index for index, key in enumerate(page.keys) if key != "image/007"])

    interpose(monkeypatch, "listing", list_page=lacking)
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.FAILED, 0)
    assert "lacks 'image/007'" in report.detail
    assert await site.state() == whole


async def test_a_store_that_breaks_its_order_is_listed_again_without_it(
    ordered_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = to_disk(ordered_site, tmp_path)
    live = await scene(site)

    async def backwards(list_page: Any, *args: Any, **place: Any) -> Any:
        page = await list_page(*args, **place)
        return page.only(range(len(page.keys))[::-1]) if len(page.keys) > 1 else page

    interpose(monkeypatch, "listing", list_page=backwards)
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.PENDING, 2)
    assert await site.keys() == live | {"elsewhere/orphan"}


async def test_a_listing_that_outgrows_its_disk_is_refused(
    ordered_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = to_disk(ordered_site, tmp_path)
    await scene(site)
    monkeypatch.setattr("reconciler.sources.own_listing.PAGES_A_LOOK", 1)
    monkeypatch.setattr("reconciler.sources.own_listing._size", lambda _: 41 * 1024**3)
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.FAILED, 0)
    assert "more than RECONCILER_INVENTORY__DISK" in report.detail


def test_its_files_are_not_where_ray_could_read_them(ordered_site: Site, tmp_path: Path) -> None:
    environment = to_disk(ordered_site, tmp_path).settings(inventory__engine="ray")
    with pytest.raises(ConfigError, match="ENGINE=ray does not go with"):
        load(environment)


@pytest.mark.calm(False)
@pytest.mark.soak
async def test_a_listing_that_is_killed_begins_anew(ordered_site: Site, tmp_path: Path) -> None:
    site = to_disk(ordered_site, tmp_path)
    live = await scene(site)
    await killed_at(site, "listing", "list_page", "after", "once", "--json")
    assert left_in(tmp_path) == 1
    assert await site.keys() == live | {"image/orphan", "video/or phan+%20", "elsewhere/orphan"}
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.PENDING, 2)
    assert await site.keys() == live | {"elsewhere/orphan"}
    assert left_in(tmp_path) == 0
