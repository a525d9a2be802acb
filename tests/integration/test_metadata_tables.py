"""Sweeps by S3 Metadata: its live inventory table nominates, and a HEAD has to show the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler import app
from reconciler.model import CheckStatus, KeepReason, Outcome, Verdict
from reconciler.settings import SettingsSource
from tests.integration.site import DAY, Site
from tests.servers import S3Server, fresh_bucket
from tests.support.inventories import IDENTITY
from tests.support.metadata_tables import LiveTable, Version, aged

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

OLD = 5 * DAY
"""Older than 48 h before any snapshot here."""

LIVE = frozenset({*(f"image/{number:03}" for number in range(30)), "video/a b+c%20é/ö"})


@pytest.fixture
def table(ordered_site: Site, moto: S3Server, tmp_path: Path) -> Iterator[LiveTable]:
    with fresh_bucket(moto) as files:
        made = LiveTable(ordered_site.bucket, files, tmp_path)
        made.state()
        yield made


@pytest.fixture
def site(ordered_site: Site, table: LiveTable) -> Iterator[Site]:
    with table.catalog() as address:
        changes = {
            "sweep__source": "s3_metadata",
            "inventory__catalog": address,
            "upload_window": "0s",
        }
        yield Site(ordered_site.database, ordered_site.bucket, ordered_site.settings(**changes))


async def scene(site: Site) -> None:
    """Media of all four kinds: tracked, orphaned, missing, and of nobody's concern."""
    owner = await site.virtual_key()
    await site.tracked(*LIVE, owner=owner)
    await site.put("image/orphan", "video/or phan+%20", "elsewhere/orphan")
    await site.row("image/missing", owner, age=OLD)


def in_parts(site: Site, key: str) -> None:
    """Put an object in parts; S3 shows that in its ETag."""
    where = {"Bucket": site.bucket.name, "Key": key}
    client = site.bucket.client
    upload = client.create_multipart_upload(**where)["UploadId"]
    part = client.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"x")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})


async def test_a_live_table_finds_what_a_listing_finds(site: Site, table: LiveTable) -> None:
    await scene(site)
    now = table.listed()
    orphan = next(each for each in now if each.key == "image/orphan")
    history = [
        # Versions of long ago, and one that is gone though its marker does not stand last in the file.
        replace(orphan, sequence="1", etag="before"),
        Version("image/gone", "2"),
        Version("image/gone", "3", marker=True),
        Version("image/gone", "1"),
        Version("image/000", "7", marker=True),
    ]
    table.deliver([*now, *history])
    planned, findings = await site.plan()
    assert (planned.objects, planned.records, planned.detail) == (33, 32, "")
    assert {each.storage_key: each.verdict for each in findings} == {
        "image/orphan": Verdict.ORPHAN,
        "video/or phan+%20": Verdict.ORPHAN,
        "image/missing": Verdict.DANGLING,
    }
    first = await site.once()
    assert (first.outcome, first.removed.objects, first.removed.records) == (Outcome.PENDING, 2, 0)
    # The same snapshot again has no second word.
    assert (await site.once()).removed.records == 0
    table.deliver()
    last = await site.once()
    assert (last.outcome, last.removed.records) == (Outcome.CONVERGED, 1)
    assert await site.state() == ({*LIVE, "elsewhere/orphan"}, {*LIVE})


async def test_an_upload_in_parts_counts_from_what_a_head_says(site: Site, table: LiveTable) -> None:
    """The table dates it by when the upload began: one that is complete only now still waits for its row."""
    await site.tracked(*LIVE)
    in_parts(site, "image/parts")
    await site.put("image/plain")
    begun = datetime.now(UTC) - 9 * DAY

    def told(at: datetime) -> list[Version]:
        return [
            replace(each, modified=at) if each.key in {"image/parts", "image/plain"} else each
            for each in table.listed()
        ]

    table.deliver(told(begun))
    report = await site.once(upload_window="1h")
    assert (report.removed.objects, report.kept[KeepReason.PENDING]) == (0, 2)
    # Without that window it is old enough. What came whole and has another date is another object.
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    assert await site.keys() == {*LIVE, "image/plain"}
    # A HEAD that says earlier than the table is of an older object than that.
    in_parts(site, "image/parts")
    table.deliver(told(datetime.now(UTC) + timedelta(seconds=2)))
    report = await site.once()
    assert report.removed.objects == 0
    assert await site.keys() == {*LIVE, "image/parts", "image/plain"}


def _no_snapshot(answer: dict[str, Any]) -> None:
    answer["metadata"] |= {"snapshots": [], "snapshot-log": [], "refs": {}, "current-snapshot-id": None}


def _no_metadata(answer: dict[str, Any]) -> None:
    del answer["metadata"]["schemas"]


def _listed_at(answer: dict[str, Any], location: str) -> None:
    for each in answer["metadata"]["snapshots"]:
        each["manifest-list"] = location


async def test_a_table_that_is_not_as_it_should_be_is_refused_as_a_whole(
    site: Site, table: LiveTable
) -> None:
    """Each once, by one line; nothing is marked for any of them."""
    await scene(site)
    await site.sql("""UPDATE "MediaRecords" SET "CreatedAt" = now() - interval '5 days'""")
    lines, everything = [*table.listed(), Version(IDENTITY, "8")], await site.state()
    table.deliver(lines)

    async def refused(expected: str, outcome: Outcome = Outcome.FAILED) -> None:
        report = await site.once()
        assert (report.outcome, report.removed.objects) == (outcome, 0)
        assert expected in report.detail
        assert "\n" not in report.detail
        assert await site.sql("SELECT storage_key FROM reconciler.marks") == []

    table.state("")
    await refused("the bucket has no S3 Metadata configuration")
    table.state("BACKFILLING")
    await refused("is BACKFILLING, and not ACTIVE")
    table.state(enabled=False)
    await refused("is disabled")
    table.state(error="AccessDenied")
    await refused("has failed: AccessDenied")
    table.state()
    for spoil, expected in (
        (_no_snapshot, "has no snapshot yet"),
        (_no_metadata, "has metadata that cannot be read"),
        (partial(_listed_at, location="file:///etc/passwd"), "is in no bucket of this store"),
        (partial(_listed_at, location=f"s3://{table.files.name}/none"), "inventory file none is gone"),
        (partial(_listed_at, location=table.with_deletes()), "has delete files"),
        (partial(aged, milliseconds=72 * 3_600_000), "longer ago than 3d"),
    ):
        table.spoil = spoil
        await refused(expected)
    table.spoil = lambda _: None
    table.refuse = 403
    await refused("s3tables:GetTableMetadataLocation", Outcome.HALTED)
    table.refuse = None
    first = lines[0].key
    for some, expected in (
        (
            [replace(each, bucket="another") if each.key == first else each for each in lines],
            "of bucket 'another'",
        ),
        ([each for each in lines if not each.key.startswith("image/00")], "less than nine tenths"),
        # An old row whose object the table lacks, which HEAD finds: the table lacks it, not the bucket.
        ([each for each in lines if each.key != "image/000"], "lacks 'image/000'"),
        # A delete marker that is not the truth.
        ([*lines, Version("image/000", "9", marker=True)], "lacks 'image/000'"),
    ):
        table.deliver(some)
        await refused(expected)
    table.deliver([each for each in lines if each.key != IDENTITY], marked=False)
    await refused("lacks .reconciler/identity.json")
    table.deliver(lines)
    some_file = table.data_files()[0]
    body = table.files.client.get_object(Bucket=table.files.name, Key=some_file)["Body"].read()
    table.files.put(some_file, body[:-1])
    await refused("B of its manifest")
    table.files.client.delete_object(Bucket=table.files.name, Key=some_file)
    await refused("is gone")
    assert await site.state() == everything
    for status, expected in ((CheckStatus.OK, "which began"), (CheckStatus.FAIL, "is BACKFILLING")):
        found_checks = await app.doctor(SettingsSource(site.environment))
        (check,) = [each for each in found_checks if each.name == "inventory"]
        assert (check.status, expected in check.detail) == (status, True)
        table.state("BACKFILLING")
