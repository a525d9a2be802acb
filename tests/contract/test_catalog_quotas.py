"""Quotas over real tables: what counts, what is evicted and in which order, and what a claim adds up anew."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import anyio
import asyncpg
import pytest

from reconciler.catalog.db.config import CatalogConfig, TableMapping
from reconciler.catalog.media_tables import nomination, quotas
from reconciler.catalog.open import open_catalog
from reconciler.engine.collect.rules import decider
from reconciler.model import (
    FOREVER,
    Evict,
    Match,
    Policy,
    Quota,
    QuotaOwner,
    Record,
    Rule,
    Rules,
    Verdict,
)
from reconciler.planning.retention import judge_record
from tests.contract.catalog import DAY, POLICY, Stage, claimed, finding, staged
from tests.contract.test_catalog_holds import waits_for_lock
from tests.doubles.build import NOW, runtime

pytestmark = pytest.mark.anyio

OVER = Verdict.OVER_QUOTA
KEPT = replace(POLICY, media_retention=FOREVER, delete_revoked=False)
"""Nothing is stale."""


def limit(**changes: Any) -> Quota:
    values: dict[str, Any] = {
        "name": "",
        "max_bytes": None,
        "max_objects": None,
        "owner": QuotaOwner.VIRTUAL_KEY,
        "evict": Evict.OLDEST,
    }
    return Quota(**{**values, **changes})


def under(quota: Quota | None, *rules: Rule) -> Policy:
    return replace(KEPT, quota=quota, rules=Rules(rules))


def rule(name: str, match: Match, quota: Quota | None) -> Rule:
    return Rule(
        name=name,
        match=match,
        media_retention=FOREVER,
        recent_access=KEPT.recent_access,
        key_grace=KEPT.key_grace,
        delete_revoked=False,
        quota=quota,
    )


@pytest.fixture
async def grouped(database: str) -> AsyncIterator[Stage]:
    """A stage whose keys' table says the group of a key."""
    connection = await asyncpg.connect(database)
    await connection.execute('ALTER TABLE public."VirtualKeys" ADD "VirtualKeyGroupId" integer')
    await connection.execute(
        'ALTER TABLE public."MediaRecords" ADD "DeletedAt" timestamptz, ALTER "CreatedAt" DROP NOT NULL'
    )
    await connection.close()
    async with staged(database) as made:
        yield made


async def evicted(stage: Stage, policy: Policy, now: datetime | None = None) -> list[str]:
    """What a pass would mark, by key: a key twice where two rows name it."""
    now = now or await stage.catalog.records.now()
    found = []
    async for page in stage.catalog.records.nominate(OVER, policy, now, page_size=50):
        for row in page:
            judged = judge_record(row, policy, now)
            if judged is not None and judged.verdict is OVER:
                found.append(row.storage_key)
    return sorted(found)


async def owned(stage: Stage, owner: UUID, ages: Iterable[int], **columns: Any) -> list[str]:
    """Rows of 10 bytes of that owner, so many days old, named by their ages."""
    now = await stage.catalog.records.now()
    keys = []
    for age in ages:
        keys.append(f"image/{owner.hex[:6]}/{age:03}")
        await stage.add_row(
            keys[-1], VirtualKeyId=owner, CreatedAt=now - age * DAY, **{"SizeBytes": 10, **columns}
        )
    return keys


# --- what is evicted ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One row, as the test knows it."""

    id: str
    key: str
    owner: str
    group: str | None
    size: int | None
    created: datetime | None
    accessed: datetime | None
    ending: bool


async def _seed(stage: Stage, now: datetime, draw: random.Random) -> list[Kept]:
    """Sixty owners with up to 14 rows each, of every kind."""
    rows: list[Kept] = []
    for owner_at in range(60):
        group = draw.choice([None, 1, 2, 3])
        owner = await stage.add_owner(VirtualKeyGroupId=group)
        for place in range(draw.randint(0, 14)):
            key = f"image/{owner_at:02}/{place:02}"
            created = None if draw.random() < 0.05 else now - draw.choice([1, 2, 3, 5, 5, 40, 50]) * DAY
            accessed = draw.choice([None, None, now - 60 * DAY, now - 30 * DAY, now - 35 * DAY, now - DAY])
            size = draw.choice([None, 0, 1, 2, 3, 50])
            end = draw.choice(["", "", "", "", "expired", "later", "deleted", "stale", "claimed"])
            columns: dict[str, Any] = {"VirtualKeyId": owner, "SizeBytes": size, "LastAccessedAt": accessed}
            if end in {"expired", "later"}:
                columns["ExpiresAt"] = now - DAY if end == "expired" else now + DAY
            if end == "deleted":
                columns["DeletedAt"] = now
            row = await stage.add_row(key, CreatedAt=created, **columns)
            if end in {"stale", "claimed"}:
                await stage.mark(finding(key, Verdict.STALE if end == "stale" else OVER), arm=False)
            if end == "claimed":
                await stage.sql.execute(
                    "UPDATE reconciler.marks SET state = 'claimed', operation_id = gen_random_uuid()"
                    " WHERE storage_key = $1",
                    key,
                )
            rows.append(
                Kept(
                    id=row,
                    key=key,
                    owner=str(owner),
                    group=None if group is None else str(group),
                    size=size,
                    created=created,
                    accessed=accessed,
                    ending=end not in {"", "later"},
                )
            )
    return rows


def _by_hand(rows: Sequence[Kept], quota: Quota, now: datetime) -> set[str]:
    """What goes, one after the other, until the owner is at its quota."""
    by_owner: Mapping[str | None, list[Kept]] = defaultdict(list)
    for row in rows:
        if not row.ending:
            by_owner[row.owner if quota.owner is QuotaOwner.VIRTUAL_KEY else row.group].append(row)
    gone = set()
    for owner, kept in by_owner.items():
        if owner is None:
            continue
        size, objects = sum(row.size or 0 for row in kept), len(kept)
        free = [
            row
            for row in kept
            if row.created is not None
            and now - row.created >= KEPT.grace_period
            and (row.accessed is None or now - row.accessed >= KEPT.recent_access)
        ]
        oldest = quota.evict is Evict.OLDEST
        for row in sorted(
            free,
            key=lambda row: (row.created if oldest else row.accessed or row.created, row.created, row.id),
        ):
            too_many = quota.max_objects is not None and objects > quota.max_objects
            too_large = quota.max_bytes is not None and size > quota.max_bytes
            if too_many or (too_large and row.size):
                gone.add(row.key)
                size, objects = size - (row.size or 0), objects - 1
    return gone


LIMITS = [
    limit(max_objects=4),
    limit(max_objects=1, owner=QuotaOwner.KEY_GROUP),
    limit(max_bytes=20),
    limit(max_bytes=60, evict=Evict.LEAST_RECENTLY_ACCESSED),
    limit(max_bytes=30, max_objects=5, evict=Evict.LEAST_RECENTLY_ACCESSED),
    limit(max_bytes=200, max_objects=30, owner=QuotaOwner.KEY_GROUP),
]


@pytest.mark.attack(108)
@pytest.mark.attack(111)
async def test_what_goes_is_what_one_takes_away_by_hand(
    grouped: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each owner, until it is at its quota: below it by less than the last object."""
    draw = random.Random(13)
    now = await grouped.catalog.records.now()
    rows = await _seed(grouped, now, draw)
    for quota in LIMITS:
        wanted = _by_hand(rows, quota, now)
        assert wanted
        found = await evicted(grouped, under(quota), now)
        assert found == sorted(wanted), quota
    for name, small in (("OWNERS", 3), ("AT_ONCE", 2)):
        monkeypatch.setattr(quotas, name, small)
    monkeypatch.setattr(nomination, "DRAW", 3)
    for quota in LIMITS:
        found = await evicted(grouped, under(quota), now)
        assert found == sorted(_by_hand(rows, quota, now)), "in pages, each once"


async def test_a_claim_of_any_few_takes_what_a_pass_takes_of_them(grouped: Stage) -> None:
    """It sorts only what goes before them: rows of one time and rows without any are counted as ever."""
    draw = random.Random(17)
    now = await grouped.catalog.records.now()
    rows = await _seed(grouped, now, draw)
    keys = [row.key for row in rows if not row.ending]
    for quota in LIMITS:
        draw.shuffle(keys)
        going = set[str]()
        for start in range(0, len(keys), 9):
            few = [*await grouped.catalog.records.lookup(keys[start : start + 9])]
            counted = await grouped.catalog.records.counted(few, under(quota), now)
            judged = [judge_record(row, under(quota), now) for row in counted]
            going |= {each.storage_key for each in judged if each is not None and each.verdict is OVER}
        assert going == _by_hand(rows, quota, now), quota


@pytest.mark.attack(109)
async def test_what_was_just_uploaded_does_not_go_for_being_never_accessed(stage: Stage) -> None:
    owner = await stage.add_owner()
    now = await stage.catalog.records.now()
    new, *_ = await owned(stage, owner, [1, 3])
    read = await owned(stage, owner, [50, 60], LastAccessedAt=now - 40 * DAY)
    unread = await owned(stage, owner, [45])
    least = Evict.LEAST_RECENTLY_ACCESSED
    assert await evicted(stage, under(limit(max_objects=4, evict=least)), now) == unread, "so long ago"
    assert await evicted(stage, under(limit(max_objects=2, evict=least)), now) == sorted([*unread, *read])
    assert new not in await evicted(stage, under(limit(max_objects=1, evict=least)), now)


@pytest.mark.attack(110)
async def test_rows_that_share_a_key_count_once_and_go_together_or_not_at_all(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute('ALTER TABLE "MediaRecords" DROP CONSTRAINT "MediaRecords_StorageKey_key"')
    await connection.close()
    async with staged(database) as stage:
        owner, other = await stage.add_owner(), await stage.add_owner()
        now = await stage.catalog.records.now()
        for key, age, accessed in (
            ("image/a", 50, None),
            ("image/a", 50, None),
            ("image/b", 60, None),
            ("image/b", 60, now - DAY),
            ("image/c", 40, None),
        ):
            columns = {"CreatedAt": now - age * DAY, "LastAccessedAt": accessed, "SizeBytes": 10}
            await stage.add_row(key, VirtualKeyId=owner, **columns)
        await stage.add_row("image/c", VirtualKeyId=other, CreatedAt=now - 40 * DAY, SizeBytes=10)
        assert await evicted(stage, under(limit(max_objects=3)), now) == []
        assert await evicted(stage, under(limit(max_bytes=30)), now) == []
        assert await evicted(stage, under(limit(max_objects=2)), now) == ["image/a", "image/a"]
        one = under(limit(max_objects=1))
        assert await evicted(stage, one, now) == ["image/a", "image/a", "image/c"]
        await stage.mark(*(finding(key, OVER) for key in ("image/a", "image/c")))
        claim = await stage.claim(decider(runtime(policy=one)), one)
        assert {key.mark.storage_key: key.decision.delete_object for key in claim.keys} == {
            "image/a": True,
            "image/c": False,
        }, "what another owner's row names stays"


async def test_each_rule_counts_what_it_holds_for_and_the_global_quota_the_rest(grouped: Stage) -> None:
    owner = await grouped.add_owner(VirtualKeyGroupId=7)
    now = await grouped.catalog.records.now()
    videos = await owned(grouped, owner, [50, 51, 52], MediaType="video")
    audio = await owned(grouped, owner, [60, 61], MediaType="audio")
    images = await owned(grouped, owner, [70, 71], MediaType="image")
    kept = await owned(grouped, owner, [80, 81], MediaType="archive")
    others = limit(max_objects=3)
    match = {each: Match(media_type=(each,)) for each in ("video", "audio", "archive")}
    policy = under(
        others,
        rule("films", match["video"], limit(name="films", max_bytes=20)),
        rule("archive", match["archive"], None),
        rule("sound", match["audio"], others),
    )
    assert await evicted(grouped, policy, now) == [videos[2], images[1]], "audio and images count together"
    soft = under(replace(others, evict=Evict.NEVER), *policy.rules.each[:1])
    assert await evicted(grouped, soft, now) == [videos[2]]
    assert {*audio, *kept}


async def test_a_tie_is_broken_by_creation_and_then_by_id(stage: Stage) -> None:
    owner = await stage.add_owner()
    now = await stage.catalog.records.now()
    ids = {
        await stage.add_row(f"image/{place}", VirtualKeyId=owner, CreatedAt=now - 50 * DAY): f"image/{place}"
        for place in range(6)
    }
    first = [ids[each] for each in sorted(ids)]
    for quota in (limit(max_objects=4), limit(max_objects=4, evict=Evict.LEAST_RECENTLY_ACCESSED)):
        assert await evicted(stage, under(quota), now) == sorted(first[:2])


async def test_an_owner_that_does_not_exist_has_no_quota(stage: Stage) -> None:
    owner = await stage.add_owner()
    await owned(stage, owner, [50, 51])
    await stage.sql.execute(
        """ALTER TABLE "MediaRecords" DROP CONSTRAINT "MediaRecords_VirtualKeyId_fkey" """
    )
    quota = under(limit(max_objects=1))
    assert len(await evicted(stage, quota)) == 1
    await stage.sql.execute('DELETE FROM "VirtualKeys" WHERE "Id" = $1', owner)
    assert await evicted(stage, quota) == []


async def test_without_a_table_of_keys_the_column_says_whose_media_it_is(database: str) -> None:
    config = CatalogConfig(database_url=database, tables=TableMapping(keys_table=""))
    async with staged(database, config) as stage:
        owner = await stage.add_owner()
        keys = await owned(stage, owner, [50, 51, 52])
        policy = under(limit(max_objects=2))
        assert await evicted(stage, policy) == [keys[2]]
        await stage.mark(*(finding(key, OVER) for key in keys))
        assert claimed(await stage.claim(decider(runtime(policy=policy)), policy)) == [keys[2]]


async def test_without_a_quota_that_evicts_nothing_is_read(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owned(stage, await stage.add_owner(), [50, 51])
    monkeypatch.setattr(quotas, "patient", None)
    monkeypatch.setattr(nomination, "DRAW", None)
    assert await evicted(stage, under(None)) == []
    assert await evicted(stage, under(limit(max_objects=1, evict=Evict.NEVER))) == []


async def test_a_quota_that_the_tables_cannot_count_is_told(stage: Stage, database: str) -> None:
    await stage.sql.execute('ALTER TABLE "MediaRecords" DROP "SizeBytes"')
    group = under(
        limit(max_bytes=1, owner=QuotaOwner.KEY_GROUP),
        rule("films", Match(media_type=("video",)), limit(name="films", max_bytes=1)),
    )
    tables = TableMapping(media=replace(TableMapping().media, size_bytes="", last_accessed_at=""))
    async with open_catalog(CatalogConfig(database_url=database, tables=tables)) as catalog:
        assert [line.partition("; ")[0] for line in catalog.records.misfits(group)] == [
            f"RECONCILER_{whose}: its quota needs a column of {what}"
            for whose, what in (
                ("RETENTION__RULES: rule films", "the media table for size_bytes"),
                ("RETENTION__RULES: rule films", "the media table for last_accessed_at"),
                ("QUOTA", "the virtual keys' table for a key's group"),
                ("QUOTA", "the media table for size_bytes"),
                ("QUOTA", "the media table for last_accessed_at"),
            )
        ]
        nominated = catalog.records.nominate(OVER, under(limit(max_objects=1)), NOW)
        assert [page async for page in nominated] == [], "and harms nothing"


# --- what a claim adds up anew ------------------------------------------------------------------------


async def _marked(stage: Stage, policy: Policy, ages: Sequence[int]) -> tuple[UUID, list[str]]:
    """An owner's rows, and what a pass has marked of them, the first to go first."""
    owner = await stage.add_owner()
    await owned(stage, owner, ages)
    found = sorted(await evicted(stage, policy), reverse=True)
    await stage.mark(*(finding(key, OVER) for key in found))
    return owner, found


async def _delete(sql: Any, key: str) -> None:
    await sql.execute('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', key)


TWO = under(limit(max_objects=2))
DECIDE = decider(runtime(policy=TWO))


@pytest.mark.attack(106)
async def test_who_deletes_something_between_mark_and_claim_keeps_the_rest(stage: Stage) -> None:
    owner, (first, second) = await _marked(stage, TWO, [50, 51, 52, 53])
    await _delete(stage.sql, f"image/{owner.hex[:6]}/050")
    claim = await stage.claim(DECIDE, TWO)
    assert (claimed(claim), claim.cancelled) == ([first], 1)
    assert second not in await stage.marks()
    assert await stage.catalog.marks.look_again(claim, DECIDE, TWO, guarded=False) == {}


@pytest.mark.attack(107)
async def test_who_is_deleting_something_at_the_claim_keeps_the_rest(stage: Stage, database: str) -> None:
    """What is not committed at the claim is seen by the look after all that was open has ended."""
    owner, going = await _marked(stage, TWO, [50, 51, 52, 53])
    writer = await asyncpg.connect(database)
    try:
        transaction = writer.transaction()
        await transaction.start()
        await _delete(writer, f"image/{owner.hex[:6]}/050")
        claim = await stage.claim(DECIDE, TWO)
        assert claimed(claim) == sorted(going)
        assert not await stage.catalog.marks.horizon_passed(claim.xid), "so the deletion waits"
        await transaction.commit()
    finally:
        await writer.close()
    assert await stage.catalog.marks.horizon_passed(claim.xid)
    spared = await stage.catalog.marks.look_again(claim, DECIDE, TWO, guarded=False)
    assert [*spared] == [going[1]]


@pytest.mark.attack(105)
async def test_two_claims_side_by_side_do_not_count_one_excess_twice(stage: Stage, database: str) -> None:
    """The first is not committed when the second begins, as where the answer to it was lost. It took what was
    first in the order then; the second would take what is first now.
    """
    owner = await stage.add_owner()
    keys = await owned(stage, owner, [50, 51, 52])
    await stage.mark(*(finding(key, OVER) for key in keys[1:]))
    claims = list[Any]()

    async def claim() -> None:
        claims.append(await stage.claim(DECIDE, TWO))

    first = await asyncpg.connect(database)
    try:
        transaction = first.transaction()
        await transaction.start()
        await first.execute("SELECT pg_advisory_xact_lock($1)", quotas.LOCK)
        await first.execute(
            "UPDATE reconciler.marks SET state = 'claimed', operation_id = gen_random_uuid()"
            " WHERE storage_key = $1",
            keys[1],
        )
        async with anyio.create_task_group() as group:
            group.start_soon(claim)
            await waits_for_lock(stage.sql)
            await transaction.commit()
    finally:
        await first.close()
    assert (claimed(claims[0]), claims[0].cancelled) == ([], 1)


async def test_claims_one_after_the_other_stop_at_the_quota(stage: Stage) -> None:
    """Marks are taken by their keys, not in the order of eviction: what is claimed counts as gone."""
    owner = await stage.add_owner()
    now = await stage.catalog.records.now()
    sizes = {"image/1": 30, "image/2": 10, "image/3": 10, "image/4": 10}
    for place, (key, size) in enumerate(reversed(sizes.items())):
        await stage.add_row(key, VirtualKeyId=owner, CreatedAt=now - (60 - place) * DAY, SizeBytes=size)
    policy = under(limit(max_bytes=20))
    decide = decider(runtime(policy=policy))
    assert await evicted(stage, policy, now) == [*sizes]
    await stage.mark(*(finding(key, OVER) for key in sizes))
    gone = [claimed(await stage.claim(decide, policy, limit=1)) for _ in sizes]
    assert gone == [["image/1"], [], [], ["image/4"]], "40 of 60 bytes go, and the first in the order is one"


async def test_an_owner_whose_key_is_being_written_waits(stage: Stage, database: str) -> None:
    owner, going = await _marked(stage, TWO, [50, 51, 52])
    writer = await asyncpg.connect(database)
    try:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute('UPDATE "VirtualKeys" SET "KeyName" = $1 WHERE "Id" = $2', "x", owner)
        held = await stage.claim(DECIDE, TWO)
        assert (claimed(held), held.postponed) == ([], 1)
        await transaction.rollback()
    finally:
        await writer.close()
    await stage.sql.execute("UPDATE reconciler.marks SET not_before = NULL")
    assert claimed(await stage.claim(DECIDE, TWO)) == going


async def test_what_was_accessed_since_its_mark_stays_and_the_next_goes_later(stage: Stage) -> None:
    _, (key,) = await _marked(stage, TWO, [50, 51, 52])
    await stage.sql.execute('UPDATE "MediaRecords" SET "LastAccessedAt" = now() WHERE "StorageKey" = $1', key)
    claim = await stage.claim(DECIDE, TWO)
    assert (claimed(claim), claim.cancelled) == ([], 1)
    assert await evicted(stage, TWO) == [key.replace("052", "051")]


async def test_a_preview_says_what_a_claim_would_take(stage: Stage) -> None:
    _, going = await _marked(stage, TWO, [50, 51, 52, 53])
    pages = stage.catalog.marks.due(TWO, [OVER], DECIDE)
    assert [each.mark.storage_key async for page in pages for each in page] == sorted(going)


# --- who is near ----------------------------------------------------------------------------------------


async def test_the_owners_nearest_to_a_quota_are_named_and_the_others_counted(stage: Stage) -> None:
    owners = [await stage.add_owner() for _ in range(4)]
    for owner, rows in zip(owners, (10, 8, 7, 12), strict=True):
        await owned(stage, owner, range(50, 50 + rows))
    policy = under(limit(max_objects=10, evict=Evict.NEVER))
    (standing,) = await stage.catalog.statistics.quotas(policy, 2)
    assert standing.reached == (3, 2)
    assert [(each.owner, each.objects, each.bytes, each.share) for each in standing.nearest] == [
        (str(owners[3]), 12, 120, 1.2),
        (str(owners[0]), 10, 100, 1.0),
    ]
    assert await stage.catalog.statistics.quotas(under(None), 2) == ()


async def test_rows_say_what_their_owner_keeps(stage: Stage) -> None:
    owner = await stage.add_owner()
    keys = await owned(stage, owner, [50, 51, 1])
    now = await stage.catalog.records.now()
    rows: list[Record] = [*await stage.catalog.records.lookup(keys)]
    found = await stage.catalog.records.counted(rows, TWO, now)
    usages = {row.storage_key[-3:]: row.usage for row in found}
    said = {
        key: each and (each.objects, each.bytes, each.objects_before, each.size)
        for key, each in usages.items()
    }
    assert said == {"051": (3, 30, 0, 10), "050": (3, 30, 1, 10), "001": (3, 30, 2, 10)}
