"""`undo` on real servers: objects and rows come back as they were, and stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio.to_thread
import pytest

from reconciler.engine.recover.undo import LISTED
from reconciler.model import Mode, Outcome, Return
from reconciler.stores.s3 import parsing
from reconciler.stores.s3.quarantine import BucketCopies
from tests.integration.kill_at import killed_at
from tests.integration.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture(autouse=True)
def undoable(request: pytest.FixtureRequest) -> None:
    for name in {"site", "ordered_site", "unordered_site"} & set(request.fixturenames):
        request.getfixturevalue(name).environment["RECONCILER_DELETE_MODE"] = "auto"


async def expired(site: Site, *keys: str, **columns: Any) -> None:
    await site.put(*keys)
    for key in keys:
        await site.row(key, **{"ExpiresAt": LONG_AGO, "SizeBytes": 1, **columns})


async def whole_rows(site: Site) -> list[str]:
    found = await site.sql('SELECT to_jsonb(m)::text FROM "MediaRecords" m ORDER BY "StorageKey"')
    return [row[0] for row in found]


async def bodies(site: Site) -> dict[str, tuple[bytes, str]]:
    def read(key: str) -> tuple[bytes, str]:
        answer = site.bucket.client.get_object(Bucket=site.bucket.name, Key=key)
        with answer["Body"] as stream:
            return stream.read(), answer["ContentType"]

    return {key: await anyio.to_thread.run_sync(read, key) for key in await site.keys()}


async def latest_pass(site: Site) -> int:
    (row,) = await site.sql("SELECT max(pass_id) FROM reconciler.hidden")
    return int(row[0])


async def test_objects_and_rows_come_back_as_they_were_and_stay(site: Site) -> None:
    await site.tracked("image/live")
    await expired(site, "image/a", "video/b", Prompt="a cat", ContentType="image/png", AccessCount=7)
    await site.put("image/orphan")
    before = await whole_rows(site), await bodies(site)
    assert (await site.once()).removed.objects == 3
    undone = await site.undo(since=LONG_AGO)
    assert (undone.objects, undone.records, undone.bytes, undone.complete) == (3, 2, 3, True)
    assert (await whole_rows(site), await bodies(site)) == before
    report = await site.once()
    assert (report.outcome, report.removed.objects, report.removed.records) == (Outcome.CONVERGED, 0, 0)
    assert (await whole_rows(site), await bodies(site)) == before


async def test_a_second_undo_finds_nothing_left_to_do(unordered_site: Site) -> None:
    await expired(unordered_site, "image/a")
    await unordered_site.once()
    assert (await unordered_site.undo(keys=("image/a",))).objects == 1
    again = await unordered_site.undo(keys=("image/a",))
    assert (again.objects, again.records, again.present, again.complete) == (0, 0, 0, True)


async def test_only_what_the_scope_names_comes_back(unordered_site: Site) -> None:
    site = unordered_site
    await expired(site, "image/a")
    await site.once()
    first = await latest_pass(site)
    await expired(site, "image/b", "image/c")
    await site.once()
    assert (await site.undo(keys=("image/c",))).objects == 1
    assert await site.state() == ({"image/c"},) * 2
    assert (await site.undo(pass_id=first)).objects == 1
    assert await site.state() == ({"image/a", "image/c"},) * 2
    assert (await site.undo(until=LONG_AGO)).objects == 0
    assert (await site.undo(since=LONG_AGO)).objects == 1
    assert await site.state() == ({"image/a", "image/b", "image/c"},) * 2


async def test_a_dry_run_tells_and_does_nothing(unordered_site: Site) -> None:
    await expired(unordered_site, "image/a")
    await unordered_site.once()
    before, tombs = await unordered_site.ledger(), "SELECT storage_key FROM reconciler.tombstones"
    undone = await unordered_site.undo(Mode.DRY_RUN, since=LONG_AGO)
    assert (undone.objects, undone.records) == (1, 1)
    assert await unordered_site.state() == (set(), set())
    assert (await unordered_site.ledger(), len(await unordered_site.sql(tombs))) == (before, 1)
    assert await unordered_site.sql("SELECT 1 FROM reconciler.holds") == []


async def test_another_object_at_the_key_is_not_written_over(site: Site) -> None:
    """Moto ignores the condition of a copy: the look before it counts as well."""
    await expired(site, "image/a")
    await site.once()
    await anyio.to_thread.run_sync(site.bucket.put, "image/a", b"another")
    undone = await site.undo(since=LONG_AGO)
    assert [each.outcome for each in undone.refused] == [Return.REFUSED]
    assert "not written over" in undone.refused[0].reason
    assert (await bodies(site))["image/a"][0] == b"another"
    assert await site.rows() == set()


async def test_the_same_object_put_again_gets_its_row_back(unordered_site: Site) -> None:
    await expired(unordered_site, "image/a")
    await unordered_site.once()
    await unordered_site.put("image/a")
    undone = await unordered_site.undo(since=LONG_AGO)
    assert (undone.objects, undone.records, undone.present, undone.complete) == (0, 1, 1, True)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_what_a_cut_off_undo_had_copied_is_known_though_copies_have_etags_of_their_own(
    unordered_site: Site, *, encrypted: bool
) -> None:
    """As where the store encrypts with a key of one's own: only the size tells. Elsewhere the ETag does."""
    site = unordered_site
    await expired(site, "image/a")
    await site.once()
    if encrypted:
        await site.sql("UPDATE reconciler.hidden SET etag = 'of the original'")
    await anyio.to_thread.run_sync(site.bucket.put, "image/a", b"y")
    undone = await site.undo(since=LONG_AGO)
    assert (undone.present, undone.records, undone.complete) == (int(encrypted), int(encrypted), encrypted)


async def test_a_row_whose_owner_is_gone_is_reported_and_can_be_undone_later(unordered_site: Site) -> None:
    site = unordered_site
    owner = await site.virtual_key()
    await site.put("image/a")
    await site.row("image/a", owner, ExpiresAt=LONG_AGO)
    await site.once()
    await site.sql('DELETE FROM "VirtualKeys"')
    before = await site.ledger()
    would = await site.undo(Mode.DRY_RUN, since=LONG_AGO)
    assert (would.objects, would.records) == (1, 0), "a dry run promises no row that cannot come"
    assert "what it belongs to is gone" in would.refused[0].reason
    assert (await site.ledger(), await site.state()) == (before, (set(), set()))
    undone = await site.undo(since=LONG_AGO)
    assert (undone.objects, undone.records) == (1, 0)
    assert "what it belongs to is gone" in undone.refused[0].reason
    assert str(owner) in undone.refused[0].reason
    await site.sql(
        'INSERT INTO "VirtualKeys" ("Id", "KeyName", "KeyHash") VALUES ($1, $2, $2)', owner, "again"
    )
    assert (await site.undo(since=LONG_AGO)).records == 1
    assert await site.state() == ({"image/a"},) * 2


async def test_computed_new_and_dropped_columns_are_no_obstacle(unordered_site: Site) -> None:
    site = unordered_site
    await site.sql(
        'ALTER TABLE "MediaRecords" ADD COLUMN "Old" text DEFAULT \'x\','
        ' ADD COLUMN "Twice" bigint GENERATED ALWAYS AS ("SizeBytes" * 2) STORED,'
        ' ADD COLUMN "Number" bigint GENERATED ALWAYS AS IDENTITY'
    )
    await expired(site, "image/a", SizeBytes=21)
    (number,) = await site.sql('SELECT "Number" FROM "MediaRecords"')
    await site.once()
    await site.sql(
        'ALTER TABLE "MediaRecords" DROP COLUMN "Old", ADD COLUMN "New" text NOT NULL DEFAULT \'n\''
    )
    assert (await site.undo(since=LONG_AGO)).records == 1
    (row,) = await site.sql('SELECT "Twice", "New", "Number" FROM "MediaRecords"')
    assert tuple(row) == (42, "n", number[0])


async def test_a_row_whose_object_went_for_good_stays_away(unordered_site: Site) -> None:
    await expired(unordered_site, "image/a")
    await unordered_site.once(delete_mode="direct")
    for mode in (Mode.DRY_RUN, Mode.LIVE):
        undone = await unordered_site.undo(mode, since=LONG_AGO)
        assert (undone.objects, undone.records, undone.gone, undone.complete) == (0, 0, 1, False)
        assert "deleted for good" in undone.refused[0].reason
    assert await unordered_site.rows() == set()


@pytest.mark.incident(16)
async def test_a_dangling_record_that_was_removed_comes_back(unordered_site: Site) -> None:
    """Its object is lost, not its row: whoever finds the object again finds the row as well."""
    site = unordered_site
    await site.row("image/lost", Prompt="a cat")
    before = await whole_rows(site)
    for _ in range(2):
        await site.once()
    assert await site.rows() == set()
    undone = await site.undo(since=LONG_AGO)
    assert (undone.objects, undone.records, undone.complete) == (0, 1, True)
    assert await whole_rows(site) == before
    for _ in range(2):
        await site.once()
    assert await whole_rows(site) == before


@pytest.mark.parametrize("standard", ["STANDARD", "another class"])
async def test_many_copies_come_back_unlooked_at_only_where_all_are_listed_in_the_standard_class(
    unordered_site: Site, monkeypatch: pytest.MonkeyPatch, standard: str
) -> None:
    site, looked = unordered_site, set[str]()
    keys = [f"image/{number}" for number in range(LISTED)]
    await expired(site, *keys)
    await site.once()
    look = BucketCopies._look

    async def recorded(copies: BucketCopies, key: str, *of: Any, **asked: Any) -> Any:
        looked.add(key)
        return await look(copies, key, *of, **asked)

    monkeypatch.setattr(BucketCopies, "_look", recorded)
    monkeypatch.setattr(parsing, "STANDARD", standard)
    undone = await site.undo(since=LONG_AGO)
    assert (undone.objects, undone.records, undone.complete) == (LISTED, LISTED, True)
    assert await site.keys() == set(keys)
    assert looked >= set(keys) if standard != "STANDARD" else not looked


UNDO = ("undo", "--since", "1h", "--json")


@pytest.mark.parametrize(
    "where",
    [
        ("recovery", "claim_returns", "after"),
        ("copies", "copy", "after"),
        ("recovery", "put_back", "after"),
    ],
    ids="-".join,
)
@pytest.mark.calm(False)
async def test_an_undo_that_was_killed_is_finished_by_the_next(
    unordered_site: Site, where: tuple[str, str, str]
) -> None:
    site = unordered_site
    await expired(site, "image/a", "image/b")
    before = await whole_rows(site)
    await site.once()
    await killed_at(site, *where, *UNDO)
    assert (await site.undo(since=LONG_AGO)).complete
    assert await whole_rows(site) == before
    assert await site.keys() == {"image/a", "image/b"}
    restored = await site.sql(
        "SELECT storage_key, what FROM reconciler.ledger WHERE event = 'restored' ORDER BY 1, 2"
    )
    assert [tuple(row) for row in restored] == [
        (key, what) for key in ("image/a", "image/b") for what in ("object", "record")
    ]
