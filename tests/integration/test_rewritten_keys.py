"""A store that takes `a//b` for `a/b`: what a row names is not what is listed, and lives all the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.model import KeepReason, Outcome
from tests.integration.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.mark.attack(15)
async def test_a_row_protects_the_key_that_the_store_made_of_its_own(unordered_site: Site) -> None:
    await unordered_site.tracked("image//b", "image/c\\d", "image/plain")
    # Of other bytes: what equals the object of a row that the listing lacks may be that object.
    unordered_site.bucket.put("image/orphan", b"other bytes")
    report = await unordered_site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    assert await unordered_site.keys() == {"image/b", "image/c/d", "image/plain"}
    assert await unordered_site.rows() == {"image//b", "image/c\\d", "image/plain"}
    assert report.kept[KeepReason.UNKNOWN_SHAPE] == 2


@pytest.mark.attack(15)
@pytest.mark.parametrize("spelling", ["image//live", "image/./live", "image/a/../live"])
async def test_an_expired_row_takes_no_object_of_another_spelling(
    unordered_site: Site, spelling: str
) -> None:
    await unordered_site.tracked("image/live")
    await unordered_site.row(spelling, ExpiresAt=AGO)
    assert (await unordered_site.once()).outcome is Outcome.CONVERGED
    assert await unordered_site.state() == ({"image/live"}, {"image/live", spelling})


@pytest.mark.attack(25)
async def test_an_expired_row_leaves_its_object_to_a_row_of_another_spelling(unordered_site: Site) -> None:
    await unordered_site.tracked("image//live")
    await unordered_site.row("image/live", ExpiresAt=AGO)
    report = await unordered_site.once()
    assert (report.removed.objects, report.removed.records) == (0, 1)
    assert await unordered_site.state() == ({"image/live"}, {"image//live"})


@pytest.mark.attack(25)
async def test_a_row_of_another_spelling_saves_a_marked_orphan(unordered_site: Site) -> None:
    await unordered_site.put("image/late")
    await unordered_site.once(delete_delay="1h")
    await unordered_site.row("image//late")
    await unordered_site.sql("UPDATE reconciler.marks SET due_at = now()")
    await unordered_site.once(orphan_cleanup_enabled="true")
    assert await unordered_site.keys() == {"image/late"}


async def test_a_declared_order_is_not_believed_of_such_a_store(unordered_site: Site) -> None:
    await unordered_site.tracked("image//b")
    await unordered_site.once(bucket__listing_order="bytes")
    assert await unordered_site.keys() == {"image/b"}


async def test_a_store_that_keeps_keys_as_they_are_collects_them(ordered_site: Site) -> None:
    await ordered_site.tracked("image//live")
    await ordered_site.put("image/live", "image//orphan")
    report = await ordered_site.once()
    assert report.removed.objects == 2
    assert await ordered_site.keys() == {"image//live"}
