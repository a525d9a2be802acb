"""What the collector does with each answer, at which rate, and when it leaves a claim for later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import pytest

from reconciler.engine.collect.collector import RESCUE_SECONDS
from reconciler.engine.collect.freeing import Freeing
from reconciler.engine.runtime.broken_off import BrokenOff
from reconciler.engine.runtime.write_guard import Refused, WriteGuard
from reconciler.errors import CatalogUnavailable, LeaseLost, StoreUnavailable
from reconciler.model import (
    BreakerLimits,
    Cancel,
    Claim,
    CopyRequest,
    Decision,
    DeleteMode,
    Deletion,
    DeletionResult,
    Departed,
    HiddenObject,
    Hold,
    HoldKind,
    Mode,
    ObjectResult,
    Outcome,
    Remove,
    Removed,
    Term,
    Verdict,
)
from reconciler.ports import ClaimRequest
from tests.contract.catalog import no_cap
from tests.doubles.build import OPEN, policy
from tests.doubles.observing import Crash
from tests.doubles.world import World

pytestmark = pytest.mark.anyio

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def due(limits: BreakerLimits = OPEN, **objects: int) -> World:
    """A world whose orphans are marked and due."""
    world = World()
    world.in_force(limits=limits)
    for name, size in objects.items():
        world.bucket.upload(f"image/{name}", size=size, age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    return world


async def test_what_the_store_confirmed_is_counted() -> None:
    world = await due(a=3, b=4)
    report = await world.run_once()
    assert report.removed == Removed(objects=2, records=0, bytes=7)
    assert report.outcome is Outcome.CONVERGED


async def test_an_object_gone_already_counts_as_done() -> None:
    """I-37."""
    world = await due(a=3)

    def vanish(_: Claim) -> None:
        del world.bucket.objects["image/a"]

    world.marks.on_look = vanish
    report = await world.run_once()
    assert report.removed.objects == 1
    assert world.observer.results[Mode.LIVE, Verdict.ORPHAN, ObjectResult.MISSING] == 1


async def test_what_was_due_and_stays_leaves_no_mark_and_is_said() -> None:
    """The outcome speaks of marks alone: a key that was decided anew is named by nothing else."""
    world = await due(a=3, b=4)
    held = Hold(kind=HoldKind.KEY, target="image/a", reason="a case", author="alice")

    def hold(_: Claim) -> None:
        world.database.holds[held.kind, held.target, held.author] = held

    world.marks.on_look = hold
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    assert report.notice == (
        "1 key was due and stays after a second decision (1: is kept by its row or by a hold)"
    )


async def test_a_run_that_leaves_marks_says_what_they_wait_for() -> None:
    world = World(limits=OPEN)
    world.bucket.upload("image/a", age=3 * DAY)
    report = await world.run_once()
    assert report.outcome is Outcome.PENDING
    assert report.detail.startswith("1 key is marked and waits: the first is due at 20")


async def test_a_refused_key_fails_alone_and_is_repeated_later() -> None:
    """I-23: a failure inside a 200."""
    world = await due(a=3, b=4)
    world.bucket.refusing.add("image/a")
    report = await world.run_once()
    assert report.outcome is Outcome.FAILED
    assert (report.removed.objects, report.removed.failed) == (1, 1)
    world.bucket.refusing.clear()
    world.around.tick(HOUR)
    again = await world.run_once()
    assert (again.removed.objects, again.outcome) == (1, Outcome.CONVERGED)


async def test_a_store_that_goes_away_leaves_the_claim_which_is_repeated() -> None:
    world = await due(a=3)

    def away(_: Claim) -> None:
        world.bucket.away = True

    world.marks.on_look = away
    report = await world.run_once()
    assert report.outcome is Outcome.FAILED
    assert "image/a" in world.bucket.objects
    world.bucket.away = False
    world.marks.on_look = lambda _: None
    assert (await world.run_once()).removed.objects == 1


async def test_an_open_transaction_holds_deletions_back_and_is_named() -> None:
    world = await due(a=3)
    transaction = world.database.begin()
    report = await world.run_once()
    assert report.removed.objects == 0
    assert report.outcome is Outcome.PENDING
    transaction.commit()
    world.around.tick(HOUR)
    assert (await world.run_once()).removed.objects == 1


async def test_a_row_that_others_hold_is_put_off_and_the_rest_goes_on() -> None:
    """R-27."""
    world = World(limits=OPEN)
    for name in ("a", "b"):
        world.bucket.upload(f"image/{name}", age=3 * DAY)
    held = world.database.insert("image/a", age=3 * DAY, expires_at=world.around.now)
    world.database.insert("image/b", age=3 * DAY, expires_at=world.around.now)
    await world.run_once()
    world.around.tick(DAY)
    world.database.locked.add(held)
    report = await world.run_once()
    assert (report.removed.records, report.outcome) == (1, Outcome.PENDING)
    world.database.locked.clear()
    world.around.tick(HOUR)
    assert (await world.run_once()).removed.records == 1


async def test_a_dangling_record_whose_object_is_back_stays() -> None:
    """I-15: two listings skipped it; a HEAD did not, so that neither is believed."""
    world = World(limits=OPEN)
    world.bucket.upload("image/a", age=3 * DAY)
    world.database.insert("image/a", age=3 * DAY)
    world.bucket.hidden.add("image/a")
    await world.run_once()
    world.around.tick(DAY)
    report = await world.run_once()
    assert report.removed == Removed()
    assert len(world.database.rows) == 1
    assert not world.database.marks


async def test_a_dangling_record_seen_once_waits_for_a_second_pass() -> None:
    world = World(under=policy(delete_delay=timedelta(0)), limits=OPEN)
    world.database.insert("image/a", age=3 * DAY)
    first = await world.run_once()
    assert (first.outcome, first.removed.records) == (Outcome.PENDING, 0)
    second = await world.run_once()
    assert (second.outcome, second.removed.records, second.removed.objects) == (Outcome.CONVERGED, 1, 0)


@pytest.mark.incident(21)
async def test_a_rate_holds_over_the_whole_round() -> None:
    """The first batch was saved up while nothing went."""
    world = await due(OPEN, **{f"k{number}": 1 for number in range(95)})
    world.in_force(rate=10.0)
    report = await world.run_once()
    assert report.removed.objects == 95
    assert report.duration_seconds == pytest.approx(8.5, abs=0.1)


async def test_what_departed_goes_first_and_holds_nothing_up_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(under=policy(delete_mode=DeleteMode.QUARANTINE), limits=OPEN)
    for number in range(60):
        world.bucket.upload(f"image/a{number}", age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    for number in range(60):
        key = f"image/z{number}"
        world.bucket.upload(key, age=DAY)
        left = Departed(id=number, storage_key=key, left_at=world.database.now, virtual_key=None)
        world.database.departures.append(left)
    world.in_force(rate=10.0)
    claims, claim = list[set[Verdict]](), world.marks.claim

    async def noted(term: Term, wanted: ClaimRequest) -> Claim:
        made = await claim(term, wanted)
        claims.append({key.mark.verdict for key in made.keys})
        return made

    monkeypatch.setattr(world.marks, "claim", noted)
    assert (await world.run_once()).removed.objects == 120
    kinds = ["departed" if each == {Verdict.DEPARTED} else "orphan" for each in claims if each]
    assert kinds[:8] == [*["departed"] * 3, "orphan"] * 2


async def test_a_round_looks_for_unfinished_claims_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await due(OPEN, **{f"k{number}": 1 for number in range(95)})
    world.in_force(rate=10.0)
    looked, rescue = list[float](), world.marks.rescue

    async def noted(term: Term, longest_call: timedelta, limit: int) -> Claim | None:
        looked.append(world.around.monotonic())
        return await rescue(term, longest_call, limit)

    monkeypatch.setattr(world.marks, "rescue", noted)
    report = await world.run_once()
    assert report.removed.objects == 95
    assert [round(later - earlier) for earlier, later in pairwise(looked)] == [RESCUE_SECONDS]


async def test_a_paused_leader_cannot_confirm_what_was_taken_over() -> None:
    """R-21."""
    world = await due(a=3)
    held: list[Claim] = []

    def pause(claim: Claim) -> None:
        held.append(claim)
        raise Crash

    world.marks.on_look = pause
    with pytest.raises(Crash):
        await world.run_once()
    paused = world.database.term
    assert paused is not None
    world.marks.on_look = held.append
    assert (await world.run_once()).removed.objects == 1
    before, after = held
    repeated = tuple(replace(key, attempts=key.attempts + 1) for key in before.keys)
    assert (repeated, before.epoch) == (after.keys, after.epoch - 1)
    assert before.operation_id != after.operation_id
    results = {"image/a": (ObjectResult.DELETED, "")}
    with pytest.raises(LeaseLost):
        await world.marks.confirm(paused, before, results, lambda *_: Cancel(reason=""), HOUR)


def cut_off() -> None:
    raise CatalogUnavailable("the connection is lost")


@pytest.mark.parametrize(
    "point",
    [
        "after MemoryMarks.claim",
        "after MemoryMarks.rescue",
        "MemoryMarks.horizon_passed",
        "MemoryMarks.look_again",
        "MemoryMarks.confirm",
        "after MemoryMarks.confirm",
    ],
)
async def test_a_leader_takes_up_at_once_what_it_claimed_when_it_lost_the_database(point: str) -> None:
    """Whether or not it heard of its claim: nobody else may take it up, and nobody has it in hand."""
    world = await due(a=3, b=4)
    term, cycle = await world.take_lease(), world.cycle()
    await cycle.first_contact(term)
    world.around.at_point(point, cut_off)
    with pytest.raises(CatalogUnavailable):
        await cycle.collect(term, report_again=True)
    await cycle.collect(term, report_again=True)
    assert (world.bucket.objects.keys() & {"image/a", "image/b"}, world.database.marks) == (set(), {})


async def test_a_database_that_is_away_breaks_no_request_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken up at once, a claim whose request is still on its way could spare what that deletes."""
    world = await due(a=3, b=4)
    world.in_force(rate=1.0)  # a batch is one key
    term, cycle = await world.take_lease(), world.cycle()
    await cycle.first_contact(term)
    begun, ended, delete = list[str](), list[str](), world.bucket.delete
    lost = anyio.Event()

    async def slow(batch: Sequence[Deletion]) -> Sequence[DeletionResult]:
        begun.append(batch[0].key)
        if len(begun) == 1:
            await lost.wait()
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
        answer = await delete(batch)
        ended.append(batch[0].key)
        return answer

    def lose() -> None:
        lost.set()
        cut_off()

    monkeypatch.setattr(world.bucket, "delete", slow)
    world.around.at_point("MemoryMarks.confirm", lose)
    with anyio.fail_after(30), pytest.raises(CatalogUnavailable):
        await cycle.collect(term, report_again=True)
    assert len(begun) == 2
    assert sorted(ended) == sorted(begun)


@pytest.mark.attack(87)
async def test_what_a_leader_sent_long_after_its_claim_is_waited_for() -> None:
    """It vanishes with its request on the way: spared at once, the key would be deleted all the same."""
    world = await due(a=3)

    def slow(_: Claim) -> None:
        world.around.tick(HOUR)

    world.marks.on_look = slow
    with pytest.raises(Crash):
        await world.run_once(killed_at="MemoryBucket.delete")
    looks = list[timedelta]()
    world.marks.on_look = lambda _: looks.append(world.around.now - world.database.lease_since)
    assert (await world.run_once()).removed.objects == 1
    assert looks >= [world.limits.longest_call]


async def hidden_and_due(**objects: int) -> World:
    """A world whose orphans were deleted, with copies that may be purged."""
    world = World(under=policy(delete_mode=DeleteMode.QUARANTINE), limits=OPEN)
    for name, size in objects.items():
        world.bucket.upload(f"image/{name}", size=size, age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    assert (await world.run_once()).removed.objects == len(objects)
    world.around.tick(world.runtime.undo_window)
    return world


@pytest.mark.attack(90)
async def test_what_a_purge_sent_long_after_its_claim_is_waited_for() -> None:
    """Its leader vanishes with the request on its way: spared at once, the copy would go all the same."""
    world = await hidden_and_due(a=3)
    world.database.on_purge = lambda _: world.around.tick(HOUR)
    with pytest.raises(Crash):
        await world.run_once(killed_at="MemoryBucket.delete")
    world.database.on_purge = lambda _: None
    world.database.referenced.add("image/a")
    await world.run_once()
    assert world.around.now - world.database.lease_since >= world.limits.longest_call
    await world.run_once()
    assert "image/a" in world.bucket.objects


def met(count: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each purge of a batch waits until so many are under way. Returns the keys that are begun."""
    begun, all_here, free = list[str](), anyio.Event(), Freeing.free

    async def wait(freeing: Freeing, term: Term, due: Sequence[HiddenObject]) -> list[HiddenObject]:
        begun.extend(each.storage_key for each in due)
        if len(begun) == count:
            all_here.set()
        with anyio.fail_after(30):
            await all_here.wait()
        return await free(freeing, term, due)

    monkeypatch.setattr(Freeing, "free", wait)
    return begun


async def test_several_batches_are_purged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for the other: one after the other would never end."""
    world = await hidden_and_due(a=3, b=4)
    world.in_force(rate=1.0)
    begun = met(2, monkeypatch)
    await world.run_once()
    assert (sorted(begun), world.database.hidden) == (["image/a", "image/b"], {})


async def test_batches_purged_at_once_keep_to_one_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await hidden_and_due(a=3, b=4, c=5)
    world.in_force(rate=1.0, limits=replace(OPEN, max_count=2))
    begun = met(2, monkeypatch)
    await world.run_once()
    assert (len(begun), len(world.database.hidden)) == (2, 1)


@pytest.mark.attack(90)
async def test_a_purge_gives_way_to_a_collection_and_goes_on_a_little_all_the_same() -> None:
    world = await hidden_and_due(**{f"k{number}": 1 for number in range(95)})
    world.in_force(rate=10.0)
    cycle = world.cycle()
    term = await world.ports.lease.acquire("test", world.limits.lease_ttl)
    assert isinstance(term, Term)
    await cycle.first_contact(term)
    before = len(world.database.hidden)
    await cycle.collect(term, report_again=False, awaited=lambda: True)
    purged = before - len(world.database.hidden)
    assert 10 <= purged <= 10 * world.throttles.deleting.in_flight < before
    await cycle.collect(term, report_again=False)
    assert world.database.hidden == {}


async def test_a_batch_that_is_cut_off_cuts_no_other_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other has purged is recorded; its own is handed back once nothing can be on its way."""
    world = await hidden_and_due(a=3, b=4)
    world.in_force(rate=1.0)
    met(2, monkeypatch)
    world.around.at_point("MemoryBucket.delete", away)
    term, cycle = await world.take_lease(), world.cycle()
    await cycle.first_contact(term)
    with pytest.raises(StoreUnavailable):
        await cycle.collect(term, report_again=True)
    assert [row.state for row in world.database.hidden.values()] == ["purging"]
    await cycle.collect(term, report_again=True)
    assert len(world.database.hidden) == 1
    world.around.tick(world.limits.longest_call)
    await cycle.collect(term, report_again=True)
    assert world.database.hidden == {}


def away() -> None:
    raise StoreUnavailable("the store is away")


def fault() -> None:
    raise RuntimeError("a fault of the program")


@pytest.mark.attack(90)
async def test_what_a_purge_of_ours_broke_off_is_waited_for() -> None:
    """Its claim may be older than the longest call, and the request that was broken off is not."""
    world = await hidden_and_due(a=3)
    term, cycle = await world.take_lease(), world.cycle()
    await cycle.first_contact(term)
    world.database.on_purge = lambda _: world.around.tick(HOUR)
    world.around.at_point("after MemoryBucket.delete", fault)
    with pytest.raises(RuntimeError):
        await cycle.collect(term, report_again=True)
    await cycle.collect(term, report_again=True)
    assert [row.state for row in world.database.hidden.values()] == ["purging"]
    world.around.tick(world.limits.longest_call)
    await cycle.collect(term, report_again=True)
    assert world.database.hidden == {}


@pytest.mark.attack(90)
async def test_what_a_round_of_ours_broke_off_is_waited_for() -> None:
    world = await due(a=3)
    term, cycle = await world.take_lease(), world.cycle()
    await cycle.first_contact(term)
    world.around.at_point("MemoryBucket.delete", fault)
    with pytest.raises(RuntimeError):
        await cycle.collect(term, report_again=True)
    await cycle.collect(term, report_again=True)
    assert "image/a" in world.bucket.objects
    world.around.tick(world.limits.longest_call)
    await cycle.collect(term, report_again=True)
    assert "image/a" not in world.bucket.objects


@pytest.mark.attack(90)
async def test_what_a_cancelled_round_has_sent_is_waited_for() -> None:
    world = World()
    broken_off = BrokenOff(world.ports.clock, HOUR)
    with anyio.CancelScope() as scope, broken_off.noticed():
        scope.cancel()
        await anyio.lowlevel.checkpoint()
    assert not broken_off.ended
    world.around.tick(HOUR)
    assert broken_off.ended


async def sealed(max_age: float) -> UUID:
    """The marker bears our seal."""
    return UUID(int=1)


async def unasked(max_age: float) -> UUID:
    raise AssertionError("the marker was read")


async def test_the_gateway_refuses_every_write_in_dry_run() -> None:
    """I-31."""
    world = await due(a=3)
    guard = WriteGuard(world.ports, lambda: Mode.DRY_RUN, lambda: True, unasked)
    term = Term(epoch=1, nonce=uuid4(), holder="t")
    calls_before = world.around.calls

    def decide(*_: object) -> Decision:
        return Remove()

    claim = Claim(operation_id=term.nonce, epoch=1, xid=1, keys=())
    for write in (
        guard.claim(term, ClaimRequest(policy(), tuple(Verdict), 1, decide, no_cap)),
        guard.rescue(term, HOUR, 1),
        guard.delete([Deletion(key="image/a")]),
        guard.copy(CopyRequest("image/a", "image/b")),
        guard.confirm(term, claim, {}, decide, HOUR, sent=False),
    ):
        with pytest.raises(Refused, match="RECONCILER_DRY_RUN=false"):
            await write
    assert world.around.calls == calls_before


async def test_what_was_sent_before_a_dry_run_is_written_down() -> None:
    world = await due(a=3, b=3)
    world.bucket.on_delete = lambda _: world.in_force(mode=Mode.DRY_RUN)
    report = await world.run_once()
    assert report.removed.objects == 2
    assert not world.database.marks


async def test_rows_of_a_batch_for_which_nothing_was_sent_stay_in_a_dry_run() -> None:
    """The batch had one object to delete; the row beside it goes without any request."""
    world = World(limits=OPEN)
    world.bucket.upload("image/a", age=3 * DAY)
    world.database.insert("image/dangling", age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    world.bucket.on_delete = lambda _: world.in_force(mode=Mode.DRY_RUN)
    report = await world.run_once()
    assert (report.removed.objects, report.removed.records) == (1, 0)
    assert len(world.database.rows) == 1
    world.bucket.on_delete = lambda _: None
    world.in_force(mode=Mode.LIVE)
    world.around.tick(2 * DAY)
    assert (await world.run_once()).removed.records == 1


@pytest.mark.attack(21)
async def test_nothing_is_sent_once_the_lease_may_be_somebody_elses() -> None:
    world = await due(a=3)
    leads = True
    guard = WriteGuard(world.ports, lambda: Mode.LIVE, lambda: leads, sealed)
    leads = False
    with pytest.raises(LeaseLost):
        await guard.delete([Deletion(key="image/a")])
    with pytest.raises(LeaseLost):
        await guard.copy(CopyRequest("image/a", "image/b"))
    leads = True
    assert [answer.result for answer in await guard.delete([Deletion(key="image/a")])] == [
        ObjectResult.DELETED
    ]


@pytest.mark.incident(32)
async def test_a_dry_run_reports_each_due_mark_and_touches_nothing() -> None:
    """I-32: the same marks as a live run."""
    world = World(limits=OPEN)
    world.in_force(mode=Mode.DRY_RUN)
    for name in ("a", "b"):
        world.bucket.upload(f"image/{name}", size=5, age=3 * DAY)
    world.database.insert("image/b", age=3 * DAY, expires_at=world.around.now)
    await world.run_once()
    world.around.tick(DAY)
    for _ in range(2):
        report = await world.run_once()
        assert report.removed == Removed(objects=2, records=1, bytes=15)
    assert world.observer.results[Mode.DRY_RUN, Verdict.ORPHAN, "deleted"] == 1
    assert world.bucket.deleted == []
    assert len(world.database.rows) == 1


@pytest.mark.parametrize("mode", Mode)
async def test_dangling_records_count_as_records_without_bytes(mode: Mode) -> None:
    """There is no object that could go, whatever size the row gives; a preview tells what live would."""
    world = World(limits=OPEN)
    world.in_force(mode=mode)
    for name in ("a", "b"):
        world.database.insert(f"image/{name}", age=3 * DAY, size_bytes=7)
    await world.run_once()
    world.around.tick(DAY)
    assert (await world.run_once()).removed == Removed(records=2)
    told = {what[1:]: keys for what, keys in world.observer.results.items() if what[0] is mode and keys}
    assert told == {(Verdict.DANGLING, ObjectResult.MISSING): 2, (Verdict.DANGLING, "record"): 2}
    assert world.observer.sizes[mode, Verdict.DANGLING] == 0


async def test_the_delay_starts_anew_when_dry_run_ends() -> None:
    world = World(limits=OPEN)
    world.in_force(mode=Mode.DRY_RUN)
    world.bucket.upload("image/a", age=3 * DAY)
    await world.run_once()
    world.around.tick(9 * DAY)
    world.in_force(mode=Mode.LIVE)
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.PENDING, 0)
    world.around.tick(DAY)
    assert (await world.run_once()).removed.objects == 1


async def test_an_idle_round_asks_once_and_not_once_for_each_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(limits=OPEN)
    asked: list[Claim] = []
    claim = world.marks.claim

    async def counted(*args: Any) -> Claim:
        asked.append(await claim(*args))
        return asked[-1]

    monkeypatch.setattr(world.marks, "claim", counted)
    await world.run_once()
    assert [claim.taken for claim in asked] == [0]


@pytest.mark.attack(22)
async def test_who_follows_a_leader_that_vanished_waits_for_its_objection() -> None:
    """It may be alive on a database of which ours is a copy, and has seen our seal within two thirds."""
    world = await due(a=3)
    term = world.database.term
    assert term is not None
    world.database.released = False
    before, deleted = world.around.elapsed, list[timedelta]()
    world.bucket.on_delete = lambda _: deleted.append(world.around.elapsed - before)
    await world.run_once()
    assert deleted
    assert deleted[0] >= world.limits.lease_ttl * 2 / 3
