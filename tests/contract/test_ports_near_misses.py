"""Near misses, asked of the double and of Postgres alike."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reconciler.model import ObjectResult, Tally, Verdict
from tests.contract.catalog import NOTHING, all_go, claimed, finding
from tests.contract.sides import CatalogSide

pytestmark = pytest.mark.anyio


async def test_what_folds_alike_is_a_pair_and_loses_its_marks(catalog: CatalogSide) -> None:
    current, near = await catalog.begin(), catalog.near_misses
    kinds = {"image/a": Verdict.ORPHAN, "image/A": Verdict.DANGLING, "image/b": Verdict.ORPHAN}
    found = [finding(key, verdict) for key, verdict in kinds.items()]
    for _ in range(2):  # noted again, as by a sweep that is resumed
        await near.note(current.id, [("image/a", "1"), ("image/b", "2")], [("image/A", "1"), ("x", "9")])
    await near.note_outside(current.id, [("/image/b", "2"), ("/image/c", "3"), ("/image/b", "3")])
    await catalog.passes.record(catalog.term, current, found, NOTHING)
    first = await near.spare(current.id, "", 1)
    assert [(each.storage_key, each.row_key, each.rows) for each in first] == [("image/a", "image/A", 1)]
    rest = await near.spare(current.id, "image/a", 5)
    assert [(each.storage_key, each.row_key, each.rows) for each in rest] == [("image/b", "/image/b", 0)]
    assert await near.spare(current.id, "image/b", 5) == []
    await catalog.passes.arm(catalog.term, current, Tally())
    assert (await catalog.claim(all_go)).taken == 0
    await near.forget(current.id + 1)
    assert await near.spare(current.id, "", 5) == []


async def test_another_pass_knows_nothing_of_them(catalog: CatalogSide) -> None:
    one, near = await catalog.begin(), catalog.near_misses
    await near.note(one.id, [("image/a", "1")], [])
    two = await catalog.begin()
    await near.note(two.id, [], [("image/A", "1")])
    assert await near.spare(two.id, "", 5) == []


async def test_rows_outside_the_prefixes_come_in_pages(catalog: CatalogSide) -> None:
    for key in ("/image/a", "image/in", "zoo/b", "zoo/a", "video/in"):
        await catalog.add_row(key)
    pages = [list(page) async for page in catalog.records.outside(("image/", "video/"), 2)]
    assert [key for page in pages for key in page] == ["/image/a", "zoo/a", "zoo/b"]
    assert max(map(len, pages)) <= 2


@pytest.mark.attack(69)
@pytest.mark.parametrize("other", ["/image/a", "a", "image%2Fa", "image%2fa"])
async def test_a_claim_looks_for_other_spellings(catalog: CatalogSide, other: str) -> None:
    """Rows outside the prefixes, however old: the one that has come since the sweep looked is among them."""
    await catalog.sweep(("image/a", Verdict.ORPHAN), ("image/b", Verdict.ORPHAN))
    await catalog.add_row(other)
    claim = await catalog.claim(all_go)
    assert (claimed(claim), claim.cancelled) == (["image/b"], 1)


@pytest.mark.attack(98)
@pytest.mark.parametrize("other", ["/image/a", "a", "image%2Fa"])
async def test_a_row_of_another_spelling_keeps_the_object_of_a_record_that_goes(
    catalog: CatalogSide, other: str
) -> None:
    """R-98: the record goes, and its object stays as an orphan with a pair."""
    for key in ("image/a", "image/b"):
        await catalog.add_row(key, expired=True)
    await catalog.add_row(other)
    await catalog.sweep(("image/a", Verdict.EXPIRED), ("image/b", Verdict.EXPIRED))
    claim = await catalog.claim()
    assert {key.mark.storage_key: key.decision.delete_object for key in claim.keys} == {
        "image/a": False,
        "image/b": True,
    }


@pytest.mark.attack(69)
async def test_an_old_row_within_the_prefixes_is_the_sweeps_to_judge(catalog: CatalogSide) -> None:
    await catalog.add_row("image/a")
    await catalog.sweep(("image/A", Verdict.ORPHAN))
    assert claimed(await catalog.claim(all_go)) == ["image/A"]


@pytest.mark.attack(93)
@pytest.mark.parametrize(
    "other",
    [
        "image/A É.PNG",
        "image/a%20%C3%A9.pn%67",
        "https://cdn.example.org/IMAGE/A+%C3%89.png?v=2",
        "A É.png",
        "/srv/app/image/a é.png",
    ],
)
async def test_a_row_that_is_written_since_the_sweep_keeps_what_it_spells_otherwise(
    catalog: CatalogSide, other: str
) -> None:
    """R-93: in spellings that no index leads to, and however old the row says that it is."""
    await catalog.sweep(("image/a é.png", Verdict.ORPHAN), ("image/b", Verdict.ORPHAN))
    await catalog.add_row(other)
    claim = await catalog.claim(all_go)
    assert (claimed(claim), claim.cancelled) == (["image/b"], 1)


@pytest.mark.attack(93)
async def test_a_row_that_is_written_while_an_earlier_claim_waits_is_seen(catalog: CatalogSide) -> None:
    """R-93: the next pass is compared again, however short the time since."""
    await catalog.sweep(("image/b", Verdict.ORPHAN))
    assert claimed(await catalog.claim(all_go)) == ["image/b"]
    await catalog.sweep(("image/A", Verdict.ORPHAN))
    await catalog.add_row("image/a")
    assert (await catalog.claim(all_go)).cancelled == 1


async def test_what_went_since_is_told_apart(catalog: CatalogSide) -> None:
    long_ago, later = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    await catalog.sweep(("image/a", Verdict.ORPHAN))
    await catalog.confirm(await catalog.claim(all_go), ObjectResult.DELETED, all_go)
    passes, prefixes = catalog.passes, ("image/", "video/")
    assert (await passes.backlog(prefixes)).since is None
    backlog = await passes.backlog(prefixes, None, long_ago)
    assert backlog.since == {Verdict.ORPHAN: 1}
    assert backlog.by_prefix["image/"].since == {Verdict.ORPHAN: 1}
    assert not backlog.by_prefix["video/"].since
    assert not (await passes.backlog(prefixes, None, later)).since
