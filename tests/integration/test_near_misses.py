"""R-69, I-53: keys that the two sides spell otherwise, on both joins, with real servers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unicodedata import normalize

import pytest

from reconciler.catalog.db.config import TableMapping
from reconciler.catalog.marks.marks import PostgresMarks
from reconciler.catalog.media_tables import triggers
from reconciler.catalog.media_tables.near_misses.written import WrittenSince
from reconciler.model import Claim, KeepReason, Outcome, Verdict
from tests.integration.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.calm]


def inside(_bucket: str, year: str) -> dict[str, str]:
    """Rows within the prefixes, by what makes them differ from their objects' keys."""
    key = spelled(year)
    return {
        "decomposed": normalize("NFD", key),
        "percent": f"image/{year}/Caf%C3%A9%20no%2Bte.png",
        "percent twice": f"image/{year}/Caf%25C3%25A9%2520no%252Bte.png",
        "plus": f"image/{year}/Café+no+te.png",
        "case": f"image/{year}/CAFÉ NO+TE.PNG",
        "doubled slash": f"image//{year}//Café no+te.png",
        "blank at the end": f"{key} ",
        "query": f"{key}?v=2",
        "prefix twice": f"image/{key}",
    }


def outside(bucket: str, year: str) -> dict[str, str]:
    key = spelled(year)
    return {
        "leading slash": f"/{key}",
        "bucket": f"{bucket}/{key}",
        "address": f"https://cdn.example.org/{bucket}/image/{year}/Caf%C3%A9%20no%2Bte.png?v=2#x",
        "virtual-hosted": f"https://{bucket}.s3.eu-central-1.amazonaws.com/image/{year}/Caf%C3%A9%20no+te.png",
        "s3": f"s3://{bucket}/{key}",
        "absolute": f"/usr/src/app/{key}",
        "prefix cut off": f"{year}/Café no+te.png",
        "prefix in another case": f"IMAGE/{key.removeprefix('image/')}",
    }


def spelled(year: str) -> str:
    """The key as the bucket has it. Each kind of row has a year of its own, so that it protects no other."""
    return f"image/{year}/Café no+te.png"


@pytest.mark.attack(69)
@pytest.mark.incident(53)
@pytest.mark.parametrize("spell", [inside, outside])
async def test_neither_the_objects_nor_their_rows_go(
    ordered_site: Site, spell: Callable[[str, str], dict[str, str]]
) -> None:
    site, bucket = ordered_site, ordered_site.bucket.name
    years = {name: str(2026 + number) for number, name in enumerate(spell(bucket, ""))}
    keys = {spelled(year) for year in years.values()}
    rows = {spell(bucket, year)[name] for name, year in years.items()}
    assert len(keys) == len(rows) == len(years)
    await site.tracked("image/live", "video/live")
    await site.put(*keys, "image/orphan")
    for row in rows:
        await site.row(row)
    # More than a handful trips; what is kept stays so when a person has approved the rest.
    assert (await site.once()).outcome is Outcome.TRIPPED
    await site.approve(await site.tripped())
    for _ in range(3):
        report = await site.once()
    live = {"image/live", "video/live"}
    assert await site.state() == (live | keys, live | rows)
    assert report.outcome is Outcome.CONVERGED, report.detail
    assert report.kept[KeepReason.NEAR_MISS] == (2 if spell is inside else 1) * len(rows)
    assert report.found[Verdict.ORPHAN] == len(rows)


@pytest.mark.attack(69)
async def test_the_join_without_order_keeps_them_too(unordered_site: Site) -> None:
    site = unordered_site
    rows = ["image/2026/NOTE.png", f"https://{site.bucket.name}.example.org/image/b.png"]
    await site.tracked("image/live")
    await site.put("image/2026/note.png", "image/b.png", "image/orphan")
    for row in rows:
        await site.row(row)
    for _ in range(3):
        report = await site.once(breaker__max_dangling="0")  # a row that is kept misses nothing
    assert (report.outcome, report.detail) == (Outcome.CONVERGED, "")
    assert await site.keys() == {"image/live", "image/2026/note.png", "image/b.png"}
    assert await site.rows() == {"image/live", *rows}
    assert report.kept[KeepReason.NEAR_MISS] == 3


@pytest.mark.attack(69)
async def test_a_row_of_another_spelling_that_has_its_own_object_saves_no_orphan(ordered_site: Site) -> None:
    await ordered_site.tracked("image/note.png")
    await ordered_site.put("image/NOTE.png")
    assert (await ordered_site.once()).removed.objects == 1
    assert await ordered_site.keys() == {"image/note.png"}


@pytest.mark.attack(69)
@pytest.mark.incident(53)
async def test_more_than_a_handful_trips_and_once_let_through_does_not_again(site: Site) -> None:
    await site.tracked("image/live")
    await site.put("image/orphan")
    for number in range(8):
        await site.put(f"image/{number}.png")
        await site.row(f"/srv/image/{number}.png")
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "8 objects and rows are near misses" in report.detail
    await site.approve(await site.tripped())
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    assert len(await site.keys()) == 9
    assert len(await site.rows()) == 9


@pytest.mark.attack(69)
async def test_plan_shows_each_with_its_pair_and_writes_nothing(site: Site) -> None:
    await site.tracked("image/live")
    await site.put("image/a.png", "image/b.png", "image/orphan")
    await site.row("/image/a.png")
    await site.row("image/B.png")
    report, findings = await site.plan()
    told = {each.storage_key: (each.kept, each.reason) for each in findings}
    near = {key for key, (kept, _) in told.items() if kept is KeepReason.NEAR_MISS}
    expected = {"image/b.png", "image/B.png"}
    # A store that keeps files takes the row's leading slash for its own doing: that object has its row.
    assert near - {"image/a.png"} == expected
    assert told["image/orphan"][0] is None
    assert "the row 'image/B.png' spells its key otherwise" in told["image/b.png"][1]
    assert "the object 'image/b.png' spells its key otherwise" in told["image/B.png"][1]
    assert report.kept[KeepReason.NEAR_MISS] == len(near)
    assert await site.sql("SELECT FROM reconciler.spellings") == []


LATER, AGO = timedelta(seconds=5), timedelta(days=-400)
ZERO = datetime(1, 1, 1, tzinfo=UTC)


@pytest.mark.attack(93)
@pytest.mark.attack(69)
@pytest.mark.parametrize(
    ("row", "made"),
    [
        ("/image/late.png", LATER),
        ("s3://{bucket}/image/late.png", LATER),
        ("image/LATE.PNG", LATER),
        ("image/LATE.PNG", ZERO),  # a language's zero time: nobody knows when it was made
        ("image/LAT%65.PNG", AGO),  # rows that say that they are old, in spellings that no index leads to
        ("https://cdn.example.org/IMAGE/LATE.PNG?v=2", AGO),
    ],
)
async def test_a_row_that_comes_between_mark_and_claim_keeps_the_object(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch, row: str, made: timedelta | datetime
) -> None:
    """No sweep sees the row before the claim does."""
    site, row = ordered_site, row.format(bucket=ordered_site.bucket.name)
    await site.tracked("image/live")
    await site.put("image/Late.png" if "LAT" in row else "image/late.png")
    before, claim = await site.keys(), PostgresMarks.claim

    async def late(*given: Any, **named: Any) -> Claim:
        if row not in await site.rows():
            created = made if isinstance(made, datetime) else datetime.now(UTC) + made
            await site.row(row, CreatedAt=created)
        return await claim(*given, **named)

    monkeypatch.setattr(PostgresMarks, "claim", late)
    report = await site.once()
    assert (report.found[Verdict.ORPHAN], report.removed.objects) == (1, 0)
    assert await site.keys() == before


@pytest.mark.attack(94)
async def test_a_row_that_comes_while_marks_are_claimed_keeps_the_object(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-94: after the rows written since the sweep were compared, with triggers."""
    site, compare = ordered_site, WrittenSince.compare
    await site.script(triggers.script(TableMapping()))
    await site.tracked("image/live")
    await site.put("image/Late.png")

    async def then_late(self: WrittenSince, prefixes: tuple[str, ...]) -> str:
        before = await compare(self, prefixes)
        if "image/LATE.png" not in await site.rows():
            await site.row("image/LATE.png", CreatedAt=datetime.now(UTC) + AGO)
        return before

    monkeypatch.setattr(WrittenSince, "compare", then_late)
    report = await site.once()
    assert (report.found[Verdict.ORPHAN], report.removed.objects) == (1, 0)
    assert await site.keys() == {"image/live", "image/Late.png"}


PARTITIONED = """
    ALTER TABLE public."MediaRecords" RENAME TO aside;
    CREATE TABLE public."MediaRecords" (LIKE public.aside INCLUDING DEFAULTS)
        PARTITION BY RANGE ("CreatedAt");
    CREATE UNIQUE INDEX ON public."MediaRecords" ("Id", "CreatedAt");
    CREATE TABLE public.now PARTITION OF public."MediaRecords" FOR VALUES FROM ('2021-01-01') TO (MAXVALUE)
        PARTITION BY RANGE ("CreatedAt");
    CREATE TABLE public.today PARTITION OF public.now FOR VALUES FROM ('2022-01-01') TO (MAXVALUE);
    CREATE TABLE public.late (LIKE public."MediaRecords");
    CREATE TABLE public.names (name text, year int) PARTITION BY RANGE (year);
    CREATE TABLE public.late_names AS SELECT 'image/LATE.PNG' AS name, 2020 AS year;
"""


@pytest.mark.attack(95)
@pytest.mark.parametrize(
    ("made", "attach"),
    [
        ("2020-05-05", """public."MediaRecords" ATTACH PARTITION public.late DEFAULT"""),
        ("2021-05-05", "public.now ATTACH PARTITION public.late DEFAULT"),
        ("", "public.names ATTACH PARTITION public.late_names DEFAULT"),
    ],
    ids=["media", "part of a part", "further column"],
)
async def test_old_rows_that_come_with_a_partition_keep_what_they_spell_otherwise(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch, made: str, attach: str
) -> None:
    """R-95: written long before the sweep, in a table that is attached between sweep and claim."""
    site, claim = ordered_site, PostgresMarks.claim
    await site.script(PARTITIONED)
    await site.tracked("image/live")
    if made:
        await site.script(f"""
            INSERT INTO public.late SELECT * FROM public."MediaRecords";
            UPDATE public.late SET "StorageKey" = 'image/LATE.PNG', "Id" = gen_random_uuid(),
                "CreatedAt" = '{made}';
        """)
    await site.put("image/Late.png")
    before, attached = await site.keys(), False

    async def late(*given: Any, **named: Any) -> Claim:
        nonlocal attached
        if not attached:
            await site.script(f"ALTER TABLE {attach}")
            attached = True
        return await claim(*given, **named)

    monkeypatch.setattr(PostgresMarks, "claim", late)
    report = await site.once(catalog__also_referenced='["public.names.name"]')
    assert (report.found[Verdict.ORPHAN], report.removed.objects) == (1, 0)
    assert await site.keys() == before


@pytest.mark.attack(97)
async def test_what_went_comes_back_for_a_row_that_spells_it_otherwise(ordered_site: Site) -> None:
    """R-97: in the next sweep, and the row is no dangling record meanwhile."""
    site = ordered_site
    came = {
        "image/Late.png": "image/LATE.PNG",
        "image/also.png": "https://cdn.example.org/IMAGE/also%2Epng",
    }
    await site.tracked("image/live")
    await site.put(*came, "image/orphan", "image/other.png")
    assert (await site.once(delete_mode="quarantine")).removed.objects == 4
    for row in came.values():
        await site.row(row)
    await site.row("image/OTHER.png", SizeBytes=999)
    for _ in range(3):
        report = await site.once(delete_mode="quarantine")
    rows = {"image/live", "image/OTHER.png", *came.values()}
    assert await site.state() == ({"image/live", *came}, rows), "of another size: not what is meant"
    assert await site.sql("SELECT FROM reconciler.restores") == []
    assert (report.outcome, report.kept[KeepReason.NEAR_MISS]) == (Outcome.CONVERGED, 5)


@pytest.mark.attack(98)
async def test_a_record_goes_and_leaves_its_object_to_a_row_that_spells_it_otherwise(
    ordered_site: Site,
) -> None:
    """R-98: rows that the gateway wrote before it spelled keys as it does now."""
    site = ordered_site
    await site.tracked("image/live")
    rows = {"image/a.png": "/image/a.png", "image/b.png": f"s3://{site.bucket.name}/image/b.png"}
    await site.put(*rows, "image/gone.png")
    for key in (*rows, "image/gone.png"):
        await site.row(key, ExpiresAt=datetime.now(UTC) + AGO)
    for row in rows.values():
        await site.row(row)
    for removed in (1, 0):
        report = await site.once()
        assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, removed)
    assert await site.state() == ({"image/live", *rows}, {"image/live", *rows.values()})
    assert report.kept[KeepReason.NEAR_MISS] == 2
