"""Passes, ranges and watermarks, on a real Postgres."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.catalog.db.connections import by_index
from reconciler.catalog.media_tables.near_misses.noted import PAIRS, SPARE
from reconciler.model import (
    KeepReason,
    KeyRange,
    ListingOrder,
    Mode,
    PassKind,
    PassState,
    Tally,
    Trip,
    Verdict,
)
from tests.contract.catalog import DAY, NOTHING, Stage, finding

pytestmark = pytest.mark.anyio

TALLY = Tally(
    objects=5,
    records=4,
    bytes=30,
    missing=1,
    expired_by_store=1,
    found={Verdict.ORPHAN: 2},
    found_bytes={Verdict.ORPHAN: 20},
    kept={KeepReason.PENDING: 3},
)


async def test_a_killed_pass_is_found_again_with_its_watermarks(stage: Stage) -> None:
    passes = stage.catalog.passes
    begun = await passes.begin(stage.term, PassKind.SWEEP, "hash", Mode.LIVE, ListingOrder.BYTES)
    spans = [
        KeyRange(prefix="image/", upto="image/m"),
        KeyRange(prefix="image/", after="image/m"),
        KeyRange(prefix="video/", after="video/\n'\U0001f600"),
    ]
    await passes.plan_ranges(stage.term, begun.id, spans)
    planned = await passes.ranges(begun.id)
    assert [each.range for each in planned] == spans
    assert [(each.ordinal, each.watermark, each.done) for each in planned] == [
        (0, "", False),
        (1, "image/m", False),
        (2, "video/\n'\U0001f600", False),
    ]
    progress = replace(planned[1], watermark="image/q", done=True, tally=TALLY)
    await passes.record(stage.term, begun, [finding("image/o")], NOTHING, progress)
    resumed = await passes.resumable(PassKind.SWEEP, "hash", Mode.LIVE, ListingOrder.BYTES, DAY)
    assert resumed == begun
    assert list(await passes.ranges(begun.id)) == [planned[0], progress, planned[2]]


@pytest.mark.parametrize(
    ("config_hash", "mode", "order", "age"),
    [
        ("other", Mode.LIVE, ListingOrder.BYTES, DAY),
        ("hash", Mode.DRY_RUN, ListingOrder.BYTES, DAY),
        ("hash", Mode.LIVE, ListingOrder.NONE, DAY),
        ("hash", Mode.LIVE, ListingOrder.BYTES, timedelta(0)),
    ],
)
async def test_a_pass_under_other_circumstances_is_not_resumed(
    stage: Stage, config_hash: str, mode: Mode, order: ListingOrder, age: timedelta
) -> None:
    passes = stage.catalog.passes
    await passes.begin(stage.term, PassKind.SWEEP, "hash", Mode.LIVE, ListingOrder.BYTES)
    assert await passes.resumable(PassKind.SWEEP, config_hash, mode, order, age) is None


async def test_a_finished_pass_is_not_resumed_and_is_remembered(stage: Stage) -> None:
    passes = stage.catalog.passes
    assert await passes.last(PassKind.SWEEP) is None
    released = await passes.begin(stage.term, PassKind.SWEEP, "hash", Mode.LIVE, ListingOrder.NONE)
    await passes.arm(stage.term, released, TALLY)
    tripped = await passes.begin(stage.term, PassKind.SWEEP, "hash", Mode.LIVE, ListingOrder.NONE)
    await passes.trip(stage.term, tripped, TALLY, Trip(reason="too many", both_sides=True))
    failed = await passes.begin(stage.term, PassKind.SWEEP, "hash", Mode.LIVE, ListingOrder.NONE)
    await passes.fail(stage.term, failed, "the listing broke")
    await passes.begin(stage.term, PassKind.RETENTION, "hash", Mode.LIVE, None)
    assert await passes.resumable(PassKind.SWEEP, "hash", Mode.LIVE, ListingOrder.NONE, DAY) is None
    last = await passes.last(PassKind.SWEEP)
    assert last is not None
    assert (last.id, last.state, last.trip_reason) == (failed.id, PassState.FAILED, "the listing broke")
    found = await passes.last(PassKind.SWEEP, PassState.TRIPPED)
    assert found == replace(
        tripped,
        state=PassState.TRIPPED,
        tally=TALLY,
        trip_reason="too many",
        both_sides=True,
        finished_at=found.finished_at if found else None,
    )
    assert (await passes.last(PassKind.SWEEP, PassState.RELEASED) or tripped).id == released.id
    assert await passes.last(PassKind.RETENTION) is None


async def test_the_cutoff_is_the_servers_time_at_the_start(stage: Stage) -> None:
    before = await stage.catalog.records.now()
    begun = await stage.begin()
    assert before < begun.cutoff < await stage.catalog.records.now()


async def test_the_stamp_is_the_arming_transactions_own(stage: Stage) -> None:
    current = await stage.mark(finding("image/a"), arm=False)
    written = await stage.sql.fetchval("SELECT max(xmin::text::bigint) FROM reconciler.marks")
    stamp = await stage.catalog.passes.arm(stage.term, current, Tally())
    assert stamp > written
    assert await stage.catalog.marks.horizon_passed(stamp)
    assert not await stage.catalog.marks.horizon_passed(stamp + 1000)


async def test_a_watermark_that_text_cannot_hold_parts_the_rows_all_the_same(stage: Stage) -> None:
    """A page may end in a key with NUL, which Postgres refuses; no row can name one."""
    passes, records = stage.catalog.passes, stage.catalog.records
    for key in ("image/a", "image/a\x01", "image/b"):
        await stage.add_row(key)
    assert await records.keys_in(KeyRange(prefix="image/", upto="image/a\0z"), 10) == ["image/a"]
    after = await records.keys_in(KeyRange(prefix="image/", after="image/a\0z"), 10)
    assert after == ["image/a\x01", "image/b"]
    begun = await passes.begin(stage.term, PassKind.SWEEP, "hash", Mode.LIVE, ListingOrder.BYTES)
    await passes.plan_ranges(stage.term, begun.id, [KeyRange(prefix="image/")])
    (planned,) = await passes.ranges(begun.id)
    await passes.record(stage.term, begun, [], NOTHING, replace(planned, watermark="image/a\0z"))
    assert (await passes.ranges(begun.id))[0].watermark == "image/a"


async def test_a_pass_of_the_other_marker_releases_no_mark_that_tripped(stage: Stage) -> None:
    """Its breaker has not counted them: the orphans of a sweep that tripped, whose rows came back and
    have expired, would go should those rows vanish once more.
    """
    passes = stage.catalog.passes
    tripped = await stage.mark(finding("image/a"), arm=False)
    await passes.trip(stage.term, tripped, Tally(), Trip(reason="too many"))
    retention = await stage.begin(PassKind.RETENTION)
    await passes.record(stage.term, retention, [finding("image/a", Verdict.EXPIRED)], NOTHING)
    await passes.arm(stage.term, retention, Tally())
    assert (await stage.claim()).taken == 0
    assert (await stage.marks())["image/a"]["pass_id"] == tripped.id
    # A sweep that is let through and does not see it again frees the key for the other kind.
    await stage.mark()
    assert await stage.marks() == {}


ORPHANS = [(f"image/{n}", f"{n}") for n in range(5_000)]
PAGE = f"'{{{','.join(key for key, _ in ORPHANS[:1000])}}}'::text[]"


@pytest.mark.parametrize("query", [PAIRS.replace("$2", "''::text"), SPARE.replace("$2", PAGE)])
async def test_pairs_are_looked_up_one_by_one_whatever_pass_was_analysed(stage: Stage, query: str) -> None:
    """By the pass before, this one has no rows: each of its objects was compared with every other."""
    near = stage.catalog.near_misses
    before = await stage.begin()
    await near.note(before.id, ORPHANS, [("image/A", "1")])
    await stage.sql.execute("ANALYZE reconciler.spellings")
    await near.forget(before.id)
    current = await stage.begin()
    await near.note(current.id, ORPHANS, [("image/A", "1")])
    async with stage.sql.transaction():
        await by_index(stage.sql)
        bound = query.replace("$1", f"{current.id}::bigint").replace("$3", "1000")
        plan = "\n".join(row[0] for row in await stage.sql.fetch(f"EXPLAIN {bound}"))
    assert "(folded = o.folded)" in plan
    # Whether there is any row at all is asked once.
    assert plan.count("Index Cond: (pass_id") == plan.count("InitPlan 1\n") == query.count("EXISTS")
