"""Stores that strangers run, by the quirk of each that once cost live objects or ended every sweep."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler import app
from reconciler.catalog.marks.marks import PostgresMarks
from reconciler.engine.detect import sweep
from reconciler.model import CheckStatus, ObjectPage, Outcome, PutCondition, Removed, Verdict
from reconciler.settings import SettingsSource
from reconciler.stores.s3.listing import BucketListing
from tests.integration.site import Site, make_site
from tests.integration.test_unordered import in_small_pages
from tests.support.quirky_parts import etag_of
from tests.support.quirky_store import QuirkyStore, Stored, quirky_store

pytestmark = [pytest.mark.anyio, pytest.mark.calm]


@pytest.fixture
async def store() -> AsyncIterator[QuirkyStore]:
    async with quirky_store() as opened:
        yield opened


@pytest.fixture
def site(database: str, store: QuirkyStore) -> Site:
    return make_site(database, store.bucket(), calm=True)


async def tracked(site: Site, store: QuirkyStore, *keys: str) -> None:
    """Rows, and their objects as the store keeps them."""
    owner = await site.virtual_key()
    for key in keys:
        await site.row(key, owner)
        store.put(store.quirks.spells(key) if store.quirks.spells else key)


ORDERS = ("probe", "bytes", "none")
SPELLED: dict[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    "slashes": (
        lambda key: re.sub("/+", "/", key),
        ("image/2026//a.png", "image//b.png", "image/c//d//e.png"),
    ),
    "backslashes": (lambda key: key.replace("\\", "/"), ("image/back\\slash.png", "image/c\\d\\e.png")),
    "both": (lambda key: re.sub(r"[/\\]+", "/", key), ("image/2026//a.png", "image/c\\d//e.png")),
}


@pytest.mark.attack(76)
@pytest.mark.parametrize(
    ("name", "order"),
    [
        # Byte order is what is dangerous to believe; slashes alone were not noticed once, in any order.
        pytest.param(name, order, marks=() if name == "slashes" or order == "bytes" else pytest.mark.soak)
        for name in SPELLED
        for order in ORDERS
    ],
)
async def test_what_a_store_rewrites_stays_however_its_order_is_declared(
    site: Site, store: QuirkyStore, name: str, order: str
) -> None:
    """A store that rewrites `//` alone was taken for one that rewrites nothing: merged with the rows in byte
    order, live objects look like orphans, and their rows, which then miss them, go in the pass after.
    """
    spells, live = SPELLED[name]
    store.quirks.spells = spells
    plain = tuple(f"image/{number:02}.png" for number in range(30))
    await tracked(site, store, *live, *plain)
    store.put("image/orphan.png")
    for _ in range(3):
        report = await site.once(bucket__listing_order=order)
        assert report.outcome is Outcome.CONVERGED
    assert store.keys() == {spells(key) for key in (*live, *plain)}
    assert await site.rows() == {*live, *plain}


async def test_a_pass_begins_where_the_right_etag_is_refused(site: Site, store: QuirkyStore) -> None:
    """Ceph 16: whoever writes the bucket's identity is told 412 for ever."""
    for condition in PutCondition:
        store.quirks.put_condition = condition
        store.put(f"image/orphan-{condition}")
        report = await site.once()
        assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)


async def test_a_store_over_a_file_system_is_joined_without_order(site: Site, store: QuirkyStore) -> None:
    """JuiceFS: a key is a file, and no key lies below it."""
    store.quirks.directories = store.quirks.no_etags = True
    await tracked(site, store, "image/a", "image/b/c", "image/d.png")
    store.put("image/b/orphan")
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    assert await site.sql("SELECT listing_order FROM reconciler.passes WHERE kind = 'sweep'") == [("none",)]
    assert store.keys() == {"image/a", "image/b/c", "image/d.png"}


@pytest.mark.attack(76)
async def test_an_object_in_a_disguise_that_nobody_has_thought_of_is_not_taken_for_an_orphan(
    site: Site, store: QuirkyStore
) -> None:
    """What no slash explains: HEAD finds it by the row's key, and it has those bytes."""
    store.quirks.spells = lambda key: key.replace(" ", "_").rstrip(".")
    live = ("image/holiday photo.png", "image/trailing.", "image/a b c")
    await tracked(site, store, *live, "image/plain")
    store.put("image/orphan")
    for _ in range(3):
        await site.once()
    assert store.keys() == {"image/holiday_photo.png", "image/trailing", "image/a_b_c", "image/plain"}
    assert await site.rows() == {*live, "image/plain"}


# --- listings that are not whole ----------------------------------------------------------------------


@pytest.mark.attack(77)
@pytest.mark.parametrize("page_size", [1, 2, 3, 4, 7])
async def test_what_lies_below_the_last_key_of_a_full_page_is_listed(
    site: Site, store: QuirkyStore, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    """SeaweedFS ends a listing there: orphans behind were never found, and rows missed theirs."""
    store.quirks.ends_at_directories = True
    live = ("image/a", "image/m", "image/m/1", "image/m/1/2", "image/m/3")
    await tracked(site, store, *live)
    store.put("image/m/1/orphan", "image/m/orphan")
    in_small_pages(monkeypatch, page_size)
    report = await site.once(bucket__listing_order="none")
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 2)
    assert not report.found.get(Verdict.DANGLING)
    assert (store.keys(), await site.rows()) == (set(live), set(live))


@pytest.mark.attack(77)
@pytest.mark.parametrize("page_size", [5, 7])
async def test_pages_of_another_size_show_what_a_contradicted_listing_lacked(
    site: Site, store: QuirkyStore, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    """The same store, and nobody looks below the last key: that is left to the rows and HEADs alone.

    Whatever a store leaves out where pages end, the pages of another size show.
    """
    store.quirks.ends_at_directories = True
    live = [*(f"image/{number}" for number in range(page_size - 1)), "image/m"]
    live += [f"image/m/{number:02}" for number in range(30)]
    await tracked(site, store, *live)
    store.put("image/m/orphan")

    async def as_told(listing: BucketListing, page: ObjectPage, *_: object) -> ObjectPage:
        return page

    monkeypatch.setattr(BucketListing, "_continued", as_told)
    monkeypatch.setattr(sweep, "PAGE_SIZES", (page_size, page_size + 1))
    monkeypatch.setattr(sweep, "SPREAD", 1)
    report = await site.once(bucket__listing_order="none")
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    states = await site.sql("SELECT state FROM reconciler.passes WHERE kind = 'sweep' ORDER BY id")
    assert [state for (state,) in states] == ["failed", "released"]
    assert (store.keys(), await site.rows()) == (set(live), set(live))


@pytest.mark.attack(77)
@pytest.mark.parametrize(
    ("order", "rows"),
    [
        *((order, 60) for order in ORDERS),
        ("probe", 2),
        *(pytest.param(order, 2, marks=pytest.mark.soak) for order in ORDERS[1:]),
    ],
)
async def test_a_bucket_without_an_index_is_not_swept(
    site: Site, store: QuirkyStore, monkeypatch: pytest.MonkeyPatch, order: str, rows: int
) -> None:
    """Ceph's indexless placement: no orphan is found there, and to say that it has converged is not true."""
    store.quirks.no_index = True
    live = {f"image/{number:03}" for number in range(rows)}
    await tracked(site, store, *live)
    await site.row("image/lost")
    store.put("image/orphan")
    settings = {"bucket__listing_order": order, "breaker__max_dangling": "100000"}
    for _ in range(2):
        report = await site.once(**settings)
        assert (report.outcome, report.removed) == (Outcome.FAILED, Removed())
        assert "the listing does not show what was put" in report.detail
    planned, findings = await site.plan(**settings)
    assert (planned.outcome, planned.detail, findings) == (Outcome.FAILED, report.detail, [])
    assert (store.keys(), await site.rows()) == ({*live, "image/orphan"}, {*live, "image/lost"})
    for name, value in site.settings(**settings).items():
        monkeypatch.setenv(name, value)
    (check,) = [each for each in await app.doctor(SettingsSource()) if each.name == "listing"]
    assert check.status is CheckStatus.FAIL


@pytest.mark.attack(77)
async def test_no_row_is_marked_on_a_listing_that_heads_contradict(site: Site, store: QuirkyStore) -> None:
    """Like a bucket that lost its index since the probe, or one that skips most: the orphans it shows go."""
    live = [f"image/{number:03}" for number in range(60)]
    await tracked(site, store, *live)
    store.put("image/orphan")
    store.quirks.skipped = set(live)
    for _ in range(3):
        report = await site.once(breaker__max_dangling="5")
        assert report.outcome is Outcome.CONVERGED
    assert await site.sql("SELECT 1 FROM reconciler.marks WHERE verdict = 'dangling'") == []
    assert (store.keys(), await site.rows()) == (set(live), set(live))
    planned, findings = await site.plan()
    assert (planned.outcome, findings) == (Outcome.CONVERGED, [])


@pytest.mark.attack(77)
@pytest.mark.parametrize(("skipped", "lost"), [(3, 1), (12, 20)])
@pytest.mark.parametrize("order", ["probe", "none"])
async def test_rows_that_miss_their_objects_are_still_found_among_skipped_ones(
    site: Site, store: QuirkyStore, order: str, skipped: int, lost: int
) -> None:
    """A listing that skips few keys, or more where most rows do miss theirs, is believed in the rest."""
    live = [f"image/{number:03}" for number in range(40)]
    await tracked(site, store, *live)
    for number in range(lost):
        await site.row(f"image/lost/{number}")
    store.quirks.skipped = set(live[:skipped])
    settings = {"bucket__listing_order": order, "breaker__max_dangling": "100"}
    reports = [await site.once(**settings) for _ in range(3)]
    assert [report.removed.records for report in reports] == [0, lost, 0]


@pytest.mark.attack(77)
async def test_pages_end_elsewhere_in_each_pass(
    site: Site, store: QuirkyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an orphan that a store leaves out where pages end is found, though no row contradicts it."""
    store.quirks.ends_at_directories = True
    live = [*(f"image/{number}" for number in range(4)), "image/m"]
    await tracked(site, store, *live)
    store.put("image/m/orphan")

    async def as_told(listing: BucketListing, page: ObjectPage, *_: object) -> ObjectPage:
        return page

    monkeypatch.setattr(BucketListing, "_continued", as_told)
    monkeypatch.setattr(sweep, "PAGE_SIZES", (5,))
    monkeypatch.setattr(sweep, "PAGE_SIZE", 5)
    monkeypatch.setattr(sweep, "SPREAD", 3)
    reports = [await site.once(bucket__listing_order="none") for _ in range(3)]
    assert sum(report.removed.objects for report in reports) == 1
    assert (store.keys(), await site.rows()) == (set(live), set(live))


@pytest.mark.parametrize("order", ["probe", "none"])
@pytest.mark.parametrize("odd", ["image/odd\x01", "image/a\x1fb", "image/<&>\x02", "image/bell\x07.png"])
async def test_one_odd_key_ends_no_sweep(
    site: Site, store: QuirkyStore, monkeypatch: pytest.MonkeyPatch, odd: str, order: str
) -> None:
    """Ceph's token is the page's last key, and what XML cannot have is written into it all the same."""
    store.quirks.token_is_last_key = True
    live = [odd, *(f"image/{number:03}" for number in range(9)), "image/zzz"]
    await tracked(site, store, *live)
    store.put("image/orphan", "image/zz-orphan")
    in_small_pages(monkeypatch, 1)
    report = await site.once(bucket__listing_order=order)
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 2)
    assert (store.keys(), await site.rows()) == (set(live), set(live))


# --- objects in parts ---------------------------------------------------------------------------------


@pytest.mark.attack(80)
@pytest.mark.parametrize("mode", ["quarantine", "direct"])
async def test_an_orphan_in_parts_goes_where_the_store_refuses_its_etag(
    site: Site, store: QuirkyStore, mode: str
) -> None:
    """Swift answers 412 to what HEAD tells: three passes converged, and it stayed for good."""
    store.quirks.refuses_etags_of_parts = True
    store.put("image/plain", "image/live")
    await site.row("image/live")
    for key in ("image/orphan", "image/live"):
        store.objects[key] = Stored(b"0123456789", datetime.now(UTC), etag_of([b"01234", b"56789"]))
    report = await site.once(delete_mode=mode)
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 2)
    assert store.keys() == {"image/live"}
    if mode == "quarantine":
        assert (await site.undo(since=datetime.now(UTC) - timedelta(hours=1))).objects == 2
        assert store.objects["image/orphan"].body == b"0123456789"


@pytest.mark.attack(80)
@pytest.mark.parametrize("mode", ["quarantine", "direct"])
@pytest.mark.parametrize("again", [b"new", b"old"], ids=["other bytes", "same bytes, later"])
async def test_an_object_in_parts_that_was_uploaded_again_stays(
    site: Site, store: QuirkyStore, monkeypatch: pytest.MonkeyPatch, mode: str, again: bytes
) -> None:
    """Between its claim and its deletion, which cannot compare: the ETag may be the same, the time is not."""
    store.quirks.refuses_etags_of_parts = True
    store.put("image/plain")
    before, later = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC)
    store.objects["image/a"] = Stored(b"old", before, etag_of([b"old"]))
    look_again = PostgresMarks.look_again

    async def late(*given: Any, **named: Any) -> Mapping[str, str]:
        store.objects["image/a"] = Stored(again, later, etag_of([again]))
        return await look_again(*given, **named)

    monkeypatch.setattr(PostgresMarks, "look_again", late)
    report = await site.once(delete_mode=mode)
    assert (report.found[Verdict.ORPHAN], report.removed.objects) == (2, 1)
    assert store.keys() == {"image/a"}
    assert store.objects["image/a"].body == again
