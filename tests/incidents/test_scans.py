"""What went wrong elsewhere while both sides were being read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.errors import StoreUnavailable
from reconciler.model import KeepReason, ObjectPage, Outcome, Verdict
from tests.integration.site import Site
from tests.support.ports import interpose

pytestmark = pytest.mark.anyio

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

RUNS_OUT = (
    """
    CREATE FUNCTION reconciler.runs_out() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.storage_key LIKE 'video/%' THEN
            RAISE EXCEPTION 'too many connections' USING ERRCODE = '53300';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER runs_out BEFORE INSERT ON reconciler.marks
        FOR EACH ROW EXECUTE FUNCTION reconciler.runs_out()
    """,
)


@pytest.mark.incident(2)
async def test_what_comes_of_age_while_the_bucket_is_listed_is_left_to_the_next_pass(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-2: the cutoff is the server's time before either side is read, however long that takes."""
    put = False

    async def put_then_list(list_page: Any, *args: Any, **kwargs: Any) -> ObjectPage:
        nonlocal put
        while not put:
            (cutoff,) = (await ordered_site.sql("SELECT max(cutoff) AS at FROM reconciler.passes"))[0]
            await ordered_site.put("image/late")
            answer = ordered_site.bucket.client.head_object(Bucket=ordered_site.bucket.name, Key="image/late")
            put = answer["LastModified"] > cutoff  # whole seconds
        page: ObjectPage = await list_page(*args, **kwargs)
        return page

    with monkeypatch.context() as patched:
        interpose(patched, "listing", list_page=put_then_list)
        report = await ordered_site.once()
    assert (report.found, report.kept[KeepReason.PENDING]) == ({}, 1)
    assert await ordered_site.keys() == {"image/late"}
    assert (await ordered_site.once()).removed.objects == 1


@pytest.mark.incident(3)
@pytest.mark.incident(1)
async def test_a_database_that_runs_out_of_connections_while_marking_releases_nothing(site: Site) -> None:
    """I-3, I-1: an error on the rows' side ends the pass as one on the bucket's does."""
    await site.put("image/orphan", "video/orphan")
    for statement in RUNS_OUT:
        await site.sql(statement)
    report = await site.once()
    assert report.outcome is Outcome.FAILED
    assert await site.keys() == {"image/orphan", "video/orphan"}
    assert await site.sql("SELECT 1 FROM reconciler.passes WHERE state = 'released'") == []
    await site.sql("DROP TRIGGER runs_out ON reconciler.marks")
    assert (await site.once()).removed.objects == 2


@pytest.mark.incident(4)
async def test_every_row_keeps_its_object_whatever_its_owner_and_state(site: Site) -> None:
    """I-4: no predicate narrows the keep-set, and nothing outside the prefixes is looked at."""
    disabled = await site.virtual_key(enabled=False)
    expired = await site.virtual_key(expires_at=LONG_AGO)
    await site.tracked("image/of-disabled", owner=disabled)
    await site.tracked("image/of-expired", owner=expired)
    await site.put("image/expired", "image/stale", "unmanaged/file")
    await site.row("image/expired", ExpiresAt=LONG_AGO)
    await site.row("image/stale", age=timedelta(days=900))
    everything = await site.state()
    report = await site.once(revoked_key_policy="keep", enable_auto_cleanup="false")
    assert report.objects == 4
    assert report.found.get(Verdict.ORPHAN, 0) == 0, "every object has a row"
    assert report.removed.objects == report.removed.records == 0
    assert await site.state() == everything


@pytest.mark.incident(30)
async def test_a_store_that_times_out_has_not_said_that_it_is_empty(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-30. Twice, since a record without its object goes at its second sighting."""

    async def time_out(list_page: Any, *args: Any, **kwargs: Any) -> ObjectPage:
        raise StoreUnavailable("no answer in time")

    await ordered_site.tracked("image/live", "video/live")
    await ordered_site.sql('UPDATE "MediaRecords" SET "CreatedAt" = now() - interval \'9 days\'')
    with monkeypatch.context() as patched:
        interpose(patched, "listing", list_page=time_out)
        for _ in range(2):
            report = await ordered_site.once()
            assert (report.outcome, dict(report.found)) == (Outcome.FAILED, {})
    assert await ordered_site.sql("SELECT 1 FROM reconciler.marks") == []
    report = await ordered_site.once()
    assert (report.outcome, report.removed.records) == (Outcome.CONVERGED, 0)
    assert await ordered_site.rows() == {"image/live", "video/live"}
