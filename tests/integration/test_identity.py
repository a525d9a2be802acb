"""Bucket and database belong together, or nothing happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.model import Outcome
from reconciler.operations.status import status
from tests.integration.site import Site, make_site
from tests.servers import fresh_bucket

pytestmark = [pytest.mark.anyio, pytest.mark.calm, pytest.mark.probes]

MARKER = ".reconciler/identity.json"


async def test_first_contact_writes_the_marker_and_the_row(site: Site) -> None:
    await site.once(dry_run="true")
    assert MARKER in await anyio_keys(site)
    ((bucket,),) = await site.sql("SELECT bucket FROM reconciler.site")
    assert bucket == site.bucket.name


async def anyio_keys(site: Site) -> set[str]:
    return site.bucket.keys(".reconciler/")


async def test_probing_leaves_nothing_but_the_marker(site: Site) -> None:
    await site.once()
    assert await anyio_keys(site) == {MARKER}


@pytest.mark.incident(5)
async def test_another_database_halts_before_a_foreign_bucket(
    ordered_site: Site, other_database: str
) -> None:
    await ordered_site.put("image/theirs")
    assert (await ordered_site.once(dry_run="true")).outcome is Outcome.CONVERGED
    stranger = make_site(other_database, ordered_site.bucket)
    report = await stranger.once()
    planned, _ = await stranger.plan()
    ((site_id,),) = await ordered_site.sql("SELECT site_id::text FROM reconciler.site")
    ((own_id,),) = await stranger.sql("SELECT site_id::text FROM reconciler.site")
    assert report.outcome is planned.outcome is Outcome.HALTED
    assert site_id in report.detail
    assert own_id in report.detail
    assert "image/theirs" in await ordered_site.keys()


async def test_a_database_tied_to_one_bucket_refuses_another(ordered_site: Site) -> None:
    await ordered_site.once(dry_run="true")
    with fresh_bucket(ordered_site.bucket.server) as other:
        report = await ordered_site.once(bucket__name=other.name)
    assert report.outcome is Outcome.HALTED
    assert other.name in report.detail
    assert ordered_site.bucket.name in report.detail


async def test_a_bucket_that_lost_its_marker_halts(site: Site) -> None:
    """Emptied and made anew, or another endpoint under the same name: both look like this."""
    await site.tracked("image/a")
    await site.once()
    site.bucket.client.delete_object(Bucket=site.bucket.name, Key=MARKER)
    report = await site.once()
    assert report.outcome is Outcome.HALTED
    assert "identity" in report.detail
    async with site.catalog() as catalog:
        (halt,) = (await status(catalog)).halts
    assert halt.halted == report.detail


async def test_changed_prefixes_are_written_to_both_sides(ordered_site: Site) -> None:
    await ordered_site.once()
    await ordered_site.once(bucket__prefixes='["image/"]')
    ((prefixes,),) = await ordered_site.sql("SELECT prefixes FROM reconciler.site")
    assert prefixes == ["image/"]
    body = ordered_site.bucket.client.get_object(Bucket=ordered_site.bucket.name, Key=MARKER)["Body"]
    assert b"video/" not in body.read()


def test_the_readme_names_the_marker() -> None:
    assert ".reconciler/" in (Path(__file__).parents[2] / "README.md").read_text()
