"""Rules of retention over real tables: what rows say of themselves, who is nominated, what a claim locks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import asyncpg
import pytest

from reconciler.catalog.db.config import CatalogConfig, KeyColumns, MediaColumns, TableMapping
from reconciler.catalog.open import open_catalog
from reconciler.catalog.passes.passes import COMPARED
from reconciler.engine.collect.rules import decider
from reconciler.model import (
    FOREVER,
    Match,
    Mode,
    PassKind,
    PassState,
    Policy,
    Record,
    Rule,
    Rules,
    Tally,
    Verdict,
)
from reconciler.planning.retention import judge_record
from tests.contract.catalog import DAY, LONG_AGO, POLICY, Stage, claimed, finding, staged
from tests.doubles.build import runtime

pytestmark = pytest.mark.anyio

JUST = timedelta(microseconds=1)
GROUPS = 'ALTER TABLE public."VirtualKeys" ADD "VirtualKeyGroupId" integer'


def rule(name: str, match: Match, **terms: Any) -> Rule:
    values: dict[str, Any] = {
        "media_retention": POLICY.media_retention,
        "recent_access": POLICY.recent_access,
        "key_grace": POLICY.key_grace,
        "delete_revoked": POLICY.delete_revoked,
    }
    return Rule(name=name, match=match, **{**values, **terms})


def under(*rules: Rule) -> Policy:
    return replace(POLICY, rules=Rules(rules))


@pytest.fixture
async def grouped(database: str) -> AsyncIterator[Stage]:
    """A stage whose keys' table says the group of a key."""
    connection = await asyncpg.connect(database)
    await connection.execute(GROUPS)
    await connection.close()
    async with staged(database) as made:
        yield made


async def test_a_row_says_what_a_rule_reads(grouped: Stage) -> None:
    owner = await grouped.add_owner(VirtualKeyGroupId=7)
    await grouped.add_row("image/a", VirtualKeyId=owner, MediaType=" ViDeo ", Provider="ACME É", Model="")
    await grouped.add_row("image/b", MediaType="image")
    first, second = sorted(
        await grouped.catalog.records.lookup(["image/a", "image/b"]), key=lambda row: row.storage_key
    )
    assert (first.media_type, first.provider, first.model) == ("video", "acme É", None)
    assert first.owner is not None
    assert first.owner.group == "7"
    assert second.owner is not None
    assert (second.provider, second.owner.group) == (None, None)


@pytest.mark.parametrize(
    "change",
    [
        """UPDATE "MediaRecords" SET "MediaType" = 'video'""",
        """UPDATE "MediaRecords" SET "Provider" = 'acme'""",
        """UPDATE "MediaRecords" SET "Model" = 'm'""",
        'UPDATE "VirtualKeys" SET "VirtualKeyGroupId" = 8',
    ],
)
async def test_a_row_whose_rule_may_have_changed_is_another_version(grouped: Stage, change: str) -> None:
    await grouped.add_row("image/a")
    (before,) = await grouped.catalog.records.lookup(["image/a"])
    await grouped.sql.execute(change)
    (after,) = await grouped.catalog.records.lookup(["image/a"])
    assert before.version != after.version


# --- nominations ------------------------------------------------------------------------------------


async def _seed(stage: Stage, now: datetime) -> list[str]:
    """Rows of each kind, at each bound that a rule below sets."""
    owners = [await stage.add_owner(VirtualKeyGroupId=group) for group in (1, 2, None)]
    owners.append(await stage.add_owner(VirtualKeyGroupId=1, ExpiresAt=now - DAY))
    owners.append(await stage.add_owner(ExpiresAt=now - DAY + JUST))
    ages = [age for days in (5, 90, 400) for age in (days * DAY, days * DAY - JUST)]
    accesses = (None, now - DAY, now - DAY + JUST, now - 30 * DAY, now - 400 * DAY)
    keys: list[str] = []
    for place, (owner, age, accessed) in enumerate(product(owners, ages, accesses)):
        prefix = ("image/", "image/x/", "image/x'\\y/")[place % 3]
        keys.append(f"{prefix}{place:04}")
        await stage.add_row(
            keys[-1],
            VirtualKeyId=owner,
            CreatedAt=now - age,
            LastAccessedAt=accessed,
            MediaType=("image", "Video", "audio ")[place % 3],
            Provider=("acme", "O'Brien\\", None)[place // 3 % 3],
            Model=("m-1", None)[place // 9 % 2],
        )
    return keys


VIDEO, ODD = Match(media_type=("video",)), Match(provider=("o'brien\\",), prefix=("image/x'\\y/", "image/x/"))
RULES: Sequence[Sequence[Rule]] = [
    [],
    [rule("short", VIDEO, media_retention=5 * DAY)],
    [rule("long", VIDEO, media_retention=400 * DAY)],
    [rule("for ever", VIDEO, media_retention=FOREVER, recent_access=3 * DAY)],
    [rule("for ever", VIDEO, media_retention=FOREVER), rule("odd", ODD, media_retention=5 * DAY)],
    [rule("odd", ODD, recent_access=DAY), rule("video", VIDEO, media_retention=5 * DAY, recent_access=DAY)],
    [
        rule("one group", Match(key_group=("1",)), media_retention=5 * DAY),
        rule("another", Match(key_group=("2", "3"), model=("m-1",)), media_retention=FOREVER),
    ],
    [rule("grace", Match(key_group=("1",)), key_grace=DAY), rule("keep", VIDEO, delete_revoked=False)],
    [rule("all prefixes", Match(prefix=("image/",)), media_retention=FOREVER)],
]


async def test_nominations_by_rules_are_never_narrower_than_the_decision(grouped: Stage) -> None:
    now = await grouped.catalog.records.now()
    keys = await _seed(grouped, now)
    rows = await grouped.catalog.records.lookup(keys)
    by_owner = Match(virtual_key_id=tuple(sorted({str(row.virtual_key_id) for row in rows})[:2]))
    seen: set[tuple[int, Verdict]] = set()
    theirs = rule("theirs", by_owner, media_retention=5 * DAY)
    each = [*RULES, [theirs], [rule("video", VIDEO, media_retention=6 * DAY), theirs]]
    policies = [under(*rules) for rules in each]
    policies += [replace(policy, media_retention=FOREVER) for policy in policies]
    for place, policy in enumerate(policies):
        wanted = await _wanted(rows, policy, now)
        for verdict in (Verdict.STALE, Verdict.REVOKED):
            nominated = await _nominated(grouped, verdict, policy, now)
            assert wanted.get(verdict, set()) <= {*nominated}, (policy.rules, verdict)
            if verdict is Verdict.STALE:
                # SQL's part is exact: rows that a rule keeps are not read at every pass, and none twice.
                due = {row.storage_key for row in rows if _stale(row, policy, now)}
                assert sorted(nominated) == sorted(due), policy.rules
            if wanted.get(verdict):
                seen.add((place, verdict))
    assert len(seen) >= len(RULES), "the rows tell these rules apart"


async def _nominated(stage: Stage, verdict: Verdict, policy: Policy, now: datetime) -> list[str]:
    pages = stage.catalog.records.nominate(verdict, policy, now, page_size=50)
    return [record.storage_key async for page in pages for record in page]


async def _wanted(rows: Sequence[Record], policy: Policy, now: datetime) -> dict[Verdict, set[str]]:
    wanted: dict[Verdict, set[str]] = {}
    for row in rows:
        if found := judge_record(row, policy, now):
            wanted.setdefault(found.verdict, set()).add(row.storage_key)
    return wanted


def _stale(row: Record, policy: Policy, now: datetime) -> bool:
    """Whether the row would be stale if its virtual key were not over."""
    assert row.owner is not None
    alone = replace(row, owner=replace(row.owner, enabled=True, expires_at=None))
    found = judge_record(alone, policy, now)
    return found is not None and found.verdict is Verdict.STALE


# --- rules that no row can match ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "why"),
    [
        (Match(key_group=("1",)), "the virtual keys' table has no column for its key_group; map one with"),
        (Match(virtual_key_id=("7",)), "virtual_key_id '7' is no uuid as Postgres writes it"),
        (Match(virtual_key_id=("00000000-0000-0000-0000-00000000000A",)), "is no uuid as Postgres writes it"),
    ],
)
async def test_a_rule_that_no_row_can_match_is_told(stage: Stage, match: Match, why: str) -> None:
    good = rule("good", Match(media_type=("x",), provider=("y",), model=("z",), prefix=("image/",)))
    (told,) = stage.catalog.records.misfits(under(good, rule("odd", match)))
    assert told.startswith("RECONCILER_RETENTION__RULES: rule odd can never match: ")
    assert why in told


async def test_a_rule_by_a_column_that_the_tables_lack_is_told(grouped: Stage, database: str) -> None:
    await grouped.sql.execute('ALTER TABLE "MediaRecords" DROP "Model", DROP "Provider"')
    config = CatalogConfig(database_url=database)
    rules = Rules(
        (
            rule("m", Match(model=("x",))),
            rule("p", Match(provider=("x",))),
            rule("g", Match(key_group=("07",))),
            rule("t", Match(media_type=("x",))),
        )
    )
    async with open_catalog(config) as catalog:
        assert [line.partition(": rule ")[2][0] for line in catalog.records.misfits(under(*rules.each))] == [
            "m",
            "p",
            "g",
        ]
        by_model = replace(POLICY, rules=Rules(rules.each[:1]))
        pages = catalog.records.nominate(Verdict.STALE, by_model, LONG_AGO)
        assert [page async for page in pages] == [], "and harms nothing"


async def test_columns_of_other_names_serve(database: str) -> None:
    connection = await asyncpg.connect(database)
    for change in (
        'ALTER TABLE public."MediaRecords" RENAME "Model" TO made_with',
        """CREATE TYPE public.kind AS ENUM ('Still', 'Moving')""",
        'ALTER TABLE public."MediaRecords" ALTER "MediaType" TYPE public.kind USING \'Still\'',
        "ALTER TABLE public.\"VirtualKeys\" ADD team uuid DEFAULT '00000000-0000-0000-0000-00000000000a'",
    ):
        await connection.execute(change)
    await connection.close()
    mapped = TableMapping(media=MediaColumns(model="made_with"), keys=KeyColumns(group_id="team"))
    async with staged(database, CatalogConfig(database_url=database, tables=mapped)) as stage:
        await stage.add_row("image/a", MediaType="Moving", made_with="M")
        team = "00000000-0000-0000-0000-00000000000a"
        match = Match(media_type=("moving",), model=("m",), key_group=(team,))
        short = under(
            rule("short", match, media_retention=DAY),
            rule("others", Match(prefix=("image/",)), media_retention=FOREVER),
        )
        now = await stage.catalog.records.now()
        assert await _nominated(stage, Verdict.STALE, short, now) == ["image/a"]
        (row,) = await stage.catalog.records.lookup(["image/a"])
        assert short.rules.first_for(row) is short.rules.each[0]


async def test_only_the_last_passes_keep_their_rules(stage: Stage) -> None:
    policy = under(rule("films", VIDEO, media_retention=FOREVER))
    for _ in range(COMPARED + 2):
        passes = stage.catalog.passes
        current = await passes.begin(stage.term, PassKind.RETENTION, "hash", Mode.LIVE, None, policy)
        await passes.arm(stage.term, current, Tally())
    kept = await stage.sql.fetchval("SELECT count(*) FROM reconciler.passes WHERE policy ? 'rules'")
    assert kept == COMPARED
    last = await stage.catalog.passes.last(PassKind.RETENTION, PassState.RELEASED)
    assert last is not None
    assert last.policy == policy


# --- claims -----------------------------------------------------------------------------------------


async def test_a_claim_waits_for_who_moves_a_key_to_another_group(grouped: Stage, database: str) -> None:
    """The group decides, so the key's row is locked as where a verdict reads its state."""
    owner = await grouped.add_owner(VirtualKeyGroupId=1)
    await grouped.add_row("image/a", VirtualKeyId=owner)
    by_group = under(rule("short", Match(key_group=("1",)), media_retention=DAY))
    by_group = replace(by_group, media_retention=FOREVER)
    decide = decider(runtime(policy=by_group))
    await grouped.mark(finding("image/a", Verdict.STALE))
    writer = await asyncpg.connect(database)
    try:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute('UPDATE "VirtualKeys" SET "VirtualKeyGroupId" = 2 WHERE "Id" = $1', owner)
        held = await grouped.claim(decide, by_group)
        assert (claimed(held), held.postponed) == ([], 1)
        await transaction.commit()
    finally:
        await writer.close()
    await grouped.sql.execute("UPDATE reconciler.marks SET not_before = NULL")
    after = await grouped.claim(decide, by_group)
    assert (claimed(after), after.cancelled) == ([], 1), "its rule is another one now"


async def test_a_row_that_changes_its_rule_after_the_claim_is_decided_again(grouped: Stage) -> None:
    await grouped.add_row("image/a")
    images = under(rule("short", Match(media_type=("image",)), media_retention=DAY))
    images = replace(images, media_retention=FOREVER)
    decide = decider(runtime(policy=images))
    await grouped.mark(finding("image/a", Verdict.STALE))
    claim = await grouped.claim(decide, images)
    assert claimed(claim) == ["image/a"]
    await grouped.sql.execute("""UPDATE "MediaRecords" SET "MediaType" = 'video'""")
    spared = await grouped.catalog.marks.look_again(claim, decide, images, guarded=False)
    assert [*spared] == ["image/a"]
