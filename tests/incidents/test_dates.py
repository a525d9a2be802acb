"""Dates that nobody can have meant: of a store's objects, and of rows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reconciler.model import Outcome
from tests.integration.site import Site, make_site
from tests.support.quirky_store import Quirks, Stored, quirky_store

pytestmark = [pytest.mark.anyio, pytest.mark.incident(45)]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ZERO_TIMES = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1601, 1, 1, tzinfo=UTC),
    datetime(1899, 12, 30, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1980, 1, 1, tzinfo=UTC),
]


@pytest.mark.incident(45)
@pytest.mark.parametrize("zero", ZERO_TIMES, ids=lambda time: f"{time.year}")
async def test_an_object_with_a_zero_time_stays_and_stops_nothing(database: str, zero: datetime) -> None:
    """I-45: it may be seconds old. An orphan and an expired pair beside it go all the same."""
    async with quirky_store(Quirks()) as store:
        site = make_site(database, store.bucket())
        store.objects["image/fresh"] = Stored(b"fresh", zero)
        store.objects["image/orphan"] = Stored(b"orphan", LONG_AGO)
        store.objects["image/expired"] = Stored(b"expired", zero)
        await site.row("image/expired", ExpiresAt=LONG_AGO)
        _, findings = await site.plan(grace_period="48h")
        assert {each.storage_key for each in findings} == {"image/orphan", "image/expired"}
        for mode in ("quarantine", "direct"):
            report = await site.once(grace_period="48h", delete_mode=mode)
            assert report.outcome is Outcome.CONVERGED, report.detail
        assert store.keys() == {"image/fresh"}
        assert await site.rows() == set()


async def test_a_mark_that_an_older_version_left_with_a_zero_time_stops_nothing(ordered_site: Site) -> None:
    """I-45: it is put off, and the others go; what is known of the object by now makes it go in its time."""
    site = ordered_site
    await site.put("image/a", "image/b")
    await site.once(delete_delay="1h")
    await site.sql(
        "UPDATE reconciler.marks SET due_at = now() - interval '1 minute', object_last_modified ="
        " CASE storage_key WHEN 'image/a' THEN '-infinity' ELSE object_last_modified END"
    )
    report = await site.once()
    assert report.removed.failed == 0
    assert await site.keys() == {"image/a"}


@pytest.mark.parametrize("zero", ["0001-01-01", "1970-01-01", "-infinity", "4713-01-01 BC", "infinity"])
async def test_a_row_whose_dates_are_zero_times_is_of_unknown_age(ordered_site: Site, zero: str) -> None:
    site = ordered_site
    now = datetime.now(UTC)
    columns = ("ExpiresAt", "CreatedAt", "LastAccessedAt")
    for column in columns:
        await site.put(f"image/{column}")
        await site.row(f"image/{column}", LastAccessedAt=now, CreatedAt=LONG_AGO)
        await site.sql(
            f'UPDATE "MediaRecords" SET "{column}" = \'{zero}\' WHERE "StorageKey" = $1', f"image/{column}"
        )
    await site.row("image/missing", CreatedAt=LONG_AGO, LastAccessedAt=now)
    await site.sql(
        f'UPDATE "MediaRecords" SET "CreatedAt" = \'{zero}\' WHERE "StorageKey" = \'image/missing\''
    )
    for _ in range(2):
        assert (await site.once(grace_period="48h")).outcome is Outcome.CONVERGED
    kept = {f"image/{column}" for column in columns}
    assert await site.state() == (kept, {*kept, "image/missing"})
