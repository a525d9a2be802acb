"""What the ports promise, asked of the in-memory doubles and of the real servers alike.

The doubles stand in for the servers in the engine's tests: what is proven with them holds only as
far as they behave the same. What only a real server can do is asked in the other suites here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from reconciler.errors import LeaseLost
from reconciler.model import (
    Deletion,
    HeldBy,
    Identity,
    KeyRange,
    ListingOrder,
    Mark,
    Mode,
    ObjectPage,
    ObjectResult,
    PassKind,
    PassState,
    Postpone,
    RangeProgress,
    Record,
    Tally,
    Term,
    Trip,
    Verdict,
)
from tests.contract.catalog import (
    ALL,
    DAY,
    LONG_AGO,
    NOTHING,
    POLICY,
    TTL,
    all_go,
    claimed,
    finding,
    unless_named,
)
from tests.contract.sides import BucketSide, CatalogSide

pytestmark = pytest.mark.anyio


# --- bucket ----------------------------------------------------------------------------------------


@pytest.mark.incident(6)
async def test_a_listing_has_every_key_of_the_prefix_once_and_no_siblings(side: BucketSide) -> None:
    """I-6."""
    keys = {"image/a", "image/b/c", "image/\U0001f600", "image/\ue000"}
    for key in keys | {"images/a", "imag", "video/a"}:
        side.put(key)
    page = await side.listing.list_page("image/")
    assert len(page.keys) == len(keys)
    assert set(page.keys) == keys
    assert page.next_token is None
    assert (await side.listing.list_page("none/")).keys == []
    if side.ordered:
        assert page.keys == sorted(keys)
        rest = await side.listing.list_page("image/", start_after="image/a")
        assert rest.keys == sorted(keys)[1:]


async def test_what_is_listed_agrees_with_head(side: BucketSide) -> None:
    side.put("image/a")
    listed = (await side.listing.list_page("image/")).object_at(0)
    head = await side.store.head("image/a")
    assert head is not None
    assert (head.key, head.size, head.etag) == (listed.key, listed.size, listed.etag)
    assert head.last_modified is not None
    assert listed.last_modified is not None
    assert abs(head.last_modified - listed.last_modified) < timedelta(seconds=1)
    assert await side.store.head("image/b") is None


async def test_deletions_are_answered_in_the_order_asked(side: BucketSide) -> None:
    for key in ("image/a", "image/b", "image/c"):
        side.put(key)
    etag = (await side.listing.list_page("image/a")).etags[0]
    batch = [
        Deletion(key="image/c"),
        Deletion(key="image/a", etag=etag),
        Deletion(key="image/b", etag="0" * 32),
    ]
    results = await side.store.delete(batch)
    assert [result.key for result in results] == ["image/c", "image/a", "image/b"]
    assert [result.result for result in results] == [
        ObjectResult.DELETED,
        ObjectResult.DELETED,
        ObjectResult.CHANGED,
    ]
    assert (await side.listing.list_page("image/")).keys == ["image/b"]


async def test_what_is_gone_already_counts_as_gone(side: BucketSide) -> None:
    """I-37. Some stores say so, some do not tell it from a deletion."""
    (result,) = await side.store.delete([Deletion(key="image/none")])
    assert result.result in {ObjectResult.DELETED, ObjectResult.MISSING}


async def test_the_marker_is_read_back_as_written(side: BucketSide) -> None:
    ours = Identity(
        site_id=UUID(int=1), bucket="media", prefixes=("image/",), created_at=datetime(2026, 1, 2, tzinfo=UTC)
    )
    assert await side.identity.read() is None
    assert not await side.identity.exists()
    await side.identity.write(ours)
    assert await side.identity.read() == ours
    assert await side.identity.exists()
    await side.identity.write(replace(ours, site_id=UUID(int=2)))
    assert await side.identity.read() == ours, "a foreign marker is left as it is"
    await side.identity.write(replace(ours, prefixes=("other/",)))
    assert await side.identity.read() == ours, "and so is our own, which may bear a seal by now"


# --- catalog ---------------------------------------------------------------------------------------


KEYS = ["image/a", "image/a!", "image/a/b", "image/\ue000", "image/\U0001f600"]


@pytest.mark.incident(13)
async def test_keys_come_in_byte_order_and_within_their_span(catalog: CatalogSide) -> None:
    """I-13."""
    for key in [*KEYS, "images/z", "imag"]:
        await catalog.add_row(key)
    span = KeyRange(prefix="image/")
    assert list(await catalog.records.keys_in(span, 10)) == KEYS
    assert list(await catalog.records.keys_in(span, 2)) == KEYS[:2]
    inner = KeyRange(prefix="image/", after="image/a", upto="image/\ue000")
    assert list(await catalog.records.keys_in(inner, 10)) == KEYS[1:4]
    assert await catalog.records.count(["image/"]) == 5
    assert await catalog.records.count_outside(["image/"]) == 2


async def test_lookup_finds_every_row_that_names_a_key(catalog: CatalogSide) -> None:
    row = await catalog.add_row("image/a", expired=True)
    await catalog.add_row("image/b")
    (found,) = await catalog.records.lookup(["image/a", "image/none"])
    assert (found.id, found.storage_key) == (row, "image/a")
    assert (found.created_at, found.expires_at) == (LONG_AGO, LONG_AGO)


async def test_staging_finds_what_is_on_one_side_only(catalog: CatalogSide) -> None:
    for key in KEYS[:3]:
        await catalog.add_row(key)
    times = ["2026-01-01T00:00:00Z"] * 2
    async with catalog.staging.open(None) as staging:
        await staging.copy(ObjectPage([KEYS[4], KEYS[0]], [7, 5], ["e1", "e2"], times))
        await staging.copy(ObjectPage([KEYS[1], KEYS[0]], [7, 5], ["e1", "e2"], times))
        assert await staging.seal() == (3, 19)
        objects = [one.key async for page in staging.objects_without_record() for one in page]
        rows = [row.storage_key async for page in staging.records_without_object(["image/"]) for row in page]
    assert (objects, rows) == ([KEYS[4]], [KEYS[2]])


async def test_the_budget_is_one_for_all_who_take_from_it(catalog: CatalogSide) -> None:
    """Waits are by the server's clock, which moves on a little between two calls."""
    await catalog.budget.reserve(100, 100.0, 100)
    waits = [await catalog.budget.reserve(200, 100.0, 100) for _ in range(3)]
    assert waits == pytest.approx([waits[0], waits[0] + 2, waits[0] + 4], abs=0.5)
    assert await catalog.budget.reserve(1000, 1000.0, 1000) == pytest.approx(waits[2] + 1, abs=0.5)
    assert await catalog.budget.reserve(-50.0, 100.0, 0) == pytest.approx(waits[2] + 0.5, abs=0.5)
    assert await catalog.budget.reserve(50.0, 100.0, 0) == pytest.approx(waits[2] + 1, abs=0.5)
    assert await catalog.budget.reserve(10**9, math.inf, 1000) == 0.0
    assert await catalog.budget.reserve(0, 100.0, 100) == pytest.approx(waits[2] + 1, abs=0.5)


async def test_a_budget_far_ahead_of_the_clock_does_not_wait_for_ever(catalog: CatalogSide) -> None:
    """The server's clock went back, or a rate was set that nobody meant."""
    await catalog.budget.reserve(1000, 0.01, 1)
    assert await catalog.budget.reserve(1, 1.0, 1) == pytest.approx(61, abs=0.5)


async def test_a_pause_stops_every_claim_until_it_is_ended(catalog: CatalogSide) -> None:
    await catalog.sweep(("image/a", Verdict.ORPHAN))
    assert not (await catalog.pauses.read()).paused
    first = await catalog.pauses.pause("alice@host", "a restore")
    assert (first.paused, first.by, first.reason) == (True, "alice@host", "a restore")
    assert first.at is not None
    assert await catalog.pauses.pause("bob@host", "another") == first, "the first one stands"
    assert await catalog.pauses.read() == first
    assert (await catalog.claim()).taken == 0
    assert (await catalog.marks.waiting(POLICY, ALL)).marks == 1
    assert await catalog.pauses.resume("carol@host") == first
    ended = await catalog.pauses.read()
    assert (ended.paused, ended.by, ended.reason) == (False, "carol@host", "")
    assert await catalog.pauses.resume("dave@host") == ended, "nothing to end"
    assert (await catalog.pauses.read()).by == "carol@host"
    assert claimed(await catalog.claim()) == ["image/a"]


async def test_a_pause_leaves_claims_to_roll_forward_after_it(catalog: CatalogSide) -> None:
    await catalog.sweep(("image/a", Verdict.ORPHAN))
    await catalog.claim()
    await catalog.lease.release(catalog.term)
    term = await catalog.lease.acquire("next", TTL)
    assert isinstance(term, Term)
    await catalog.pauses.pause("alice@host", "")
    assert await catalog.marks.rescue(term, NOTHING, 10) is None
    await catalog.pauses.resume("alice@host")
    after = await catalog.marks.rescue(term, NOTHING, 10)
    assert after is not None
    assert claimed(after) == ["image/a"]


async def test_a_lease_is_held_by_one_and_fences_the_other(catalog: CatalogSide) -> None:
    held = await catalog.lease.acquire("second", TTL)
    assert isinstance(held, HeldBy)
    assert held.holder == "test"
    await catalog.lease.renew(catalog.term, TTL)
    await catalog.lease.release(catalog.term)
    second = await catalog.lease.acquire("second", TTL)
    assert isinstance(second, Term)
    assert second.epoch == catalog.term.epoch + 1
    with pytest.raises(LeaseLost):
        await catalog.lease.renew(catalog.term, TTL)
    with pytest.raises(LeaseLost):
        await catalog.sweep()
    with pytest.raises(LeaseLost):
        await catalog.claim()


async def test_a_pass_resumes_where_its_watermarks_stand(catalog: CatalogSide) -> None:
    passes, term = catalog.passes, catalog.term
    order = ListingOrder.BYTES
    begun = await passes.begin(term, PassKind.SWEEP, "hash", Mode.LIVE, order)
    spans = [KeyRange(prefix="image/", upto="image/m"), KeyRange(prefix="image/", after="image/m")]
    await passes.plan_ranges(term, begun.id, spans)
    first = RangeProgress(ordinal=0, range=spans[0], watermark="image/m", done=True, tally=Tally(objects=3))
    await passes.record(term, begun, [], NOTHING, first)
    left = await passes.resumable(PassKind.SWEEP, "hash", Mode.LIVE, order, DAY)
    assert left is not None
    assert (left.id, left.cutoff) == (begun.id, begun.cutoff)
    resumed = await passes.ranges(begun.id)
    assert resumed[0] == first
    assert [one.range for one in resumed] == spans
    assert not resumed[1].done
    assert await passes.resumable(PassKind.SWEEP, "other", Mode.LIVE, order, DAY) is None
    newer = await passes.begin(term, PassKind.SWEEP, "hash", Mode.LIVE, order)
    last = await passes.last(PassKind.SWEEP, PassState.SUPERSEDED)
    assert last is not None
    assert last.id == begun.id
    await passes.arm(term, newer, Tally())
    assert await passes.resumable(PassKind.SWEEP, "hash", Mode.LIVE, order, DAY) is None


async def test_an_orphan_goes_from_mark_to_confirmation(catalog: CatalogSide) -> None:
    await catalog.sweep(("image/b", Verdict.ORPHAN), ("image/a", Verdict.ORPHAN))
    assert (await catalog.passes.backlog()).pending == {Verdict.ORPHAN: 2}
    claim = await catalog.claim()
    assert claimed(claim) == ["image/a", "image/b"]
    assert await catalog.marks.horizon_passed(claim.xid)
    assert await catalog.marks.look_again(claim, unless_named, POLICY, guarded=False) == {}
    removed = await catalog.confirm(claim, ObjectResult.DELETED)
    assert (removed.objects, removed.records, removed.bytes, removed.lost) == (2, 0, 20, 0)
    backlog = await catalog.passes.backlog()
    assert (dict(backlog.pending), dict(backlog.gone)) == ({}, {Verdict.ORPHAN: 2})
    assert (await catalog.claim()).taken == 0


async def test_what_goes_while_a_pass_runs_is_not_marked_by_it_again(catalog: CatalogSide) -> None:
    """Its page was listed before; a later pass that lists it finds it uploaded again."""
    await catalog.sweep(("image/a", Verdict.ORPHAN))
    running = await catalog.begin()
    await catalog.confirm(await catalog.claim(), ObjectResult.DELETED)
    listed = [finding("image/a", Verdict.ORPHAN), finding("image/b", Verdict.ORPHAN)]
    await catalog.passes.record(catalog.term, running, listed, NOTHING)
    await catalog.passes.arm(catalog.term, running, Tally(objects=2))
    assert claimed(await catalog.claim()) == ["image/b"]


async def test_a_row_goes_only_with_its_object(catalog: CatalogSide) -> None:
    """I-38."""
    await catalog.add_row("image/a", expired=True)
    for result, records in ((ObjectResult.CHANGED, 0), (ObjectResult.DELETED, 1)):
        await catalog.sweep(("image/a", Verdict.EXPIRED))
        removed = await catalog.confirm(await catalog.claim(), result)
        assert removed.records == records
        assert await catalog.records.count(["image/"]) == 1 - records


async def test_a_failed_key_stays_claimed_and_is_waited_for(catalog: CatalogSide) -> None:
    await catalog.sweep(("image/a", Verdict.ORPHAN))
    assert (await catalog.confirm(await catalog.claim(), ObjectResult.FAILED)).failed == 1
    assert (await catalog.marks.waiting(POLICY, ALL)).marks == 1
    assert (await catalog.claim()).taken == 0
    assert await catalog.marks.rescue(catalog.term, DAY, 10) is None


async def test_what_a_term_lets_go_is_taken_up_at_once_but_for_what_failed(catalog: CatalogSide) -> None:
    await catalog.sweep(("image/failed", Verdict.ORPHAN))
    await catalog.confirm(await catalog.claim(), ObjectResult.FAILED)
    await catalog.sweep(("image/a", Verdict.ORPHAN))
    before = await catalog.claim()
    for _ in range(2):
        assert await catalog.marks.rescue(catalog.term, DAY, 10) is None, "it is in hand"
        await catalog.marks.let_go(catalog.term)
        again = await catalog.marks.rescue(catalog.term, DAY, 10)
        assert again is not None
        assert claimed(again) == ["image/a"]
        assert again.operation_id != before.operation_id
    await catalog.lease.release(catalog.term)
    term = await catalog.lease.acquire("next", TTL)
    assert isinstance(term, Term)
    await catalog.marks.let_go(catalog.term)
    assert await catalog.marks.rescue(term, DAY, 10) is None, "another term's requests may be on their way"


async def test_a_dead_epochs_claim_is_taken_over_under_a_new_operation(catalog: CatalogSide) -> None:
    """R-21."""
    await catalog.sweep(("image/a", Verdict.ORPHAN))
    before = await catalog.claim()
    await catalog.lease.release(catalog.term)
    term = await catalog.lease.acquire("next", TTL)
    assert isinstance(term, Term)
    assert await catalog.marks.abandoned(term) == 1
    assert await catalog.marks.rescue(term, DAY, 10) is None
    after = await catalog.marks.rescue(term, NOTHING, 10)
    assert after is not None
    assert [key.decision for key in after.keys] == [key.decision for key in before.keys]
    assert (after.epoch, after.operation_id == before.operation_id) == (term.epoch, False)
    assert await catalog.marks.abandoned(term) == 0


async def test_a_trip_releases_nothing_until_a_pass_is_in_order(catalog: CatalogSide) -> None:
    await catalog.sweep(("image/a", Verdict.ORPHAN), trip=Trip(reason="too many"))
    assert (await catalog.claim()).taken == 0
    assert not any((await catalog.passes.backlog()).pending.values())
    await catalog.sweep(("image/b", Verdict.ORPHAN))
    assert claimed(await catalog.claim()) == ["image/b"], "what was not seen again is withdrawn"


async def test_a_mark_of_a_newer_program_is_neither_withdrawn_nor_replaced(catalog: CatalogSide) -> None:
    await catalog.sweep(("image/a", Verdict("outlandish")))
    for _ in range(2):
        await catalog.sweep(("image/a", Verdict.ORPHAN), ("image/b", Verdict.ORPHAN))
    assert claimed(await catalog.claim()) == ["image/b"]
    await catalog.sweep()
    await catalog.sweep(("image/a", Verdict.ORPHAN))
    assert claimed(await catalog.claim()) == []


async def test_a_trip_on_both_sides_stops_every_claim(catalog: CatalogSide) -> None:
    """I-27."""
    await catalog.sweep(("image/a", Verdict.ORPHAN))
    await catalog.sweep(trip=Trip(reason="both", both_sides=True))
    assert (await catalog.claim()).taken == 0
    await catalog.sweep(("image/a", Verdict.ORPHAN))
    assert (await catalog.claim()).taken == 0, "until a person has decided"


async def test_a_dangling_record_takes_two_sweeps_and_its_object_is_not_counted(catalog: CatalogSide) -> None:
    await catalog.add_row("image/a")
    await catalog.sweep(("image/a", Verdict.DANGLING))
    assert (await catalog.claim(all_go)).taken == 0
    assert (await catalog.marks.waiting(POLICY, ALL)).marks == 1
    await catalog.sweep(("image/a", Verdict.DANGLING))
    removed = await catalog.confirm(await catalog.claim(all_go), ObjectResult.MISSING, all_go)
    assert (removed.objects, removed.records) == (0, 1)


@pytest.mark.parametrize("seen", [(), (("image/a", Verdict.ORPHAN),)])
async def test_a_dangling_mark_goes_with_the_first_sweep_that_finds_its_object(
    catalog: CatalogSide, seen: Sequence[tuple[str, Verdict]]
) -> None:
    """Seen once it can never be claimed: it would wait for ever, and keep its key from other verdicts."""
    await catalog.add_row("image/a")
    await catalog.sweep(("image/a", Verdict.DANGLING))
    await catalog.sweep(*seen)
    assert (await catalog.marks.waiting(POLICY, ALL)).marks == 0
    await catalog.sweep(("image/a", Verdict.ORPHAN))
    assert (await catalog.marks.drift())[Verdict.ORPHAN][0] == 1


async def test_what_is_put_off_waits_and_keeps_its_mark(catalog: CatalogSide) -> None:
    def later(mark: Mark, records: Sequence[Record], now: datetime) -> Postpone:
        return Postpone(reason="later")

    await catalog.sweep(("image/a", Verdict.ORPHAN))
    claim = await catalog.claim(later)
    assert (claim.keys, claim.taken, claim.postponed) == ((), 1, 1)
    assert (await catalog.claim()).taken == 0
    assert (await catalog.marks.waiting(POLICY, ALL)).marks == 1


async def test_a_preview_takes_nothing_and_remembers_what_it_showed(catalog: CatalogSide) -> None:
    await catalog.sweep(("image/a", Verdict.ORPHAN), ("image/b", Verdict.ORPHAN))
    await catalog.lease.observe_mode(catalog.term, Mode.DRY_RUN)
    assert (await catalog.claim()).taken == 0
    for seen in (False, True):
        due = [one async for page in catalog.marks.due(POLICY, ALL, unless_named) for one in page]
        assert [(one.mark.storage_key, one.seen) for one in due] == [("image/a", seen), ("image/b", seen)]
        await catalog.marks.note_preview(catalog.term, ["image/a", "image/b"])


async def test_what_waits_says_until_when_and_for_what(catalog: CatalogSide) -> None:
    """A dangling record has to be seen missing once more, whatever its time."""

    def later(mark: Mark, records: Sequence[Record], now: datetime) -> Postpone:
        return Postpone(reason="later")

    await catalog.add_row("image/b")
    await catalog.sweep(("image/a", Verdict.ORPHAN), ("image/b", Verdict.DANGLING))
    await catalog.claim(later)
    waiting = await catalog.marks.waiting(POLICY, ALL)
    assert (waiting.marks, waiting.unseen) == (2, 1)
    assert waiting.due_at is not None
    assert waiting.due_at > await catalog.records.now()
