"""The gateway's rows as the engine reads them, on a real Postgres."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.catalog import migrate
from reconciler.catalog.db import bounds
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.open import open_catalog
from reconciler.model import KeyRange, ObjectPage, Record, Verdict
from reconciler.model.keys import prefix_end
from reconciler.planning.retention import judge_record
from tests.contract.catalog import DAY, LONG_AGO, POLICY, Stage, staged

ODD = [
    "image/ space",
    "image/%41&<>\"'",
    "image/+plus",
    "image/A",
    "image/Z",
    "image/_",
    "image/a",
    "image/a\nb\t\\",
    "image/a b",
    "image/a-b",
    "image/a.b",
    "image/a/b",
    "image/ab",
    "image/\u00e9",
    "image/\ud7ff",
    "image/\uff5e",
    "image/\U0001f600",
]
"""In byte order, which no locale keeps."""


async def _all_keys(stage: Stage, span: KeyRange, limit: int) -> list[str]:
    keys: list[str] = []
    while True:
        page = await stage.catalog.records.keys_in(
            replace(span, after=max(span.after, keys[-1] if keys else "")), limit
        )
        keys += page
        if len(page) < limit:
            return keys


# --- keys ------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.incident(13)
async def test_keys_come_in_byte_order_whatever_the_window(stage: Stage) -> None:
    assert sorted(ODD, key=str.encode) == ODD
    for key in random.Random(1).sample(ODD, len(ODD)):
        await stage.add_row(key)
    for limit in (1, 3, 100):
        assert await _all_keys(stage, KeyRange(prefix="image/"), limit) == ODD


@pytest.mark.anyio
@pytest.mark.incident(13)
@pytest.mark.debian("postgresql-15")
@pytest.mark.parametrize("create_index", [False, True])
async def test_keys_come_in_byte_order_on_a_database_with_a_locale(
    icu_empty_database: str, create_index: bool
) -> None:
    """The gateway's own column sorts as people do; with the index and without it bytes decide."""
    sql = await asyncpg.connect(icu_empty_database)
    await sql.execute(GATEWAY.format(id="uuid", vk="integer"))
    await sql.execute('INSERT INTO "VirtualKeys" ("Id", "IsEnabled") VALUES (1, true)')
    for key in ODD:
        await sql.execute(INSERT, key)
    await sql.close()
    await _migrate(CatalogConfig(database_url=icu_empty_database), create_index=create_index)
    async with open_catalog(CatalogConfig(database_url=icu_empty_database)) as catalog:
        assert (catalog.report.byte_order_index is not None) is create_index
        keys = await catalog.records.keys_in(KeyRange(prefix="image/"), 100)
        assert list(keys) == ODD
        first, last = ODD[2], ODD[-4]
        span = KeyRange(prefix="image/", after=first, upto=last)
        assert list(await catalog.records.keys_in(span, 100)) == ODD[3:-3]
        found = await catalog.records.lookup(ODD)
        assert sorted(row.storage_key for row in found) == sorted(ODD)
        assert list(await catalog.records.sample_keys("image/", 100)) == ODD
        assert await catalog.records.count(["image/"]) == len(ODD)


@pytest.mark.anyio
async def test_a_range_is_open_below_and_closed_above(stage: Stage) -> None:
    for key in "abcde":
        await stage.add_row(f"image/{key}")
    records = stage.catalog.records
    span = KeyRange(prefix="image/", after="image/b", upto="image/d")
    assert list(await records.keys_in(span, 10)) == ["image/c", "image/d"]
    assert list(await records.keys_in(replace(span, after=""), 10)) == [f"image/{key}" for key in "abcd"]
    assert list(await records.keys_in(replace(span, upto=None), 10)) == [f"image/{key}" for key in "cde"]
    assert list(await records.keys_in(replace(span, after="image/d"), 10)) == []


@pytest.mark.anyio
@pytest.mark.incident(6)
async def test_siblings_and_our_own_corner_are_never_read(stage: Stage) -> None:
    rows = ["image", "image/a", "image0", "images/a", ".reconciler/kind", "a", "z"]
    for key in rows:
        await stage.add_row(key)
    records = stage.catalog.records
    assert list(await records.keys_in(KeyRange(prefix="image/"), 10)) == ["image/a"]
    assert list(await records.keys_in(KeyRange(prefix=""), 10)) == sorted(
        key for key in rows if not key.startswith(".reconciler/")
    )
    assert await records.count(["image/"]) == 1
    assert await records.count_outside(["image/"]) == 5
    assert await records.count(["image/", "image/a/", "images/"]) == 2
    assert await records.count([""]) == 6
    assert await records.count_outside([""]) == 0


@pytest.mark.anyio
async def test_pages_in_order_are_read_from_an_index_alone(stage: Stage) -> None:
    """Without one, each page would sort the table: 25 s against 3.4 for a million rows."""
    records = stage.catalog.records
    await stage.sql.execute(
        'INSERT INTO "MediaRecords" ("StorageKey", "VirtualKeyId", "MediaType")'
        " SELECT prefix || md5(n::text), $1, 'image'"
        " FROM generate_series(1, 20000) n, unnest(ARRAY['image/', 'video/']) prefix",
        stage.owner,
    )
    await stage.sql.execute('ANALYZE "MediaRecords"')
    both = ("image/", "video/")
    assert await records.reads_in_order(both, 1_000)
    await stage.sql.execute('ALTER TABLE "MediaRecords" DROP CONSTRAINT "MediaRecords_StorageKey_key"')
    assert not await records.reads_in_order(both, 1_000)
    assert await records.reads_in_order(both, 20_000), "one page of each prefix is one sorted read"
    assert await records.reads_in_order(("nothing/",), 1_000)


@pytest.mark.anyio
async def test_a_sample_is_ascending_and_evenly_drawn(stage: Stage) -> None:
    await stage.sql.execute(
        'INSERT INTO public."MediaRecords" ("StorageKey", "VirtualKeyId", "MediaType")'
        " SELECT 'image/' || lpad(n::text, 6, '0'), $1, 'image' FROM generate_series(0, 59999) n",
        stage.owner,
    )
    await stage.sql.execute('ANALYZE public."MediaRecords"')
    for count in (10, 100):
        keys = list(await stage.catalog.records.sample_keys("image/", count))
        assert keys == sorted(set(keys))
        assert count // 2 <= len(keys) <= 2 * count
        assert keys[0] < "image/030000" < keys[-1]
    assert list(await stage.catalog.records.sample_keys("video/", 10)) == []


@given(
    prefixes=st.lists(st.text("ab./0", max_size=3).map(lambda text: f"{text}/"), max_size=4),
    key=st.text("ab./0c", max_size=6),
)
def test_every_key_is_inside_or_outside_the_prefixes_or_our_own(prefixes: list[str], key: str) -> None:
    def within(stretches: bounds.Bounds) -> int:
        return sum(low <= key and (high is None or key < high) for low, high in stretches)

    ours = key.startswith(".reconciler/")
    managed = not ours and any(key.startswith(prefix) for prefix in prefixes)
    assert within(bounds.managed(prefixes)) == int(managed)
    assert within(bounds.outside(prefixes)) == int(not ours and not managed)


@given(prefix=st.text(), key=st.text())
def test_the_end_of_a_prefix_is_behind_its_keys_and_no_others(prefix: str, key: str) -> None:
    end = prefix_end(prefix)
    assert (prefix <= key and (end is None or key < end)) is key.startswith(prefix)


def test_the_last_code_point_has_no_successor() -> None:
    assert prefix_end("a\U0010ffff") == "b"
    assert prefix_end("\U0010ffff") is None
    assert prefix_end("\ud7ff") == "\ue000"


# --- rows ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_row_says_what_a_verdict_reads(stage: Stage) -> None:
    owner = await stage.add_owner(IsEnabled=False, ExpiresAt=LONG_AGO)
    row = await stage.add_row("image/a", VirtualKeyId=owner, SizeBytes=5, LastAccessedAt=LONG_AGO + DAY)
    seen = LONG_AGO + 2 * DAY
    await stage.catalog.records.observe_keys(seen)
    (record,) = await stage.catalog.records.lookup(["image/a", "image/b", "image/\0", "image/\ud800"])
    assert record.owner is not None
    assert (record.owner.id, record.owner.enabled) == (str(owner), False)
    assert (record.owner.expires_at, record.owner.disabled_since) == (LONG_AGO, seen)
    assert replace(record, owner=None, version="") == Record(
        id=row,
        storage_key="image/a",
        virtual_key_id=str(owner),
        media_type="image",
        owner=None,
        size_bytes=5,
        created_at=LONG_AGO,
        expires_at=None,
        last_accessed_at=LONG_AGO + DAY,
        deleted_at=None,
        version="",
    )
    assert len(record.version) == 64


@pytest.mark.anyio
async def test_infinities_that_drivers_write_protect(stage: Stage) -> None:
    await stage.sql.execute(
        'INSERT INTO public."MediaRecords"'
        ' ("StorageKey", "VirtualKeyId", "MediaType", "CreatedAt", "ExpiresAt", "LastAccessedAt")'
        " VALUES ('image/a', $1, 'x', '-infinity', '-infinity', 'infinity'),"
        " ('image/b', $1, 'x', 'infinity', 'infinity', '-infinity')",
        stage.owner,
    )
    now = await stage.catalog.records.now()
    for record in await stage.catalog.records.lookup(["image/a", "image/b"]):
        assert judge_record(record, POLICY, now) is None
    unset = (await stage.catalog.records.lookup(["image/a"]))[0]
    assert (unset.created_at, unset.expires_at) == (None, None)


@pytest.mark.anyio
async def test_keys_disabled_are_remembered_from_the_first_pass_and_forgotten_when_enabled(
    stage: Stage,
) -> None:
    owner = await stage.add_owner(IsEnabled=False)
    await stage.add_row("image/a", VirtualKeyId=owner)
    records = stage.catalog.records
    first, later = LONG_AGO, LONG_AGO + DAY

    async def since() -> datetime | None:
        (record,) = await records.lookup(["image/a"])
        return record.owner.disabled_since if record.owner else None

    await records.observe_keys(first)
    await records.observe_keys(later)
    assert await since() == first
    await stage.sql.execute('UPDATE public."VirtualKeys" SET "IsEnabled" = true')
    assert await since() is None
    await records.observe_keys(later)
    await stage.sql.execute('UPDATE public."VirtualKeys" SET "IsEnabled" = false')
    await records.observe_keys(later)
    assert await since() == later


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["disabled", "expired"])
async def test_a_key_ends_once_and_after_its_grace(stage: Stage, how: str) -> None:
    records, end, tick = stage.catalog.records, LONG_AGO + DAY, timedelta(microseconds=1)
    owner = await stage.add_owner(**({"IsEnabled": False} if how == "disabled" else {"ExpiresAt": LONG_AGO}))
    await stage.add_owner(ExpiresAt=LONG_AGO - DAY)
    await records.observe_keys(LONG_AGO)
    assert not await records.keys_ended(LONG_AGO, end - tick, DAY)
    assert await records.keys_ended(end - tick, end, DAY)
    assert not await records.keys_ended(end, end + DAY, DAY), "known already"
    assert await records.keys_ended(LONG_AGO - tick, LONG_AGO, timedelta(0))
    # Enabled in time, or given more time.
    await stage.sql.execute(
        'UPDATE public."VirtualKeys" SET "IsEnabled" = true, "ExpiresAt" = NULL WHERE "Id" = $1', owner
    )
    assert not await records.keys_ended(end - tick, end, DAY)


WITHOUT_FOREIGN_KEY = 'ALTER TABLE public."MediaRecords" DROP CONSTRAINT "MediaRecords_VirtualKeyId_fkey"'

# --- nominations -----------------------------------------------------------------------------------


async def _nominated(stage: Stage, verdict: Verdict, now: datetime, policy: Any = POLICY) -> set[str]:
    pages = stage.catalog.records.nominate(verdict, policy, now, page_size=7)
    return {record.storage_key async for page in pages for record in page}


async def _seed_everything(stage: Stage, now: datetime) -> list[str]:
    """Every combination of the times around their bounds, for each kind of owner."""
    just = timedelta(microseconds=1)
    owners = [
        await stage.add_owner(),
        await stage.add_owner(IsEnabled=False),
        await stage.add_owner(ExpiresAt=now - POLICY.key_grace),
        await stage.add_owner(ExpiresAt=now - POLICY.key_grace + just),
    ]
    await stage.sql.execute(WITHOUT_FOREIGN_KEY)
    missing = await stage.add_owner()
    await stage.sql.execute('DELETE FROM public."VirtualKeys" WHERE "Id" = $1', missing)
    keys: list[str] = []
    for owner in [*owners, missing]:
        for created in (now, now - POLICY.media_retention + just, now - POLICY.media_retention, LONG_AGO):
            for expires in (None, now - just, now, now + just):
                for accessed in (None, now - POLICY.recent_access, now - POLICY.recent_access + just):
                    key = f"image/{len(keys):04d}"
                    await stage.add_row(
                        key,
                        VirtualKeyId=owner,
                        CreatedAt=created,
                        ExpiresAt=expires,
                        LastAccessedAt=accessed,
                    )
                    keys.append(key)
    return keys


@pytest.mark.anyio
async def test_nominations_are_never_narrower_than_the_decision(stage: Stage) -> None:
    now = await stage.catalog.records.now()
    keys = await _seed_everything(stage, now)
    await stage.add_row("video/outside", ExpiresAt=LONG_AGO)
    await stage.catalog.records.observe_keys(now - POLICY.key_grace)
    wanted: dict[Verdict, set[str]] = {}
    for record in await stage.catalog.records.lookup(keys):
        found = judge_record(record, POLICY, now)
        if found is not None:
            wanted.setdefault(found.verdict, set()).add(record.storage_key)
    assert set(wanted) == {Verdict.EXPIRED, Verdict.STALE, Verdict.REVOKED, Verdict.OWNERLESS}
    for verdict, due in wanted.items():
        nominated = await _nominated(stage, verdict, now)
        assert due <= nominated
        assert nominated <= set(keys), "rows outside the prefixes are nobody's business"
    assert await _nominated(stage, Verdict.OWNERLESS, now) == wanted[Verdict.OWNERLESS]


@pytest.mark.anyio
async def test_a_row_both_expired_and_soft_deleted_is_nominated_once(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute('ALTER TABLE public."MediaRecords" ADD "DeletedAt" timestamptz')
    await connection.close()
    async with staged(database) as stage:
        await stage.add_row("image/both", ExpiresAt=LONG_AGO, DeletedAt=LONG_AGO)
        await stage.add_row("image/expired", ExpiresAt=LONG_AGO)
        await stage.add_row("image/deleted", DeletedAt=LONG_AGO)
        await stage.add_row("image/unset", DeletedAt=LONG_AGO)
        unset = """UPDATE public."MediaRecords" SET "ExpiresAt" = '-infinity' WHERE "StorageKey" = $1"""
        await stage.sql.execute(unset, "image/unset")
        now = await stage.catalog.records.now()
        pages = stage.catalog.records.nominate(Verdict.EXPIRED, POLICY, now)
        found = [judge_record(row, POLICY, now) async for page in pages for row in page]
    keys = sorted(each.storage_key for each in found if each)
    assert keys == ["image/both", "image/deleted", "image/expired", "image/unset"]


@pytest.mark.anyio
async def test_a_disabled_key_that_no_pass_has_noted_counts_as_seen_now(stage: Stage) -> None:
    owner = await stage.add_owner(IsEnabled=False)
    await stage.add_row("image/a", VirtualKeyId=owner)
    now = await stage.catalog.records.now()
    assert await _nominated(stage, Verdict.REVOKED, now) == set()
    at_once = replace(POLICY, key_grace=timedelta(0))
    pages = [page async for page in stage.catalog.records.nominate(Verdict.REVOKED, at_once, now)]
    assert pages[0][0].owner is not None
    assert pages[0][0].owner.disabled_since == now
    assert judge_record(pages[0][0], at_once, now) is not None


@pytest.mark.anyio
async def test_ownerless_rows_are_found_without_an_index_on_the_key(stage: Stage, database: str) -> None:
    await stage.sql.execute(WITHOUT_FOREIGN_KEY)
    await stage.sql.execute('DROP INDEX public."IX_MediaRecords_VirtualKeyId"')
    await stage.add_row("image/kept")
    await stage.add_row("image/a", VirtualKeyId="00000000-0000-0000-0000-000000000001")
    async with open_catalog(CatalogConfig(database_url=database)) as catalog:
        pages = catalog.records.nominate(Verdict.OWNERLESS, POLICY, LONG_AGO)
        assert [record.storage_key async for page in pages for record in page] == ["image/a"]
        assert any("VirtualKeyId" in warning for warning in catalog.report.warnings)


@pytest.mark.anyio
async def test_durations_beyond_the_calendar_nominate_nothing(stage: Stage) -> None:
    await stage.add_row("image/a")
    endless = replace(POLICY, media_retention=timedelta(days=999_999), recent_access=timedelta(days=999_999))
    assert await _nominated(stage, Verdict.STALE, datetime.now(UTC), endless) == set()


@pytest.mark.anyio
async def test_many_rows_of_one_instant_are_all_nominated(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.catalog.media_tables.nomination.DRAW", 10)
    keys = {f"image/{number}" for number in range(35)}
    for key in keys:
        await stage.add_row(key, ExpiresAt=LONG_AGO)
    assert await _nominated(stage, Verdict.EXPIRED, LONG_AGO) == keys
    assert await _nominated(stage, Verdict.STALE, datetime.now(UTC)) == keys
    await stage.sql.execute('UPDATE public."VirtualKeys" SET "ExpiresAt" = $1', LONG_AGO)
    assert await _nominated(stage, Verdict.REVOKED, datetime.now(UTC)) == keys


# --- schemas that are not ours ---------------------------------------------------------------------

GATEWAY = """
CREATE TABLE public."VirtualKeys" (
    "Id" {vk} PRIMARY KEY, "IsEnabled" boolean NOT NULL, "ExpiresAt" timestamptz);
CREATE TABLE public."MediaRecords" (
    "Id" {id} PRIMARY KEY DEFAULT gen_random_uuid(), "StorageKey" varchar(500) NOT NULL UNIQUE,
    "VirtualKeyId" {vk}, "SizeBytes" bigint, "ExpiresAt" timestamptz, "CreatedAt" timestamptz NOT NULL,
    "LastAccessedAt" timestamptz, "DeletedAt" timestamptz);
CREATE INDEX ON public."MediaRecords" ("VirtualKeyId");
"""

INSERT = 'INSERT INTO "MediaRecords" ("StorageKey", "VirtualKeyId", "CreatedAt") VALUES ($1, 1, now())'


async def _migrate(config: CatalogConfig, *, create_index: bool = False) -> None:
    import anyio.to_thread  # noqa: PLC0415  # only here

    await anyio.to_thread.run_sync(lambda: migrate.upgrade(config, create_index=create_index))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("integer", "1", "2"),
        ("bigint", "9000000000", "9000000001"),
        ("uuid", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"),
        ("text", "one", "two'%"),
    ],
)
async def test_key_ids_of_every_kind(empty_database: str, kind: str, first: str, second: str) -> None:
    config = CatalogConfig(database_url=empty_database)
    sql = await asyncpg.connect(empty_database)
    await sql.execute(GATEWAY.format(id="uuid", vk=kind))
    await sql.execute(f'INSERT INTO "VirtualKeys" VALUES ($1::text::{kind}, false)', first)
    for key, owner in (("image/a", first), ("image/b", second), ("image/c", None)):
        await sql.execute(
            'INSERT INTO "MediaRecords" ("StorageKey", "VirtualKeyId", "CreatedAt", "DeletedAt")'
            f" VALUES ($1, $2::text::{kind}, now(), $3)",
            key,
            owner,
            LONG_AGO if owner is None else None,
        )
    await sql.close()
    await _migrate(config)
    async with open_catalog(config) as catalog:
        records = catalog.records
        now = await records.now()
        await records.observe_keys(LONG_AGO)
        rows = await records.lookup(["image/a", "image/b", "image/c"])
        found = {record.storage_key: record for record in rows}
        disabled = found["image/a"].owner
        assert disabled is not None
        assert (disabled.id, disabled.enabled, disabled.disabled_since) == (first, False, LONG_AGO)
        assert (found["image/b"].virtual_key_id, found["image/b"].owner) == (second, None)
        assert found["image/c"].virtual_key_id is None

        async def nominated(verdict: Verdict) -> list[str]:
            pages = records.nominate(verdict, POLICY, now)
            return [record.storage_key async for page in pages for record in page]

        assert await nominated(Verdict.REVOKED) == ["image/a"]
        assert await nominated(Verdict.OWNERLESS) == ["image/b"]
        assert await nominated(Verdict.EXPIRED) == ["image/c"], "soft-deleted"


def _pages(keys: Sequence[str], size: int) -> list[ObjectPage]:
    pages = []
    for start in range(0, len(keys), size):
        some = list(keys[start : start + size])
        times = ["2026-01-01T00:00:00Z"] * len(some)
        pages.append(ObjectPage(some, [10] * len(some), ["e"] * len(some), times))
    return pages


# --- the join without order ------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("planning", [False, True])
async def test_both_sides_of_an_unordered_listing_are_found(stage: Stage, planning: bool) -> None:
    current = await stage.begin()
    both = [f"image/both/{number}" for number in range(20)]
    for key in [*both, *ODD, "video/other"]:
        await stage.add_row(key, ExpiresAt=LONG_AGO)
    orphans = [f"image/orphan/{number}" for number in range(5)] + ["image/\U0001f600/x", "image/a\tb\\n"]
    listed = [*both, *orphans, *both[:3]]
    random.Random(2).shuffle(listed)
    async with stage.catalog.staging.open(None if planning else current.id) as staging:
        for page in _pages(listed, 4):
            await staging.copy(page)
        assert await staging.seal() == (27, 270)
        pages = [page async for page in staging.objects_without_record(page_size=2)]
        assert [obj.key for page in pages for obj in page] == sorted(orphans, key=str.encode)
        assert max(len(page) for page in pages) == 2
        assert pages[0][0].last_modified == datetime(2026, 1, 1, tzinfo=UTC)
        missing = [page async for page in staging.records_without_object(["image/"], page_size=4)]
        assert [record.storage_key for page in missing for record in page] == ODD
        assert missing[0][0].owner is not None
    left = await stage.sql.fetchval("SELECT count(*) FROM pg_class WHERE relname LIKE 'staging%'")
    assert left == 0


@pytest.mark.anyio
@pytest.mark.attack(16)
async def test_keys_that_text_cannot_hold_do_not_abort_the_copy(stage: Stage) -> None:
    async with stage.catalog.staging.open(None) as staging:
        await staging.copy(_pages(["image/a", "image/\0", "image/\ud800", "image/b"], 10)[0])
        assert await staging.seal() == (2, 20)


@pytest.mark.anyio
@pytest.mark.incident(1)
async def test_rows_are_not_read_before_the_listing_is_complete(stage: Stage) -> None:
    async with stage.catalog.staging.open(None) as staging:
        await staging.copy(_pages(["image/a"], 10)[0])
        with pytest.raises(AssertionError, match="after the whole listing"):
            await anext(aiter(staging.objects_without_record()))


@pytest.mark.anyio
async def test_tables_that_a_crash_left_go_when_the_next_pass_opens(stage: Stage) -> None:
    await stage.sql.execute("CREATE UNLOGGED TABLE reconciler.staging_7 (key text)")
    await stage.sql.execute("CREATE UNLOGGED TABLE reconciler.staging_7_objects (key text)")
    names = "SELECT count(*) FROM pg_class WHERE relname LIKE 'staging\\_%'"
    async with stage.catalog.staging.open(None):
        assert await stage.sql.fetchval(names) == 2, "a plan leaves other people's tables alone"
    current = await stage.begin()
    async with stage.catalog.staging.open(current.id) as staging:
        assert await stage.sql.fetchval(names) == 1
        await staging.copy(ObjectPage([], [], [], []))
        assert await staging.seal() == (0, 0)
