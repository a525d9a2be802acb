"""Deletion that can be undone, on real servers: what goes is in quarantine first."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

import anyio.to_thread
import pytest

from reconciler.model import Copied, CopyRequest, Outcome
from reconciler.stores.s3 import parsing
from reconciler.stores.s3.quarantine import BucketCopies
from tests.integration.site import Site, make_site
from tests.integration.test_crash import kill_once
from tests.support.quirky_store import Quirks, quirky_store

pytestmark = pytest.mark.anyio

KEY = "image/" + "x" * 200 + "/" + "\u00e9" * 100


async def quarantined(site: Site) -> set[str]:
    return await anyio.to_thread.run_sync(site.bucket.keys, ".reconciler/quarantine/")


async def hidden(site: Site) -> list[tuple[str, str]]:
    rows = await site.sql("SELECT storage_key, state FROM reconciler.hidden ORDER BY storage_key")
    return [(row[0], row[1]) for row in rows]


async def expired(site: Site, *keys: str) -> None:
    await site.put(*keys)
    for key in keys:
        await site.row(key, ExpiresAt=datetime.now(UTC) - timedelta(hours=1), SizeBytes=1)


async def test_what_goes_lies_in_quarantine_under_a_hashed_name(site: Site) -> None:
    await site.tracked("image/live")
    await site.put(KEY)
    await expired(site, "video/expired")
    report = await site.once(delete_mode="auto")
    assert (report.outcome, report.removed.objects, report.removed.bytes) == (Outcome.CONVERGED, 2, 2)
    assert await site.state() == ({"image/live"}, {"image/live"})
    intents = await site.sql(
        "SELECT DISTINCT operation_id, storage_key FROM reconciler.ledger WHERE event = 'intent'"
    )
    names = {
        f".reconciler/quarantine/{row[0]}/{hashlib.sha256(row[1].encode()).hexdigest()}" for row in intents
    }
    assert await quarantined(site) == names
    assert await hidden(site) == [(KEY, "hidden"), ("video/expired", "hidden")]
    assert [row[0] for row in await site.sql("SELECT recoverable FROM reconciler.tombstones")] == [True] * 2


async def test_the_ledger_keeps_the_removed_row_and_where_its_object_is(site: Site) -> None:
    await expired(site, "image/a")
    (before,) = await site.sql('SELECT "Id"::text, "StorageKey", "SizeBytes"::text FROM "MediaRecords"')
    await site.once(delete_mode="quarantine")
    (row,) = await site.sql(
        "SELECT row_columns, row_values FROM reconciler.ledger WHERE event = 'result' AND what = 'record'"
    )
    kept = dict(zip(row[0], row[1], strict=True))
    assert [kept[name] for name in ("Id", "StorageKey", "SizeBytes")] == list(before)
    (found,) = await site.sql(
        "SELECT recovery::text FROM reconciler.ledger WHERE event = 'result' AND what = 'object'"
    )
    recovery = json.loads(found[0])
    assert (recovery["mode"], recovery["bytes"]) == ("quarantine", 1)
    assert await quarantined(site) == {recovery["quarantine_key"]}


@pytest.mark.attack(10)
async def test_the_quarantine_is_not_quarantined_itself(site: Site) -> None:
    """Under the prefix "" everything is managed, but for our own corner."""
    await site.tracked("image/live")
    await site.put("anything")
    for _ in range(2):
        report = await site.once(delete_mode="quarantine", bucket__prefixes='[""]')
        assert report.outcome is Outcome.CONVERGED
    assert report.removed.objects == 0
    assert len(await quarantined(site)) == 1


@pytest.mark.parametrize(
    "where",
    [
        ("copies", "copy", "after"),
        ("store", "delete", "after"),
    ],
    ids="-".join,
)
async def test_a_run_that_was_killed_leaves_one_copy_and_knows_it(
    unordered_site: Site, where: tuple[str, str, str]
) -> None:
    site = unordered_site
    await site.tracked("image/live")
    await site.put("image/orphan")
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await kill_once(site, *where)
    report = await site.once()
    assert report.outcome is Outcome.CONVERGED, report
    assert await site.state() == ({"image/live"},) * 2
    assert await hidden(site) == [("image/orphan", "hidden")]
    (row,) = await site.sql("SELECT quarantine_key FROM reconciler.hidden")
    assert await quarantined(site) == {row[0]}


@pytest.mark.attack(10)
async def test_an_object_that_was_put_beside_its_copy_stays(ordered_site: Site) -> None:
    """The claim is killed between copy and delete, and the key is put again: the copy is of no use."""
    site = ordered_site
    await site.put("image/orphan")
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await kill_once(site, "store", "delete", "before")
    await anyio.to_thread.run_sync(site.bucket.put, "image/orphan", b"another")
    report = await site.once(grace_period="1h")
    assert report.removed.objects == 0
    assert await site.keys() == {"image/orphan"}
    assert (await hidden(site), await quarantined(site)) == ([], set())
    purged = await site.sql("SELECT storage_key FROM reconciler.ledger WHERE event = 'purged'")
    assert [row[0] for row in purged] == ["image/orphan"]


@pytest.mark.probes
async def test_where_the_store_makes_no_copies_a_dry_run_works_and_live_halts_at_once(database: str) -> None:
    """Not key by key: each object would end on hold, and stay there when the store has learnt to copy."""
    quirks = Quirks(makes_no_copies=True)
    async with quirky_store(quirks) as store:
        site = make_site(database, store.bucket())
        store.put("image/a", "image/b")
        report = await site.once(delete_mode="auto", dry_run="true")
        assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 2)
        for mode in ("auto", "quarantine"):
            report = await site.once(delete_mode=mode)
            assert (report.outcome, report.removed.failed) == (Outcome.HALTED, 0)
            assert "the store makes no copies" in report.detail
            assert "RECONCILER_DELETE_MODE=direct" in report.detail
        assert store.keys() == {"image/a", "image/b"}
        assert await site.sql("SELECT target FROM reconciler.holds") == []
        assert await site.ledger() == []
        quirks.makes_no_copies = False
        report = await site.once(delete_mode="auto")
        assert (report.outcome, store.keys()) == (Outcome.CONVERGED, set())


@pytest.mark.parametrize("standard", ["STANDARD", "another class"])
async def test_a_copy_goes_unlooked_at_only_where_all_that_was_listed_is_of_the_standard_class(
    unordered_site: Site, monkeypatch: pytest.MonkeyPatch, standard: str
) -> None:
    """Else it would be brought back in another class than it had."""
    sizes: list[object] = []
    copy = BucketCopies.copy

    async def recorded(copies: BucketCopies, wanted: CopyRequest) -> Copied:
        sizes.append(wanted.listed_size)
        return await copy(copies, wanted)

    monkeypatch.setattr(BucketCopies, "copy", recorded)
    monkeypatch.setattr(parsing, "STANDARD", standard)
    await unordered_site.put("image/orphan")
    await unordered_site.once(delete_mode="quarantine")
    assert sizes == [1 if standard == "STANDARD" else None]
    assert await unordered_site.keys() == set()
