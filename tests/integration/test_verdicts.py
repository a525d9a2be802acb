"""Every verdict of the design's table, on real servers, with and without byte order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import anyio.to_thread
import pytest

from reconciler.catalog import migrate
from reconciler.model import KeepReason, Outcome, Verdict
from tests.integration.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
LONG_AGO = timedelta(days=400)


async def test_tracked_media_stays(site: Site) -> None:
    await site.tracked("image/a", "image/b", "video/c")
    report = await site.once()
    assert report.outcome is Outcome.CONVERGED
    assert (report.objects, report.records) == (3, 3)
    assert await site.state() == ({"image/a", "image/b", "video/c"},) * 2


async def test_an_object_whose_record_left_goes(site: Site) -> None:
    await anyio.to_thread.run_sync(lambda: migrate.upgrade(site.database, with_triggers=True))
    await site.tracked("image/live", "image/left")
    await site.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', "image/left")
    patient = {"delete_mode": "auto", "delete_delay": "24h", "grace_period": "48h"}
    report, findings = await site.plan(**patient)
    assert [(each.verdict, each.storage_key) for each in findings] == [(Verdict.DEPARTED, "image/left")]
    assert report.kept.get(KeepReason.PENDING, 0) == 0
    report = await site.once(**patient)
    assert report.found[Verdict.DEPARTED] == 1
    assert (report.removed.objects, report.removed.records, report.removed.bytes) == (1, 0, 1)
    assert await site.state() == ({"image/live"}, {"image/live"})


async def test_an_orphan_goes(site: Site) -> None:
    await site.tracked("image/live")
    await site.put("image/orphan")
    report = await site.once()
    assert report.found[Verdict.ORPHAN] == 1
    assert (report.removed.objects, report.removed.records, report.removed.bytes) == (1, 0, 1)
    assert await site.state() == ({"image/live"}, {"image/live"})


@pytest.mark.incident(9)
async def test_an_orphan_within_its_grace_stays_and_is_counted(site: Site) -> None:
    await site.put("image/young")
    report = await site.once(grace_period="1h")
    assert report.kept[KeepReason.PENDING] == 1
    assert report.found.get(Verdict.ORPHAN, 0) == 0
    assert await site.keys() == {"image/young"}


async def test_a_dangling_record_goes_on_its_second_sighting(site: Site) -> None:
    await site.tracked("image/live")
    await site.row("image/gone")
    first = await site.once()
    assert (first.outcome, first.found[Verdict.DANGLING]) == (Outcome.PENDING, 1)
    assert await site.rows() == {"image/live", "image/gone"}
    second = await site.once()
    assert (second.outcome, second.removed.records) == (Outcome.CONVERGED, 1)
    assert await site.rows() == {"image/live"}


async def test_a_dangling_record_whose_object_came_back_stays(site: Site) -> None:
    await site.row("image/late")
    await site.once()
    await site.put("image/late")
    assert (await site.once()).removed.records == 0
    assert await site.state() == ({"image/late"}, {"image/late"})


async def test_a_young_dangling_record_stays(site: Site) -> None:
    await site.row("image/young", age=timedelta(minutes=1))
    for _ in range(2):
        report = await site.once(grace_period="1h")
        assert report.kept[KeepReason.PENDING] == 1
    assert await site.rows() == {"image/young"}


async def test_expired_media_goes_on_both_sides(site: Site) -> None:
    await site.tracked("image/live")
    await site.put("image/expired")
    await site.row("image/expired", ExpiresAt=NOW - HOUR, SizeBytes=7)
    report = await site.once()
    assert report.found[Verdict.EXPIRED] == 1
    assert (report.removed.objects, report.removed.records, report.removed.bytes) == (1, 1, 7)
    assert await site.state() == ({"image/live"}, {"image/live"})


# Retention reads no listing: after expired media, one store shows what it finds.


async def test_stale_media_goes_unless_it_was_accessed(ordered_site: Site) -> None:
    site = ordered_site
    await site.put("image/stale", "image/read")
    await site.row("image/stale", age=LONG_AGO)
    await site.row("image/read", age=LONG_AGO, LastAccessedAt=NOW - HOUR)
    report = await site.once()
    assert report.found[Verdict.STALE] == 1
    assert await site.state() == ({"image/read"}, {"image/read"})


@pytest.mark.parametrize("how", ["disabled", "expired"])
async def test_media_of_a_revoked_key_goes(ordered_site: Site, how: str) -> None:
    site = ordered_site
    revoked = await site.virtual_key(
        enabled=how != "disabled", expires_at=NOW - HOUR if how == "expired" else None
    )
    await site.tracked("image/live")
    await site.tracked("image/banned", owner=revoked)
    report = await site.once()
    assert report.found[Verdict.REVOKED] == 1
    assert await site.state() == ({"image/live"}, {"image/live"})


async def test_media_of_a_revoked_key_stays_under_the_policy_keep(ordered_site: Site) -> None:
    site = ordered_site
    await site.tracked("image/banned", owner=await site.virtual_key(enabled=False))
    report = await site.once(revoked_key_policy="keep")
    assert (report.found[Verdict.REVOKED], report.kept[KeepReason.DISABLED]) == (1, 1)
    assert await site.keys() == {"image/banned"}


async def test_media_of_a_key_disabled_a_moment_ago_stays_for_the_grace(ordered_site: Site) -> None:
    site = ordered_site
    await site.tracked("image/banned", owner=await site.virtual_key(enabled=False))
    for _ in range(2):
        assert (await site.once(key_grace="1h")).found.get(Verdict.REVOKED, 0) == 0
    assert await site.keys() == {"image/banned"}


async def test_ownerless_media_goes_where_no_foreign_key_holds_it(ordered_site: Site) -> None:
    site = ordered_site
    await site.tracked("image/live")
    await site.tracked("image/ownerless", owner=(owner := await site.virtual_key()))
    (constraint,) = await site.sql(
        "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = '\"MediaRecords\"'::regclass"
    )
    await site.sql(f'ALTER TABLE "MediaRecords" DROP CONSTRAINT "{constraint[0]}"')
    await site.sql('DELETE FROM "VirtualKeys" WHERE "Id" = $1', owner)
    report = await site.once()
    assert report.found[Verdict.OWNERLESS] == 1
    assert await site.state() == ({"image/live"}, {"image/live"})


async def test_media_beyond_a_quota_goes_until_its_owner_is_at_it(ordered_site: Site) -> None:
    site = ordered_site
    owner = await site.virtual_key()
    for place in range(4):
        await site.put(f"image/{place}")
        await site.row(f"image/{place}", owner, age=timedelta(days=50 - place), SizeBytes=10)
    await site.tracked("image/others")
    report = await site.once(quota__max_bytes="25", quota__evict="oldest")
    assert report.found[Verdict.OVER_QUOTA] == 2
    assert await site.state() == ({"image/2", "image/3", "image/others"},) * 2


async def test_what_is_outside_the_managed_prefixes_is_not_even_listed(site: Site) -> None:
    await site.put("images/beside", "imag", "other/orphan")
    await site.row("images/row-beside")
    report = await site.once()
    assert report.objects == 0
    assert report.kept[KeepReason.OUTSIDE_PREFIX] == 1
    assert await site.state() == ({"images/beside", "imag", "other/orphan"}, {"images/row-beside"})


@pytest.mark.probes
async def test_the_whole_bucket_can_be_managed_but_never_our_own_corner(site: Site) -> None:
    await site.put("orphan", "image/orphan")
    report = await site.once(bucket__prefixes='[""]')
    assert (report.objects, report.removed.objects) == (2, 2)
    assert await site.keys() == set()
    assert site.bucket.keys(".reconciler/") == {".reconciler/identity.json"}


async def test_a_folder_marker_stays_and_is_counted(site: Site) -> None:
    await site.put("image/folder/", "image/folder/live")
    await site.row("image/folder/live")
    report = await site.once()
    assert report.kept[KeepReason.FOLDER_MARKER] == 1
    assert await site.keys() == {"image/folder/", "image/folder/live"}


async def test_a_key_of_another_shape_stays_and_is_counted(site: Site) -> None:
    await site.put("image/2026/a.png", "image/readme.txt")
    report = await site.once(bucket__key_shape=r"image/\d{4}/.*\.png")
    assert report.kept[KeepReason.UNKNOWN_SHAPE] == 1
    assert await site.keys() == {"image/readme.txt"}


@pytest.mark.parametrize(
    ("switch", "verdict"),
    [
        ("orphan_cleanup_enabled", Verdict.ORPHAN),
        ("dangling_cleanup_enabled", Verdict.DANGLING),
        ("enable_auto_cleanup", Verdict.EXPIRED),
    ],
)
async def test_a_switched_off_kind_is_found_and_kept(
    ordered_site: Site, switch: str, verdict: Verdict
) -> None:
    site = ordered_site
    await site.put("image/orphan", "image/expired")
    await site.row("image/expired", ExpiresAt=NOW - HOUR)
    await site.row("image/dangling")
    before = await site.state()
    others = {"orphan_cleanup_enabled", "dangling_cleanup_enabled", "enable_auto_cleanup"} - {switch}
    for _ in range(2):
        report = await site.once(**{switch: "false"})
        assert report.found[verdict] == 1
        assert report.kept[KeepReason.DISABLED] == 1
    keys, rows = await site.state()
    survivors = {"orphan": "image/orphan", "dangling": "image/dangling", "expired": "image/expired"}
    assert survivors[verdict.value] in keys | rows
    assert len(others) == 2
    assert (keys, rows) != before


async def test_an_object_that_a_live_row_names_stays_though_another_row_has_expired(site: Site) -> None:
    """Two rows may name one key where the mapped schema has no unique index on it."""
    found = await site.sql(
        "SELECT conname FROM pg_constraint WHERE contype = 'u' AND conrelid = '\"MediaRecords\"'::regclass"
    )
    for (constraint,) in found:
        await site.sql(f'ALTER TABLE "MediaRecords" DROP CONSTRAINT "{constraint}"')
    await site.put("image/shared")
    await site.row("image/shared", ExpiresAt=NOW - HOUR)
    await site.row("image/shared")
    report = await site.once()
    assert (report.removed.objects, report.removed.records) == (0, 1)
    assert await site.state() == ({"image/shared"}, {"image/shared"})


async def test_a_second_run_finds_nothing(site: Site) -> None:
    await site.tracked("image/live")
    await site.put("image/orphan", "image/expired")
    await site.row("image/expired", ExpiresAt=NOW - HOUR)
    await site.once()
    report = await site.once()
    assert (sum(report.found.values()), report.removed.objects, report.outcome) == (0, 0, Outcome.CONVERGED)


ODD_KEYS = [
    "image/with space",
    "image/plus+plus",
    "image/per%cent%20",
    "image/am&p;",
    "image/<tag>",
    "image/quo\"te'",
    "image/emoji-\U0001f600",
    "image/umlaut-äöü",
    "image/dollar$at@colon:",
]


async def test_odd_keys_are_compared_and_deleted_like_any_other(site: Site) -> None:
    for number, key in enumerate(ODD_KEYS):
        await site.put(key)
        if number % 2:
            await site.row(key)
    report = await site.once()
    live = {key for number, key in enumerate(ODD_KEYS) if number % 2}
    assert report.removed.objects == len(ODD_KEYS) - len(live)
    assert await site.state() == (live, live)


@pytest.mark.attack(44)
async def test_a_row_with_a_key_beyond_every_store_ends_no_sweep(ordered_site: Site) -> None:
    """No index holds it, so it cannot be marked; where the gateway's column has none, it takes it."""
    endless = "image/" + "".join(sha256(bytes([number])).hexdigest() for number in range(100))
    await ordered_site.sql(
        'ALTER TABLE "MediaRecords" DROP CONSTRAINT "MediaRecords_StorageKey_key",'
        ' ALTER "StorageKey" TYPE text'
    )
    await ordered_site.row(endless)
    await ordered_site.put("image/orphan")
    report = await ordered_site.once()
    assert (report.outcome, report.kept[KeepReason.UNKNOWN_SHAPE]) == (Outcome.CONVERGED, 1)
    assert await ordered_site.state() == (set(), {endless})
