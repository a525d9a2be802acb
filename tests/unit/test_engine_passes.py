"""What a pass sees, when it is released, how it resumes, and how the lease is kept meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.engine.lead import lease
from reconciler.errors import CatalogUnavailable, LeaseLost, ListingBroken, StoreUnavailable
from reconciler.model import (
    KeepReason,
    ListingOrder,
    ObjectPage,
    Outcome,
    PassKind,
    PassState,
    Phase,
    Term,
    Verdict,
)
from tests.doubles.build import LIMITS, policy
from tests.doubles.observing import Crash, crash
from tests.doubles.passes import MemoryLease
from tests.doubles.world import World

pytestmark = pytest.mark.anyio

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NO_DELAY = policy(delete_delay=timedelta(0))


def paired(world: World, count: int, prefix: str = "image/live") -> None:
    """Objects with their rows, all old."""
    for number in range(count):
        world.bucket.upload(f"{prefix}{number:03}", age=3 * DAY)
        world.database.insert(f"{prefix}{number:03}", age=3 * DAY)


# --- what is seen ----------------------------------------------------------------------------------


@pytest.mark.attack(68)
@pytest.mark.parametrize("order", list(ListingOrder))
async def test_what_further_columns_name_counts_for_its_prefix(order: ListingOrder) -> None:
    world = World(order=order, under=NO_DELAY, page_size=3)
    paired(world, 5)
    for name in ("a", "b", "orphan"):
        world.bucket.upload(f"video/{name}", age=3 * DAY)
    world.database.referenced |= {"video/a", "video/b"}
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    world.bucket.upload("video/another", age=3 * DAY)
    world.database.referenced.clear()
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)


@pytest.mark.parametrize("order", list(ListingOrder))
async def test_a_pass_counts_what_it_saw_found_and_kept(order: ListingOrder) -> None:
    world = World(order=order, page_size=3)
    paired(world, 5)
    for key in ("image/orphan", "image/folder/", "image/\ufffd", "images/sibling"):
        world.bucket.upload(key, age=3 * DAY)
    world.bucket.upload("image/young")
    world.database.insert("image/dangling", age=3 * DAY)
    world.database.insert("images/outside", age=3 * DAY)
    report = await world.run_once()
    assert (report.objects, report.records) == (9, 6)
    assert report.found == {Verdict.ORPHAN: 1, Verdict.DANGLING: 1}
    kept = {reason: number for reason, number in report.kept.items() if number}
    assert kept == {
        KeepReason.PENDING: 3,
        KeepReason.FOLDER_MARKER: 1,
        KeepReason.REPLACEMENT_CHARACTER: 1,
        KeepReason.OUTSIDE_PREFIX: 1,
    }


@pytest.mark.parametrize(
    ("order", "listed_first"), [(ListingOrder.BYTES, []), (ListingOrder.NONE, [Phase.LISTING])]
)
async def test_a_pass_says_what_it_is_doing_and_when_that_is_over(
    order: ListingOrder, listed_first: list[Phase], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(order=order)
    paired(world, 2)
    await world.run_once()
    told = world.observer.phases
    ordinary = [Phase.COMPARING, Phase.RELEASING, None]
    assert [phase for kind, phase in told if kind is PassKind.SWEEP] == [
        Phase.PREPARING,
        *listed_first,
        *ordinary,
    ]
    assert [phase for kind, phase in told if kind is PassKind.RETENTION] == [Phase.PREPARING, *ordinary]
    told.clear()

    async def fail(*_: object, **__: object) -> ObjectPage:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(world.bucket, "list_page", fail)
    with pytest.raises(StoreUnavailable):
        await world.run_once()
    assert told[-1] == (PassKind.SWEEP, None), "a pass that fails is over, too"


@pytest.mark.parametrize("order", list(ListingOrder))
async def test_our_own_corner_is_not_counted_even_under_the_empty_prefix(order: ListingOrder) -> None:
    world = World(order=order, under=policy(prefixes=("",)))
    world.bucket.upload("a", age=3 * DAY)
    world.bucket.upload(".reconciler/scratch", age=3 * DAY)
    report = await world.run_once()
    assert (report.objects, report.found) == (1, {Verdict.ORPHAN: 1})


@pytest.mark.parametrize("order", list(ListingOrder))
async def test_nested_prefixes_are_listed_once(order: ListingOrder) -> None:
    world = World(order=order, under=policy(prefixes=("image/", "image/a/")))
    world.bucket.upload("image/a/b", age=3 * DAY)
    report = await world.run_once()
    assert (report.objects, report.found) == (1, {Verdict.ORPHAN: 1})


@pytest.mark.incident(14)
async def test_a_store_that_breaks_its_order_is_swept_again_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """I-14: a merge over a stream out of order calls live objects orphans."""
    world = World(page_size=4)
    paired(world, 12)
    monkeypatch.setattr(world.bucket, "_rank", lambda key: key[::-1])
    report = await world.run_once()
    assert (report.objects, report.found, report.outcome) == (12, {}, Outcome.CONVERGED)
    states = [one.state for one in world.database.passes.values() if one.kind is PassKind.SWEEP]
    assert states == [PassState.FAILED, PassState.RELEASED]


@pytest.mark.parametrize("order", list(ListingOrder))
async def test_a_listing_that_repeats_its_token_releases_nothing(
    order: ListingOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-1: an incomplete scan releases nothing."""
    world = World(order=order, under=policy(prefixes=("image/",), delete_delay=timedelta(0)))
    pages = iter(("image/orphan", "image/p", "image/q"))

    async def list_page(
        prefix: str, *, start_after: str = "", token: str | None = None, page_size: int = 1
    ) -> ObjectPage:
        return ObjectPage([next(pages)], [1], ["e"], ["2020-01-01T00:00:00Z"], "again")

    monkeypatch.setattr(world.bucket, "list_page", list_page)
    with pytest.raises(ListingBroken, match="again"):
        await world.run_once()
    monkeypatch.undo()
    assert not any(one.state is PassState.RELEASED for one in world.database.passes.values())


@pytest.mark.incident(20)
async def test_a_killed_sweep_resumes_at_its_watermark() -> None:
    world = World(page_size=2, under=policy(prefixes=("image/",)))
    paired(world, 60)
    world.bucket.upload("image/a-orphan", age=3 * DAY)
    with pytest.raises(Crash):
        await world.run_once({133: crash})
    listed = world.observer.told["pages"]
    left = next(iter(world.database.passes.values()))
    assert left.state is PassState.RUNNING
    assert world.database.ranges[left.id][0].watermark
    report = await world.run_once()
    assert world.database.passes[left.id].state is PassState.RELEASED
    assert (report.objects, report.records, report.found) == (61, 60, {Verdict.ORPHAN: 1})
    assert world.observer.told["pages"] - listed < 25, "listed again from the start"


# --- when it is released ---------------------------------------------------------------------------


async def test_a_tripped_pass_releases_nothing_until_a_person_approves_it() -> None:
    """Raising the setting is no decision."""
    world = World(under=NO_DELAY)
    paired(world, 100)
    for number in range(30):
        world.bucket.upload(f"image/orphan{number}", age=3 * DAY)
    for _ in range(2):
        report = await world.run_once()
        assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
        assert "the limit is 10 % (RECONCILER_BREAKER__MAX_FRACTION)" in report.detail
    world.in_force(limits=replace(LIMITS, max_fraction=0.5))
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert await world.decide() == 30
    world.in_force(limits=LIMITS)
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 30)
    assert (await world.run_once()).outcome is Outcome.CONVERGED


@pytest.mark.incident(33)
@pytest.mark.attack(13)
async def test_what_was_released_under_other_limits_is_held_back_at_the_claim() -> None:
    world = World()
    paired(world, 100)
    for number in range(10):
        world.bucket.upload(f"image/orphan{number}", age=3 * DAY)
    assert (await world.run_once()).outcome is Outcome.PENDING
    world.around.tick(DAY)
    world.in_force(limits=replace(LIMITS, max_count=9))
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "at the claim: 10 orphans" in report.detail
    assert await world.decide() == 10
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 10)


async def test_what_was_approved_does_not_trip_the_passes_that_follow() -> None:
    """Neither while it waits for its time, nor when it has gone."""
    world = World()
    paired(world, 100)
    for number in range(30):
        world.bucket.upload(f"image/orphan{number}", age=3 * DAY)
    assert (await world.run_once()).outcome is Outcome.TRIPPED
    await world.decide()
    assert (await world.run_once()).outcome is Outcome.PENDING
    world.around.tick(DAY)
    assert (await world.run_once()).removed.objects == 30
    world.bucket.upload("image/late", age=3 * DAY)
    assert (await world.run_once()).outcome is Outcome.PENDING
    for number in range(30):
        world.bucket.upload(f"image/more{number}", age=3 * DAY)
    assert (await world.run_once()).outcome is Outcome.TRIPPED, "no more than what was approved"


@pytest.mark.incident(16)
async def test_missing_objects_that_were_approved_are_seen_a_second_time_without_a_trip() -> None:
    """A record takes two sweeps: the second finds as many as the first."""
    world = World(under=NO_DELAY)
    paired(world, 2000)
    for number in range(150):
        del world.bucket.objects[f"image/live{number:03}"]
    assert (await world.run_once()).outcome is Outcome.TRIPPED
    assert await world.decide() == 150
    report = await world.run_once()
    assert (report.outcome, report.removed.records) == (Outcome.CONVERGED, 150)


@pytest.mark.incident(27)
@pytest.mark.parametrize("order", list(ListingOrder))
async def test_a_small_prefix_trips_by_itself(order: ListingOrder) -> None:
    world = World(order=order, under=NO_DELAY)
    paired(world, 300)
    paired(world, 10, "video/live")
    for number in range(20):
        world.bucket.upload(f"video/orphan{number}", age=3 * DAY)
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "20 orphans under 'video/', 66.7 % of 30 objects" in report.detail


async def test_a_small_prefix_of_outlived_rows_trips_by_itself() -> None:
    world = World(under=NO_DELAY)
    paired(world, 300)
    for number in range(20):
        world.database.insert(f"video/old{number}", age=3 * DAY, expires_at=world.around.now)
        world.bucket.upload(f"video/old{number}", age=3 * DAY)
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "20 records past retention (20 expired) under 'video/', 100.0 % of 20 rows" in report.detail


@pytest.mark.incident(11)
@pytest.mark.parametrize("order", list(ListingOrder))
async def test_settings_that_let_more_go_need_an_approval(order: ListingOrder) -> None:
    world = World(order=order, under=policy(delete_delay=timedelta(0), prefixes=("image/",)))
    paired(world, 10)
    world.bucket.upload("video/orphan", age=3 * DAY)
    world.database.insert("video/missing", age=3 * DAY)
    world.database.insert("video/live", age=3 * DAY)
    world.bucket.upload("video/live", age=3 * DAY)
    world.database.insert("image/old", age=60 * DAY)
    world.bucket.upload("image/old", age=60 * DAY)
    assert (await world.run_once()).outcome is Outcome.CONVERGED
    world.in_force(policy=policy(delete_delay=timedelta(0), media_retention=30 * DAY))
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.TRIPPED, 0)
    assert "1 finding (1 stale)" in report.detail
    assert "2 findings (1 dangling, 1 orphan)" in report.detail
    await world.decide()
    report = await world.run_once()
    assert (report.outcome, report.removed.objects, report.removed.records) == (Outcome.CONVERGED, 2, 2)
    world.bucket.upload("video/later", age=3 * DAY)
    assert (await world.run_once()).removed.objects == 1, "approved once, and then as any other"


async def test_a_resumed_sweep_still_knows_what_is_new() -> None:
    world = World(page_size=2, under=policy(prefixes=("image/",)))
    paired(world, 60)
    assert (await world.run_once()).outcome is Outcome.CONVERGED
    world.bucket.upload("image/a-young", age=DAY)
    world.in_force(policy=policy(prefixes=("image/",), grace_period=HOUR))
    with pytest.raises(Crash):
        await world.run_once({123: crash})
    (running,) = [one for one in world.database.passes.values() if one.state is PassState.RUNNING]
    assert world.database.ranges[running.id][0].watermark
    report = await world.run_once()
    assert "1 finding (1 orphan)" in report.detail


@pytest.mark.incident(27)
async def test_a_discarded_pass_lets_the_next_one_speak_for_itself() -> None:
    world = World(under=NO_DELAY)
    paired(world, 100)
    rows = dict(world.database.rows)
    world.database.rows.clear()
    assert (await world.run_once()).outcome is Outcome.TRIPPED
    world.database.rows.update(rows)
    report = await world.run_once()
    assert report.outcome is Outcome.TRIPPED
    assert "within its limits" in report.detail
    await world.decide(approve=False)
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 0)


async def test_a_trip_does_not_stop_the_marks_of_other_passes() -> None:
    world = World(under=NO_DELAY)
    paired(world, 100)
    row = world.database.insert("image/expired", age=3 * DAY, expires_at=world.around.now)
    for number in range(30):
        world.bucket.upload(f"image/orphan{number}", age=3 * DAY)
    report = await world.run_once()
    assert (report.outcome, report.removed.records) == (Outcome.TRIPPED, 1)
    assert row not in world.database.rows


async def test_both_sides_at_once_stop_every_claim() -> None:
    """I-27: the rows speak of other keys than the bucket holds."""
    world = World(under=NO_DELAY)
    world.database.insert("image/expired", age=3 * DAY, expires_at=world.around.now)
    for number in range(30):
        world.bucket.upload(f"image/x{number}", age=3 * DAY)
        world.database.insert(f"image/y{number}", age=3 * DAY)
    report = await world.run_once()
    assert (report.outcome, report.removed.records) == (Outcome.TRIPPED, 0)
    assert "both above their limits" in report.detail


@pytest.mark.attack(69)
async def test_near_misses_above_the_limits_stop_every_claim() -> None:
    """The two sides spell all keys otherwise: the comparison itself is wrong."""
    world = World(under=NO_DELAY)
    world.database.insert("image/expired", age=3 * DAY, expires_at=world.around.now)
    for number in range(30):
        world.bucket.upload(f"image/x{number}", age=3 * DAY)
        world.database.insert(f"image/X{number}", age=3 * DAY)
    report = await world.run_once()
    assert (report.outcome, report.removed.objects, report.removed.records) == (Outcome.TRIPPED, 0, 0)
    assert "60 objects and rows are near misses" in report.detail


@pytest.mark.parametrize("side", ["objects", "rows"])
async def test_a_side_emptied_behind_our_back_trips_again_and_again(side: str) -> None:
    world = World(under=NO_DELAY)
    paired(world, 5)
    assert (await world.run_once()).outcome is Outcome.CONVERGED
    if side == "objects":
        for key in [key for key in world.bucket.objects if key.startswith("image/")]:
            del world.bucket.objects[key]
    else:
        world.database.rows.clear()
    for _ in range(3):
        report = await world.run_once()
        assert report.outcome is Outcome.TRIPPED
        assert f"no {side} at all" in report.detail
        assert (report.removed.objects, report.removed.records) == (0, 0)


async def test_what_we_emptied_ourselves_does_not_trip() -> None:
    world = World(under=NO_DELAY)
    for number in range(5):
        world.bucket.upload(f"image/expired{number}", age=3 * DAY)
        world.database.insert(f"image/expired{number}", age=3 * DAY, expires_at=world.around.now - DAY)
    assert (await world.run_once()).removed.objects == 5
    assert (await world.run_once()).outcome is Outcome.CONVERGED


async def test_slices_under_the_limit_trip_over_a_day() -> None:
    """R-13."""
    world = World(under=NO_DELAY)
    paired(world, 900)
    outcomes = []
    for slice_ in range(3):
        for number in range(45):
            world.bucket.upload(f"image/slice{slice_}-{number}", age=3 * DAY)
        outcomes.append((await world.run_once()).outcome)
    assert outcomes == [Outcome.CONVERGED, Outcome.CONVERGED, Outcome.TRIPPED]


@pytest.mark.parametrize(("before", "after", "trips"), [(0, 300, False), (300, 100, True)])
async def test_retention_is_a_fraction_of_the_rows_of_now(before: int, after: int, *, trips: bool) -> None:
    """The last sweep may be hours old, and the table filled or emptied since."""
    world = World()
    term, cycle = await world.take_lease(), world.cycle()
    paired(world, before)
    await cycle.sweep(term)
    world.database.rows.clear()
    for number in range(after):
        expires = world.around.now if number < 25 else None
        world.database.insert(f"image/live{number:03}", age=3 * DAY, expires_at=expires)
    result = await cycle.retention(term)
    assert (result.trip is not None) == trips
    assert result.tally.records == after


@pytest.mark.incident(3)
@pytest.mark.parametrize("fault", [StoreUnavailable, CatalogUnavailable])
async def test_a_pass_whose_server_went_away_releases_nothing(fault: type[Exception]) -> None:
    """I-3, I-30: an error is not an empty answer."""
    world = World(under=NO_DELAY)
    paired(world, 5)

    def away() -> None:
        world.bucket.away = fault is StoreUnavailable
        world.database.away = fault is CatalogUnavailable

    with pytest.raises(fault):
        await world.run_once({30: away})
    world.bucket.away = world.database.away = False
    assert not any(one.state is PassState.RELEASED for one in world.database.passes.values())
    assert (await world.run_once()).outcome is Outcome.CONVERGED


# --- the lease -------------------------------------------------------------------------------------


async def held() -> tuple[World, MemoryLease, Term]:
    world = World()
    port = MemoryLease(world.database)
    return world, port, await world.take_lease()


async def test_a_lease_that_another_took_is_lost() -> None:
    world, port, term = await held()
    world.around.tick(HOUR)
    await port.acquire("other", HOUR)
    told: list[str] = []
    with pytest.raises(LeaseLost):
        await lease.keep(
            port,
            term,
            world.limits.lease_ttl,
            world.around,
            lease.Tenure(good_until=2 * HOUR.total_seconds()),
            told.append,
        )
    assert told == ["lost"]


async def test_a_lease_that_cannot_be_renewed_is_given_up_before_it_ends() -> None:
    """Two thirds of its time: nobody else can have it yet."""
    world, port, term = await held()
    world.database.away = True
    tenure = lease.Tenure()
    tenure.extend(world.around.monotonic(), world.limits.lease_ttl)
    ttl, told = world.limits.lease_ttl, list[str]()
    with pytest.raises(LeaseLost, match="in time"):
        await lease.keep(port, term, ttl, world.around, tenure, told.append)
    assert (set(told[:-1]), told[-1]) == ({"failed"}, "lost")
    assert world.around.monotonic() >= tenure.good_until, "the collector knows as well"
    assert world.around.elapsed < world.limits.lease_ttl
    assert world.around.elapsed >= world.limits.lease_ttl * 0.6


async def test_a_lease_is_waited_for_and_its_holder_named() -> None:
    world, port, term = await held()
    ttl, clock = world.limits.lease_ttl, world.around
    tenure = lease.Tenure()
    got = await lease.acquire(port, "second", ttl, clock, timedelta(seconds=5), tenure)
    assert not isinstance(got, Term)
    assert got.holder == term.holder
    assert clock.elapsed == timedelta(seconds=5)
    assert tenure.good_until < clock.monotonic(), "nothing is ours"
    got = await lease.acquire(port, "second", ttl, clock, ttl, tenure)
    assert isinstance(got, Term)
    assert got.epoch == term.epoch + 1
