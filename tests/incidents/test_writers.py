"""What went wrong elsewhere between a deletion and those who write at the same time."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from reconciler.engine.collect import collector
from reconciler.model import KeepReason, Outcome, Verdict
from tests.integration.site import Site, make_site
from tests.support.quirky_store import quirky_store

pytestmark = pytest.mark.anyio

INSERT = """
INSERT INTO "MediaRecords" ("Id", "StorageKey", "VirtualKeyId", "MediaType", "CreatedAt")
VALUES (gen_random_uuid(), $1, $2, 'image', now())
"""


@pytest.mark.incident(8)
async def test_an_upload_whose_row_is_not_yet_committed_keeps_its_object(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-8: no read-only window is needed. An open writer holds deletions off, and what it names stays."""
    monkeypatch.setattr(collector, "HORIZON_PATIENCE", 0.1)
    await ordered_site.put("image/uploaded", "image/orphan")
    owner = await ordered_site.virtual_key()
    writer = await asyncpg.connect(ordered_site.database)
    try:
        async with writer.transaction():
            await writer.execute(INSERT, "image/uploaded", owner)
            report = await ordered_site.once()
            assert (report.outcome, report.found[Verdict.ORPHAN]) == (Outcome.PENDING, 2)
            assert await ordered_site.keys() == {"image/uploaded", "image/orphan"}
    finally:
        await writer.close()
    report = await ordered_site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    assert await ordered_site.state() == ({"image/uploaded"}, {"image/uploaded"})


@pytest.mark.incident(9)
async def test_an_object_that_lands_days_after_its_url_was_given_out_is_normal(database: str) -> None:
    """I-9: it is a young object, whatever the age of its row, and orphans may land at any time."""
    async with quirky_store() as store:
        site = make_site(database, store.bucket())
        await site.row("image/late", age=timedelta(days=9))
        assert (await site.once(grace_period="1h")).found[Verdict.DANGLING] == 1
        store.put("image/late", "image/late-orphan")
        report = await site.once(grace_period="1h")
        assert report.kept[KeepReason.PENDING] == 1
        assert report.removed.objects == report.removed.records == 0
        assert (store.keys(), await site.rows()) == ({"image/late", "image/late-orphan"}, {"image/late"})
        store.put("image/late", "image/late-orphan", age=timedelta(hours=2))
        report = await site.once(grace_period="1h")
        assert report.removed.objects == 1, "and a later sweep finds it"
        assert (store.keys(), await site.rows()) == ({"image/late"}, {"image/late"})


@pytest.mark.incident(10)
@pytest.mark.incident(28)
async def test_what_was_stored_again_since_it_was_listed_is_not_deleted(ordered_site: Site) -> None:
    """I-10, I-28: what a listing said, however old, only nominates. The delete compares what is there."""
    await ordered_site.put("image/again", "image/orphan")
    assert (await ordered_site.once(delete_delay="1h")).outcome is Outcome.PENDING
    ordered_site.bucket.put("image/again", b"other bytes")
    await ordered_site.sql("UPDATE reconciler.marks SET due_at = now() - interval '1 hour'")
    assert (await ordered_site.once()).removed.objects == 1
    assert await ordered_site.keys() == {"image/again"}
    assert ("result", "image/again", "object", "changed") in await ordered_site.ledger()


@pytest.mark.incident(17)
async def test_nothing_brings_back_an_object_that_awaits_its_deletion(ordered_site: Site) -> None:
    """I-17. Nothing makes records yet. A marked object stays marked, whatever its metadata name, and a
    finding of the verdict `adopt` deletes nothing.
    """
    owner = await ordered_site.virtual_key()
    ordered_site.bucket.put("image/orphan", metadata={"virtual-key-id": str(owner)})
    await ordered_site.put("image/adopted")
    await ordered_site.once(delete_delay="1h")
    await ordered_site.sql(
        "UPDATE reconciler.marks SET verdict = 'adopt', due_at = now() - interval '1 hour'"
        " WHERE storage_key = 'image/adopted'"
    )
    report = await ordered_site.once(delete_delay="1h")
    assert (report.outcome, report.found.get(Verdict.ADOPT, 0)) == (Outcome.PENDING, 0)
    await ordered_site.sql("UPDATE reconciler.marks SET due_at = now()")
    # The next sweep finds an orphan there, and withdraws what it does not find.
    assert (await ordered_site.once()).removed.objects == 2
    assert await ordered_site.state() == (set(), set())
