"""Stores that strangers run, by the quirk of each that once cost live objects or ended every sweep."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable

import pytest

from reconciler.model import Outcome, PutCondition
from tests.integration.site import Site, make_site
from tests.support.quirky_store import QuirkyStore, quirky_store

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


SPELLED: list[tuple[Callable[[str], str], tuple[str, ...]]] = [
    (lambda key: re.sub("/+", "/", key), ("image/2026//a.png", "image//b.png", "image/c//d//e.png")),
    (lambda key: key.replace("\\", "/"), ("image/back\\slash.png", "image/c\\d\\e.png")),
    (lambda key: re.sub(r"[/\\]+", "/", key), ("image/2026//a.png", "image/c\\d//e.png")),
]


@pytest.mark.attack(76)
@pytest.mark.parametrize("order", ["probe", "bytes", "none"])
@pytest.mark.parametrize(("spells", "live"), SPELLED, ids=["slashes", "backslashes", "both"])
async def test_what_a_store_rewrites_stays_however_its_order_is_declared(
    site: Site, store: QuirkyStore, spells: Callable[[str], str], live: tuple[str, ...], order: str
) -> None:
    """A store that rewrites `//` alone was taken for one that rewrites nothing: merged with the rows in byte
    order, live objects look like orphans, and their rows, which then miss them, go in the pass after.
    """
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
    """Ceph 16: whoever writes the bucket's marker is told 412 for ever."""
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
    assert await site.sql("SELECT listing_order FROM reconciler.passes WHERE marker = 'sweep'") == [("none",)]
    assert store.keys() == {"image/a", "image/b/c", "image/d.png"}
