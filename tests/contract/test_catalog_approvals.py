"""What the latch promises, asked of the doubles and of a real Postgres alike: who decides, and what goes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

import pytest

from reconciler.catalog.passes.approvals import PostgresApprovals
from reconciler.errors import NotDone, PassEnded
from reconciler.model import (
    Backlog,
    Claim,
    Finding,
    Mode,
    ObjectResult,
    Pass,
    PassKind,
    PassState,
    Tally,
    Term,
    Trip,
    TrippedPass,
    Verdict,
)
from reconciler.ports import Cap, ClaimRequest, Marks, Passes
from tests.contract.catalog import ALL, DAY, NOTHING, POLICY, TTL, all_go, claimed, finding, no_cap, staged
from tests.doubles.approvals import MemoryApprovals
from tests.doubles.database import MemoryDatabase
from tests.doubles.marks import MemoryMarks
from tests.doubles.observing import Surroundings
from tests.doubles.passes import MemoryLease, MemoryPasses

pytestmark = pytest.mark.anyio

TOO_MANY = Trip(reason="too many")
BOTH = Trip(reason="both sides", both_sides=True)
TWO_PREFIXES = replace(POLICY, prefixes=("video/", "image/", "image/a/"))


@dataclass(frozen=True, kw_only=True)
class Side:
    approvals: PostgresApprovals | MemoryApprovals
    passes: Passes
    marks: Marks
    term: Term

    async def begin(self, *findings: Finding, kind: PassKind = PassKind.SWEEP) -> Pass:
        """A pass under way that has found these."""
        begun = await self.passes.begin(self.term, kind, "hash", Mode.LIVE, None, TWO_PREFIXES)
        await self.passes.record(self.term, begun, findings, NOTHING)
        return begun

    async def arm(self, *keys: str) -> int:
        begun = await self.begin(*map(finding, keys))
        await self.passes.arm(self.term, begun, Tally(objects=100, records=100))
        return begun.id

    async def trip(self, *keys: str, trip: Trip = TOO_MANY, missing: int = 0) -> int:
        begun = await self.begin(*map(finding, keys))
        await self.passes.trip(self.term, begun, Tally(objects=100, records=100, missing=missing), trip)
        return begun.id

    async def state(self, pass_id: int) -> PassState:
        return (await self.approvals.show(pass_id)).current.state

    async def claim(self, cap: Cap = no_cap, limit: int = 1000, *, ended: bool = False) -> Claim:
        wanted = ClaimRequest(TWO_PREFIXES, ALL, limit, all_go, cap, lambda *_: ended)
        return await self.marks.claim(self.term, wanted)

    async def confirm(self, claim: Claim) -> None:
        answers = {key.mark.storage_key: (ObjectResult.DELETED, "") for key in claim.keys}
        await self.marks.confirm(self.term, claim, answers, all_go, DAY)


async def memory_side() -> Side:
    database = MemoryDatabase(Surroundings())
    lease = MemoryLease(database)
    term = await lease.acquire("test", TTL)
    assert isinstance(term, Term)
    await lease.observe_mode(term, Mode.LIVE)
    passes, marks = MemoryPasses(database), MemoryMarks(database)
    return Side(approvals=MemoryApprovals(database), passes=passes, marks=marks, term=term)


@pytest.fixture
async def side(backing_database: str | None) -> AsyncIterator[Side]:
    if backing_database is None:
        yield await memory_side()
        return
    async with staged(backing_database) as stage:
        catalog = stage.catalog
        yield Side(approvals=catalog.approvals, passes=catalog.passes, marks=catalog.marks, term=stage.term)


# --- the latch -------------------------------------------------------------------------------------


@pytest.mark.incident(27)
async def test_what_tripped_waits_for_a_person_however_often_it_is_seen_again(side: Side) -> None:
    tripped = await side.trip("image/a", "image/b")
    assert (await side.claim()).taken == 0
    await side.arm("image/a", "image/b", "image/c")
    assert claimed(await side.claim()) == ["image/c"]
    assert await side.state(tripped) is PassState.TRIPPED
    undecided = await side.passes.undecided(PassKind.SWEEP)
    assert undecided is not None
    assert (undecided.id, undecided.trip_reason) == (tripped, "too many")
    assert await side.passes.undecided(PassKind.RETENTION) is None


async def test_an_approved_pass_releases_its_marks_and_says_by_whom(side: Side) -> None:
    tripped = await side.trip("image/a", "image/b")
    assert await side.approvals.approve(tripped, "ada@desk") == (2, 0)
    assert await side.passes.undecided(PassKind.SWEEP) is None
    current = (await side.approvals.show(tripped)).current
    assert (current.state, current.decided_by) == (PassState.RELEASED, "ada@desk")
    assert current.decided_at is not None
    assert current.decided_at >= current.cutoff
    assert claimed(await side.claim()) == ["image/a", "image/b"]


async def test_a_discarded_pass_withdraws_its_marks_and_says_by_whom(side: Side) -> None:
    tripped = await side.trip("image/a", "image/b")
    assert await side.approvals.discard(tripped, "ada@desk") == 2
    detail = await side.approvals.show(tripped)
    assert (detail.current.state, detail.current.decided_by) == (PassState.DISCARDED, "ada@desk")
    assert sum(detail.marks.values()) == 0
    assert await side.passes.undecided(PassKind.SWEEP) is None
    await side.arm("image/a")
    assert claimed(await side.claim()) == ["image/a"], "found anew, and judged anew"


@pytest.mark.parametrize("approve", [True, False])
async def test_what_is_not_tripped_is_not_decided_about(side: Side, *, approve: bool) -> None:
    act = side.approvals.approve if approve else side.approvals.discard
    with pytest.raises(NotDone, match="there is no pass 77"):
        await act(77, "ada")
    released = await side.arm("image/a")
    with pytest.raises(NotDone, match=f"pass {released} is released"):
        await act(released, "ada")
    tripped = await side.trip("image/b")
    await act(tripped, "ada")
    with pytest.raises(NotDone, match="not tripped"):
        await act(tripped, "bob")


async def test_trips_one_after_the_other_are_decided_together(side: Side) -> None:
    first = await side.trip("image/a", "image/b")
    second = await side.trip("image/b", "image/c")
    detail = await side.approvals.show(second)
    assert detail.together == [first, second]
    assert [mark.storage_key for mark in detail.examples] == ["image/b", "image/c"], "a was not seen again"
    undecided = await side.passes.undecided(PassKind.SWEEP)
    assert undecided is not None
    assert undecided.id == first
    assert await side.approvals.approve(second, "ada") == (2, 0)
    assert [await side.state(each) for each in (first, second)] == [PassState.RELEASED, PassState.RELEASED]
    assert claimed(await side.claim()) == ["image/b", "image/c"]


@pytest.mark.parametrize("approve", [True, False])
async def test_what_a_later_pass_added_is_judged_anew(side: Side, *, approve: bool) -> None:
    """Somebody who approves what was shown approves no more than that."""
    first = await side.trip("image/a")
    second = await side.trip("image/a", "image/b")
    act = side.approvals.approve if approve else side.approvals.discard
    assert await act(first, "ada") in (1, (1, 0))
    ended = (await side.approvals.show(second)).current
    decision = f"pass {first} was {'approved' if approve else 'discarded'}"
    said = f"{decision}; before that decision it said: too many"
    assert (ended.state, ended.trip_reason, ended.superseded_by) == (PassState.SUPERSEDED, said, first)
    detail = await side.approvals.show(first)
    assert (detail.supersedes, await side.approvals.left(detail.supersedes)) == ([second], 1)
    assert await side.passes.undecided(PassKind.SWEEP) is None
    assert claimed(await side.claim()) == (["image/a"] if approve else [])
    await side.arm("image/b")
    assert claimed(await side.claim()) == ["image/b"]


@pytest.mark.parametrize("approve", [True, False])
async def test_who_decides_about_what_was_superseded_is_told_what_waits_instead(
    side: Side, *, approve: bool
) -> None:
    act = side.approvals.approve if approve else side.approvals.discard
    first, second = await side.trip("image/a"), await side.trip("image/a", "image/b")
    await act(first, "ada")
    with pytest.raises(NotDone, match=rf"pass {second} is superseded by pass {first}\b.*, not tripped"):
        await act(second, "bob")
    third = await side.trip("image/b", "image/c")
    with pytest.raises(
        NotDone, match=f"pass {second} is superseded by pass {first}.*pass {third} is the one"
    ):
        await act(second, "bob")
    assert await act(third, "bob") in (2, (2, 0)), "and what that one adds stands next to its number"


async def test_the_number_to_name_in_a_decision_stays_until_a_pass_adds_to_it(side: Side) -> None:
    async def to_decide() -> list[int | None]:
        listed = await side.approvals.listed(9, state=PassState.TRIPPED)
        assert [each.current.id for each in listed] == [each.to_decide for each in listed]
        return [each.to_decide for each in listed]

    first = await side.trip("image/a", "image/b")
    await side.trip("image/a")
    assert await to_decide() == [first]
    third = await side.trip("image/a", "image/c")
    await side.trip("image/a", "image/c")
    assert await to_decide() == [third]
    assert await side.approvals.approve(third, "ada") == (2, 0)
    assert claimed(await side.claim()) == ["image/a", "image/c"]


async def test_a_later_trip_of_both_sides_is_the_one_to_name(side: Side) -> None:
    await side.trip("image/a")
    worse = await side.trip("image/a", trip=BOTH)
    await side.trip("image/a", trip=BOTH)
    (listed,) = await side.approvals.listed(9, state=PassState.TRIPPED)
    assert (listed.current.id, listed.to_decide) == (worse, worse)
    assert await side.approvals.approve(worse, "ada", understood=True) == (1, 0)


async def test_of_a_trip_may_be_nothing_left_and_it_waits_all_the_same(side: Side) -> None:
    """I-27: a later pass in order forgets no trip."""
    first = await side.trip("image/a")
    await side.trip()
    (listed,) = await side.approvals.listed(9, state=PassState.TRIPPED)
    assert (listed.to_decide, sum(listed.marks.values())) == (first, 0)
    assert await side.approvals.discard(first, "ada") == 0
    assert await side.passes.undecided(PassKind.SWEEP) is None


async def test_a_pass_that_was_begun_anew_is_superseded_and_found_by_that_word(side: Side) -> None:
    former, newer = await side.begin(finding("image/a")), await side.begin()
    ended = (await side.approvals.show(former.id)).current
    assert (ended.state, ended.superseded_by) == (PassState.SUPERSEDED, newer.id)
    await side.passes.fail(side.term, newer, "broken")

    async def found(state: PassState) -> list[int]:
        return [each.current.id for each in await side.approvals.listed(9, state=state)]

    assert (await found(PassState.SUPERSEDED), await found(PassState.FAILED)) == ([former.id], [newer.id])
    last = await side.passes.last(PassKind.SWEEP, PassState.SUPERSEDED)
    assert last is not None
    assert last.id == former.id


async def test_a_pass_under_way_keeps_on_where_an_earlier_one_is_approved(side: Side) -> None:
    tripped = await side.trip("image/a")
    running = await side.begin(finding("image/a"), finding("image/b"))
    assert await side.approvals.approve(tripped, "ada") == (1, 0), "what it has seen again stays where it was"
    backlog = await side.passes.backlog(("image/",), running)
    assert (backlog.pending, backlog.approved) == ({Verdict.ORPHAN: 1}, {Verdict.ORPHAN: 1})
    await side.passes.arm(side.term, running, Tally())
    assert claimed(await side.claim()) == ["image/a", "image/b"]


async def test_a_pass_under_way_ends_where_an_earlier_one_is_discarded(side: Side) -> None:
    """It left out what was marked already: without those marks it would look smaller than it is."""
    tripped = await side.trip("image/a")
    running = await side.begin(finding("image/a"), finding("image/b"))
    await side.approvals.discard(tripped, "ada")
    ended = (await side.approvals.show(running.id)).current
    assert (ended.state, ended.trip_reason) == (PassState.SUPERSEDED, f"pass {tripped} was discarded")
    with pytest.raises(PassEnded, match="discarded"):
        await side.passes.record(side.term, running, [finding("image/c")], NOTHING)
    for end in (
        side.passes.arm(side.term, running, Tally()),
        side.passes.trip(side.term, running, Tally(), TOO_MANY),
        side.passes.fail(side.term, running, "broken"),
    ):
        with pytest.raises(PassEnded):
            await end
    assert (await side.claim()).taken == 0


async def test_the_other_marker_is_not_latched(side: Side) -> None:
    tripped = await side.trip("image/a")
    running = await side.begin(finding("image/b", Verdict.EXPIRED), kind=PassKind.RETENTION)
    await side.approvals.discard(tripped, "ada")
    await side.passes.arm(side.term, running, Tally())
    assert claimed(await side.claim()) == ["image/b"]


# --- both sides ------------------------------------------------------------------------------------


@pytest.mark.incident(27)
@pytest.mark.attack(13)
async def test_both_sides_stop_every_claim_until_a_person_says_that_they_understand(side: Side) -> None:
    await side.arm("image/early")
    tripped = await side.trip("image/a", "image/early", trip=BOTH)
    await side.arm("image/a", "image/early", "image/late")
    assert (await side.claim()).taken == 0, "not even a later pass in order lifts it"
    with pytest.raises(NotDone, match="is understood"):
        await side.approvals.approve(tripped, "ada")
    assert (await side.claim()).taken == 0
    await side.approvals.approve(tripped, "ada", understood=True)
    assert claimed(await side.claim()) == ["image/a", "image/early", "image/late"]


async def test_discarding_a_trip_of_both_sides_lets_the_other_passes_go(side: Side) -> None:
    await side.arm("image/early")
    tripped = await side.trip("image/a", "image/early", trip=BOTH)
    await side.approvals.discard(tripped, "ada")
    assert claimed(await side.claim()) == ["image/early"]


@pytest.mark.parametrize("approve", [True, False])
async def test_no_decision_about_an_earlier_pass_lifts_a_later_trip_of_both_sides(
    side: Side, *, approve: bool
) -> None:
    first = await side.trip("image/a")
    await side.trip("image/a", trip=BOTH)
    act = side.approvals.approve if approve else side.approvals.discard
    with pytest.raises(NotDone, match="both sides wrong"):
        await act(first, "ada")
    assert (await side.claim()).taken == 0


async def test_that_both_sides_were_wrong_once_stays_with_the_trips_after_it(side: Side) -> None:
    await side.trip("image/a", trip=BOTH)
    later = await side.trip("image/a")
    undecided = await side.passes.undecided(PassKind.SWEEP)
    assert undecided is not None
    assert undecided.both_sides
    with pytest.raises(NotDone, match="is understood"):
        await side.approvals.approve(later, "ada")


# --- what the breaker counts -----------------------------------------------------------------------


async def test_the_backlog_is_told_apart_by_prefix_and_by_what_was_approved(side: Side) -> None:
    approved = await side.trip("image/a", "image/a/b", "video/a", missing=7)
    await side.approvals.approve(approved, "ada")
    await side.confirm(await side.claim(limit=1))
    await side.arm("image/a/b", "video/a", "image/c", "video/c")
    await side.confirm(await side.claim(limit=1))
    backlog = await side.passes.backlog(("video/", "image/", "image/a/"))
    one, two = {Verdict.ORPHAN: 1}, {Verdict.ORPHAN: 2}
    assert (backlog.pending, backlog.gone) == (two, {})
    assert (backlog.approved, backlog.approved_gone, backlog.approved_missing) == (one, two, 7)
    assert set(backlog.by_prefix) == {"image/", "video/"}
    image, video = backlog.by_prefix["image/"], backlog.by_prefix["video/"]
    assert (image.pending, image.approved, image.approved_gone) == (one, {}, two)
    assert (video.pending, video.approved, video.approved_gone) == (one, one, {})


async def test_a_pass_counts_the_marks_of_earlier_trips_that_it_has_seen_again(side: Side) -> None:
    await side.trip("image/a", "image/b")
    assert not any((await side.passes.backlog()).pending.values())
    running = await side.begin(finding("image/b"), finding("image/c"))
    assert (await side.passes.backlog((), running)).pending == {Verdict.ORPHAN: 2}


# --- the caps, where the deletion begins -----------------------------------------------------------


def most(number: int) -> Cap:
    """No more than so many orphans in all, claimed and to be claimed."""

    def cap(backlog: Backlog, seen: Mapping[PassKind, Tally]) -> Mapping[PassKind, str]:
        assert seen[PassKind.SWEEP].objects == 100
        count = backlog.pending.get(Verdict.ORPHAN, 0) + backlog.gone.get(Verdict.ORPHAN, 0)
        return {PassKind.SWEEP: f"{count} orphans"} if count > number else {}

    return cap


@pytest.mark.incident(33)
@pytest.mark.attack(13)
async def test_a_claim_above_the_caps_trips_the_pass_that_released_it(side: Side) -> None:
    released = await side.arm("image/a", "image/b", "image/c", "image/d")
    first = await side.claim(most(3), limit=2)
    assert claimed(first) == ["image/a", "image/b"]
    await side.confirm(first)
    second = await side.claim(most(3), limit=2)
    assert (second.keys, second.taken) == ((), 2)
    assert second.tripped == (TrippedPass(pass_id=released, reason="at the claim: 4 orphans"),)
    assert (await side.claim(most(100))).taken == 0, "raising a limit releases nothing"
    current = (await side.approvals.show(released)).current
    assert (current.state, current.trip_reason) == (PassState.TRIPPED, "at the claim: 4 orphans")
    assert await side.approvals.approve(released, "ada") == (2, 0)
    assert claimed(await side.claim(most(3))) == ["image/c", "image/d"], "approved: no cap is asked"


@pytest.mark.incident(33)
async def test_what_was_approved_counts_against_no_cap(side: Side) -> None:
    approved = await side.trip("image/a", "image/b", "image/c")
    await side.approvals.approve(approved, "ada")
    assert len((await side.claim(most(0))).keys) == 3
    await side.arm("image/d")
    assert claimed(await side.claim(most(1))) == ["image/d"]


async def test_what_is_left_when_an_approval_ends_waits_for_another(side: Side) -> None:
    approved = await side.trip("image/a", "image/b", "image/c")
    await side.approvals.approve(approved, "ada")
    await side.confirm(await side.claim(limit=1))
    await side.arm("image/b", "image/c", "image/d")
    ended = await side.claim(ended=True)
    assert claimed(ended) == ["image/d"], "the breaker let it through, and no person"
    assert [each.pass_id for each in ended.tripped] == [approved]
    assert "its approval by ada" in ended.tripped[0].reason
    assert (await side.claim()).taken == 0
    detail = await side.approvals.show(approved)
    assert (detail.current.state, detail.current.trip_reason) == (
        PassState.TRIPPED,
        ended.tripped[0].reason,
    )
    assert (await side.passes.undecided(PassKind.SWEEP)) is not None, "later passes wait as well"
    assert await side.approvals.approve(approved, "bob") == (2, 0)
    assert claimed(await side.claim()) == ["image/b", "image/c"]


async def test_an_approval_is_of_the_marks_that_the_pass_had(side: Side) -> None:
    """A key that was found only afterwards belongs to the pass that found it, and to its breaker."""
    approved = await side.trip("image/a")
    await side.approvals.approve(approved, "ada")
    later = await side.trip("image/a", "image/b")
    assert claimed(await side.claim()) == ["image/a"]
    assert await side.state(later) is PassState.TRIPPED


async def test_a_batch_above_the_caps_holds_back_no_other_marker(side: Side) -> None:
    await side.arm("image/a")
    retained = await side.begin(finding("image/b", Verdict.EXPIRED), kind=PassKind.RETENTION)
    await side.passes.arm(side.term, retained, Tally(records=10))
    assert claimed(await side.claim(most(0))) == ["image/b"]


async def test_the_caps_see_what_was_claimed_by_prefix(side: Side) -> None:
    seen: list[Backlog] = []

    def look(backlog: Backlog, _: Mapping[PassKind, Tally]) -> Mapping[PassKind, str]:
        seen.append(backlog)
        return {}

    await side.arm("image/a", "image/b", "video/a")
    for _ in range(2):
        await side.claim(look, limit=2)
    whole, image, video = seen[1], seen[1].by_prefix["image/"], seen[1].by_prefix["video/"]
    one, two = {Verdict.ORPHAN: 1}, {Verdict.ORPHAN: 2}
    assert (whole.pending, whole.gone) == (one, two)
    assert (image.pending, image.gone) == ({}, two)
    assert (video.pending, video.gone) == (one, {})


# --- looking ---------------------------------------------------------------------------------------


async def test_passes_are_listed_tripped_first_without_the_trips_that_others_take_in(side: Side) -> None:
    ids = [
        await side.trip("image/a"),
        await side.arm("image/a", "image/z"),
        await side.trip("image/a", "image/z", "video/b"),
    ]
    listed = await side.approvals.listed(10)
    assert [each.current.id for each in listed] == [ids[2], ids[1]]
    assert [sum(each.marks.values()) for each in listed] == [2, 1]
    assert [each.current.id for each in await side.approvals.listed(10, everything=True)] == [
        ids[2],
        ids[0],
        ids[1],
    ]
    assert [each.current.id for each in await side.approvals.listed(1)] == [ids[2]]


async def test_a_pass_that_waits_for_a_decision_is_never_out_of_sight(side: Side) -> None:
    """A retention pass each five minutes pushed a tripped sweep off the list within two hours."""
    waits = await side.trip("image/a")
    later = []
    for _ in range(3):
        begun = await side.begin(kind=PassKind.RETENTION)
        await side.passes.arm(side.term, begun, Tally())
        later.append(begun.id)
    assert [each.current.id for each in await side.approvals.listed(2)] == [waits, later[-1]]
    only = await side.approvals.listed(2, kind=PassKind.RETENTION)
    assert [each.current.id for each in only] == later[:0:-1]
    assert [each.current.id for each in await side.approvals.listed(9, state=PassState.TRIPPED)] == [waits]


async def test_a_pass_is_shown_with_its_marks_by_prefix_and_some_of_each_verdict(side: Side) -> None:
    found = [finding(f"image/{name}") for name in "cab"]
    found += [finding("image/a/x", Verdict.DANGLING), finding("video/v", Verdict.DANGLING)]
    begun = await side.begin(*found)
    await side.passes.trip(side.term, begun, Tally(), TOO_MANY)
    detail = await side.approvals.show(begun.id, examples=2)
    assert detail.marks == {
        ("image/", Verdict.ORPHAN): 3,
        ("image/", Verdict.DANGLING): 1,
        ("video/", Verdict.DANGLING): 1,
    }
    shown = sorted((mark.verdict, mark.storage_key) for mark in detail.examples)
    assert shown == [
        (Verdict.DANGLING, "image/a/x"),
        (Verdict.DANGLING, "video/v"),
        (Verdict.ORPHAN, "image/a"),
        (Verdict.ORPHAN, "image/b"),
    ]
    assert detail.current.policy == TWO_PREFIXES
    with pytest.raises(NotDone, match="no pass 77"):
        await side.approvals.show(77)


async def test_an_approval_by_a_plan_releases_what_it_lists_and_withdraws_the_rest(side: Side) -> None:
    """Also marks of the trips that it takes in; and a running pass ends, which left out what was marked."""
    await side.trip("image/a", "image/b")
    tripped = await side.trip("image/a", "image/b", "image/c")
    running = await side.begin(finding("image/d"))
    listed = {("image/a", "orphan"), ("image/c", "orphan"), ("image/b", "dangling"), ("image/x", "orphan")}
    assert await side.approvals.approve(tripped, "ada", only=listed) == (2, 1)
    assert claimed(await side.claim()) == ["image/a", "image/c"]
    with pytest.raises(PassEnded):
        await side.passes.arm(side.term, running, Tally())
