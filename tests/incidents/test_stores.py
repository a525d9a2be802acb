"""What went wrong elsewhere between a deletion and the store's answer."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reconciler.model import Outcome
from tests.integration.site import Site, make_site
from tests.support.quirky_store import Quirks, quirky_store

pytestmark = pytest.mark.anyio

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.incident(37)
async def test_a_deletion_ends_though_somebody_else_was_faster(site: Site) -> None:
    """I-37, on stores that tell nobody what was there before."""
    await site.row("image/expired", ExpiresAt=LONG_AGO)
    await site.put("image/orphan")
    await site.once(delete_delay="1h")
    site.bucket.client.delete_object(Bucket=site.bucket.name, Key="image/orphan")
    await site.sql("UPDATE reconciler.marks SET due_at = now() - interval '1 hour'")
    report = await site.once()
    assert (report.outcome, report.removed.failed) == (Outcome.CONVERGED, 0)
    assert await site.state() == (set(), set())
    assert await site.sql("SELECT 1 FROM reconciler.marks") == []


@pytest.mark.incident(37)
async def test_a_store_that_answers_404_to_a_deletion_has_said_that_it_is_done(database: str) -> None:
    """I-37, on a store that does."""
    async with quirky_store(Quirks(failing={"image/expired": "NoSuchKey"})) as store:
        site = make_site(database, store.bucket())
        await site.row("image/expired", ExpiresAt=LONG_AGO)
        report = await site.once()
        assert (report.outcome, report.removed.records) == (Outcome.CONVERGED, 1)
        assert await site.rows() == set()
        assert ("result", "image/expired", "object", "missing") in await site.ledger()
