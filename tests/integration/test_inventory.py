"""Sweeps by the store's inventory: it nominates, and what it lacks or lies about costs nothing that lives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler import app
from reconciler.engine.detect.join import doubt
from reconciler.model import Check, CheckStatus, KeepReason, Outcome, Verdict
from reconciler.settings import SettingsSource
from tests.integration.site import DAY, Site
from tests.servers import Bucket, S3Server, fresh_bucket
from tests.support.inventories import IDENTITY, Inventory, Listed

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

OLD = 5 * DAY
"""Older than 48 h before any inventory here began."""


@pytest.fixture
def delivered(moto: S3Server) -> Iterator[Bucket]:
    with fresh_bucket(moto) as bucket:
        yield bucket


@pytest.fixture
def site(ordered_site: Site) -> Site:
    changes = {"sweep__source": "inventory", "inventory__id": "daily", "upload_window": "0s"}
    return Site(ordered_site.database, ordered_site.bucket, ordered_site.settings(**changes))


@pytest.fixture
def inventory(site: Site, delivered: Bucket) -> Inventory:
    made = Inventory(site.bucket, delivered)
    made.configure()
    return made


async def looked_at(site: Site) -> list[Check]:
    """What doctor says of the inventory."""
    found = await app.doctor(SettingsSource(site.environment))
    return [check for check in found if check.name == "inventory"]


async def scene(site: Site) -> None:
    """Media of all four kinds: tracked, orphaned, missing, and of nobody's concern."""
    owner = await site.virtual_key()
    await site.tracked(*(f"image/{number:03}" for number in range(30)), "video/a b+c%20é/ö", owner=owner)
    await site.put("image/orphan", "video/or phan+%20", "elsewhere/orphan")
    await site.row("image/missing", owner, age=OLD)


FINDINGS = {
    "image/orphan": Verdict.ORPHAN,
    "video/or phan+%20": Verdict.ORPHAN,
    "image/missing": Verdict.DANGLING,
}


@pytest.mark.parametrize("form", ["CSV", "ORC"])
async def test_a_plan_reads_the_other_formats_too(
    site: Site, inventory: Inventory, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory.form = form
    inventory.configure()
    await scene(site)
    # Every row is old enough to be missing, and no HEAD puts right what the join should not name.
    monkeypatch.setattr(doubt, "LOOKS", 0)
    await site.sql("""UPDATE "MediaRecords" SET "CreatedAt" = now() - interval '5 days'""")
    # Versions that are not there any more, and delete markers, are no objects.
    past = [Listed("image/000", latest=False), Listed("image/past", size=0, marker=True)]
    inventory.deliver([*inventory.listed(), *past])
    report, findings = await site.plan()
    assert (report.objects, report.records, report.detail) == (33, 32, "")
    assert {each.storage_key: each.verdict for each in findings} == FINDINGS


async def test_what_an_inventory_shows_goes_as_what_a_listing_shows(site: Site, inventory: Inventory) -> None:
    await scene(site)
    live = {key for key in await site.keys() if "orphan" not in key and "or phan" not in key}
    inventory.deliver()
    planned, findings = await site.plan()
    assert (planned.objects, planned.records, planned.detail) == (33, 32, "")
    assert {each.storage_key: each.verdict for each in findings} == FINDINGS
    first = await site.once()
    assert (first.outcome, first.objects, first.records) == (Outcome.PENDING, 33, 32)
    assert (first.removed.objects, first.removed.records) == (2, 0)
    assert await site.keys() == live | {"elsewhere/orphan"}
    # The same inventory again has no second word; what it still lists is not found by HEAD.
    again = await site.once()
    assert (again.outcome, again.found.get(Verdict.ORPHAN, 0), again.removed.records) == (
        Outcome.PENDING,
        0,
        0,
    )
    inventory.deliver()
    last = await site.once()
    assert (last.outcome, last.removed.records) == (Outcome.CONVERGED, 1)
    assert await site.rows() == live


def _other_bucket(manifest: dict[str, Any], _: dict[str, bytes]) -> None:
    manifest["sourceBucket"] = "another"


def _damaged(_: dict[str, Any], files: dict[str, bytes]) -> None:
    name, body = next(iter(files.items()))
    files[name] = body[:-1] + bytes([body[-1] ^ 1])


def _cut_off(_: dict[str, Any], files: dict[str, bytes]) -> None:
    name, body = next(iter(files.items()))
    files[name] = body[:-1]


def _gone(_: dict[str, Any], files: dict[str, bytes]) -> None:
    del files[next(iter(files))]


def _unreadable(manifest: dict[str, Any], _: dict[str, bytes]) -> None:
    del manifest["creationTimestamp"]


async def test_an_inventory_that_is_not_as_it_should_be_is_refused_as_a_whole(
    site: Site, inventory: Inventory, delivered: Bucket
) -> None:
    """Each once, by one line; nothing is marked for any of them."""
    await scene(site)
    await site.sql("""UPDATE "MediaRecords" SET "CreatedAt" = now() - interval '5 days'""")
    lines = [*inventory.listed(), Listed(IDENTITY)]
    now, everything = datetime.now(UTC), await site.state()

    async def refused(expected: str, **changes: str) -> None:
        report = await site.once(**changes)
        assert (report.outcome, report.removed.objects) == (Outcome.FAILED, 0)
        assert expected in report.detail
        assert "\n" not in report.detail
        assert await site.sql("SELECT storage_key FROM reconciler.marks") == []

    await refused("no complete inventory is under reports/")
    inventory.deliver(lines, spoil=_other_bucket)
    await refused("is of bucket 'another'")
    inventory.deliver(lines, spoil=_unreadable)
    await refused("has a manifest that cannot be read")
    inventory.deliver(lines, spoil=_damaged)
    await refused("its manifest says")
    inventory.deliver(lines, spoil=_cut_off)
    await refused("B of its manifest")
    inventory.deliver(lines, spoil=_gone)
    await refused("is gone: did a lifecycle rule take it?")
    folder = inventory.deliver(lines)
    delivered.put(f"{folder}/manifest.checksum", b"0" * 32)
    await refused("its manifest's MD5 is")
    inventory.deliver(lines, began=now - 73 * timedelta(hours=1))
    await refused("longer ago than 3d")
    inventory.deliver([each for each in lines if each.key != IDENTITY], marked=False)
    await refused("lacks .reconciler/identity.json")
    inventory.deliver(
        [each for each in lines if each.key not in {"image/000", "image/001", "image/002", "image/003"}]
    )
    await refused("the table has rows for 31: less than nine tenths")
    # An old row without its object in it, which HEAD finds: the list lacks it, not the bucket.
    inventory.deliver([each for each in lines if each.key != "image/000"])
    await refused("lacks 'image/000'")
    for changes, expected in (
        ({"IsEnabled": False}, "is disabled"),
        ({"Filter": {"Prefix": "image/"}}, "is filtered by 'image/'"),
        ({"OptionalFields": ["Size", "ETag"]}, "lacks the optional fields LastModifiedDate"),
    ):
        inventory.configure(**changes)
        await refused(expected)
    await refused("the bucket has no inventory configuration 'weekly'", inventory__id="weekly")
    assert await site.state() == everything
    assert [each.status for each in await looked_at(site)] == [CheckStatus.FAIL]
    inventory.configure()
    inventory.deliver(lines)
    (check,) = await looked_at(site)
    assert (check.status, "which began" in check.detail) == (CheckStatus.OK, True)


async def test_one_that_is_older_or_smaller_than_the_last_is_refused(
    site: Site, inventory: Inventory
) -> None:
    await scene(site)
    inventory.deliver()
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.PENDING, 2)
    kept = await site.keys()
    inventory.deliver(began=datetime.now(UTC) - timedelta(hours=2))
    assert "before the one last used" in (await site.once()).detail
    # The rows are gone as well: only what the last sweep saw speaks for the objects.
    await site.sql('DELETE FROM "MediaRecords"')
    inventory.deliver([each for each in inventory.listed() if (each.key or "") < "image/02"])
    report = await site.once()
    assert report.outcome is Outcome.FAILED
    assert "since the last sweep there should be" in report.detail
    assert await site.keys() == kept


async def test_what_changed_since_the_inventory_stays(site: Site, inventory: Inventory) -> None:
    """Put again with the same bytes (the same ETag), or with others; and what has its row only now."""
    await site.tracked(*(f"image/{number:03}" for number in range(20)))
    await site.put("image/again", "image/other", "image/late", "image/gone", "image/orphan")
    lines = inventory.listed()
    long_ago = datetime.now(UTC) - 9 * DAY
    again = {"image/again", "image/other"}
    inventory.deliver([replace(each, modified=long_ago) if each.key in again else each for each in lines])
    await site.row("image/late")
    site.bucket.client.delete_object(Bucket=site.bucket.name, Key="image/gone")
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    assert report.kept[KeepReason.PENDING] == 2
    assert await site.keys() == {each.key for each in lines} - {"image/gone", "image/orphan"}


async def test_the_claim_looks_again_at_what_an_inventory_nominated(site: Site, inventory: Inventory) -> None:
    """The store compares the ETag, which is the same: only a HEAD tells that it was put again."""
    await site.tracked(*(f"image/{number:03}" for number in range(20)))
    await site.put("image/orphan", "image/again")
    inventory.deliver()
    waiting = await site.once(dry_run="true")
    assert waiting.found[Verdict.ORPHAN] == 2
    # As if it had been put a second later than the inventory and the mark say.
    await site.sql(
        "UPDATE reconciler.marks SET object_last_modified = object_last_modified - interval '1 second'"
        " WHERE storage_key = 'image/again'"
    )
    report = await site.once()
    assert (report.removed.objects, report.outcome) == (1, Outcome.CONVERGED)
    assert "image/again" in await site.keys()
    assert "image/orphan" not in await site.keys()


async def test_rows_and_objects_that_are_too_young_are_kept_and_counted(
    site: Site, inventory: Inventory
) -> None:
    """A row counts by when the inventory began, an object by when the rows were read."""
    await site.tracked(*(f"image/{number:03}" for number in range(20)))
    owner = await site.virtual_key()
    await site.row("image/unripe", owner, age=2 * DAY)
    await site.row("image/ripe", owner, age=2 * DAY + timedelta(hours=2))
    await site.put("image/fresh")
    lines = [*inventory.listed(), Listed("image/undated"), Listed(None)]
    inventory.deliver(lines)
    report = await site.once(grace_period="1h", upload_window="1h")
    assert report.found.get(Verdict.ORPHAN, 0) == 0
    assert report.found[Verdict.DANGLING] == 1
    assert report.kept[KeepReason.REPLACEMENT_CHARACTER] == 1
    marked = await site.sql("SELECT storage_key FROM reconciler.marks")
    assert [row[0] for row in marked] == ["image/ripe"]
    assert report.objects == 22


async def test_the_breaker_and_an_approval_hold_for_it_too(site: Site, inventory: Inventory) -> None:
    await site.tracked(*(f"image/{number:03}" for number in range(20)))
    await site.put(*(f"image/orphan-{number}" for number in range(5)))
    inventory.deliver()
    report = await site.once(breaker__max_count="3")
    assert (report.outcome, report.found[Verdict.ORPHAN]) == (Outcome.TRIPPED, 5)
    assert "4 orphans" in report.detail or "5 orphans" in report.detail
    await site.approve(await site.tripped())
    collected = await site.once(breaker__max_count="3")
    assert collected.removed.objects >= 4
    assert len(await site.keys()) <= 21
