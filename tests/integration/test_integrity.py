"""Objects that are not what their rows say are told by sweep and plan, in byte order or not, and stay."""

from __future__ import annotations

from hashlib import md5

import pytest

from reconciler.model import KeepReason, Verdict
from tests.integration.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

HASHED = {"catalog__media_columns__content_hash": "ContentHash"}


async def scene(site: Site) -> None:
    """Objects hold one byte. Three are not what their rows say."""
    await site.tracked("image/right", "video/right")
    await site.put("image/long", "image/unknown", "image/hashed", "image/other", "image/sha256")
    await site.row("image/long", SizeBytes=7)
    await site.row("image/unknown", SizeBytes=None)
    for key, told in {
        "image/hashed": (await site_etag(site, "image/hashed")).upper(),
        "image/other": md5(b"something else").hexdigest(),
        "image/sha256": "0" * 64,
    }.items():
        await site.row(key, ContentHash=told)


async def site_etag(site: Site, key: str) -> str:
    etag: str = site.bucket.client.head_object(Bucket=site.bucket.name, Key=key)["ETag"]
    return etag.strip('"')


@pytest.mark.incident(56)
async def test_they_are_counted_listed_and_never_deleted(site: Site) -> None:
    await scene(site)
    before = await site.state()
    assert (await site.once()).found.get(Verdict.MISMATCH, 0) == 0, "the first sweep does not compare"
    await site.sql("UPDATE reconciler.passes SET cutoff = cutoff - interval '7 days'")
    for _ in range(2):  # the second of these does not compare, and recalls
        report = await site.once(**HASHED)
        assert report.found[Verdict.MISMATCH] == report.kept[KeepReason.MISMATCH] == 2
        assert report.removed.objects == report.removed.records == 0
    compared = await site.sql(
        "SELECT (tally ->> 'compared')::int FROM reconciler.passes WHERE kind = 'sweep' ORDER BY id"
    )
    assert [row[0] for row in compared] == [0, 7, 0]
    assert await site.sql("SELECT FROM reconciler.marks") == []
    assert await site.state() == before
    _, findings = await site.plan(**HASHED)
    told = {each.storage_key: each.reason for each in findings}
    assert {*told} == {"image/long", "image/other"}
    assert told["image/long"] == "the row says 7 bytes, the object has 1"
    _, sizes = await site.plan()
    assert {each.storage_key for each in sizes} == {"image/long"}


async def test_what_is_mended_is_seen_by_the_next_comparison_and_never_says_nothing(site: Site) -> None:
    await site.put("image/long")
    await site.row("image/long", SizeBytes=7)
    assert (await site.once(integrity_interval="0s")).found[Verdict.MISMATCH] == 1
    await site.sql('UPDATE "MediaRecords" SET "SizeBytes" = 1')
    assert (await site.once()).found[Verdict.MISMATCH] == 1
    assert (await site.once(integrity_interval="0s")).found.get(Verdict.MISMATCH, 0) == 0
    await site.sql('UPDATE "MediaRecords" SET "SizeBytes" = 7')
    assert (await site.once(integrity_interval="never")).found.get(Verdict.MISMATCH, 0) == 0
    assert (await site.plan(integrity_interval="never"))[1] == []
