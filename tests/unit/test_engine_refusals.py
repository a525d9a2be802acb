"""What the store refuses of one key settles that key alone, by what it is blamed on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from reconciler.engine.collect.answers import MANY, PATIENCE, Answers, for_each_alone
from reconciler.errors import Halt, KeyRefused, StoreFull
from reconciler.model import (
    Blame,
    ClaimedKey,
    DeleteMode,
    HoldKind,
    Mark,
    ObjectResult,
    Outcome,
    Remove,
    Return,
    UndoScope,
    Verdict,
)
from tests.doubles.build import OPEN, policy
from tests.doubles.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.attack(73)]

DAY = timedelta(days=1)
POISON, OTHERS = "image/poison", {"image/a", "image/b"}


def claimed(world: World, key: str, attempts: int = 0) -> ClaimedKey:
    now = world.around.now
    mark = Mark(
        storage_key=key,
        verdict=Verdict.ORPHAN,
        reason="for the test",
        bytes=1,
        pass_id=1,
        object_etag=None,
        object_last_modified=None,
        first_seen_at=now,
        last_seen_at=now,
        sightings=1,
        due_at=now,
    )
    decision = Remove(records=(), delete_object=True, verify_absence=False)
    return ClaimedKey(mark=mark, decision=decision, attempts=attempts)


@pytest.mark.parametrize("mode", list(DeleteMode))
@pytest.mark.parametrize("blame", list(Blame))
async def test_the_others_go_whatever_one_is_refused_for(mode: DeleteMode, blame: Blame) -> None:
    world = World(under=policy(delete_mode=mode), versioned=mode is DeleteMode.VERSIONED, limits=OPEN)
    for key in (POISON, *OTHERS):
        world.bucket.upload(key, age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    world.bucket.refused[POISON] = blame
    report = await world.run_once()
    held = blame is Blame.OBJECT
    assert report.outcome is (Outcome.CONVERGED if held else Outcome.FAILED)
    assert report.removed.objects == len(OTHERS)
    assert [(kind, target) for kind, target, _ in world.database.holds] == (
        [(HoldKind.KEY, POISON)] if held else []
    )
    world.bucket.refused.clear()
    world.database.holds.clear()
    for _ in range(2):
        world.around.tick(DAY)
        await world.run_once()
    assert {key for key in world.bucket.objects if not key.startswith(".reconciler/")} == set()


async def test_a_fault_of_the_program_about_one_key_puts_off_that_key_alone() -> None:
    world = World(under=policy(delete_mode=DeleteMode.QUARANTINE), limits=OPEN)
    for key in (POISON, *OTHERS):
        world.bucket.upload(key, age=3 * DAY)

    def trip(source: str, _target: str) -> None:
        if source == POISON:
            raise TypeError("as the test asked")

    world.bucket.on_copy = trip
    await world.run_once()
    world.around.tick(DAY)
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.FAILED, len(OTHERS))
    assert POISON in world.bucket.objects
    world.bucket.on_copy = lambda *_: None
    world.around.tick(DAY)
    assert (await world.run_once()).removed.objects == 1


@pytest.mark.parametrize("nameless", [True, False])
async def test_a_dangling_record_goes_where_the_store_takes_no_such_key(nameless: bool) -> None:
    world = World(limits=OPEN)
    for key in (POISON, *OTHERS):
        world.database.insert(key, age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    world.bucket.refused[POISON] = Blame.OBJECT
    world.bucket.nameless |= {POISON} if nameless else set()
    report = await world.run_once()
    assert report.removed.records == len(OTHERS) + nameless


@pytest.mark.parametrize(
    ("blame", "attempts", "result"),
    [
        (Blame.OBJECT, 0, ObjectResult.HELD),
        (Blame.KEY, PATIENCE - 1, ObjectResult.FAILED),
        (Blame.KEY, PATIENCE, ObjectResult.HELD),
        (Blame.MOMENT, 1000, ObjectResult.FAILED),
        (Blame.STORE, 1000, ObjectResult.FAILED),
    ],
)
def test_only_what_is_about_the_key_ends_on_hold(blame: Blame, attempts: int, result: ObjectResult) -> None:
    answers = Answers()
    answers.refuse(claimed(World(), POISON, attempts), blame, "why")
    assert answers.results == {POISON: (result, "why")}
    assert answers.unanswered is (blame is Blame.MOMENT)  # which may be about the store


@pytest.mark.attack(72)
@pytest.mark.parametrize(
    ("refused", "went", "full"), [(MANY - 1, 0, ""), (MANY, 0, "no room"), (MANY, 1, "")]
)
def test_many_in_a_row_without_room_ask_for_a_person(refused: int, went: int, full: str) -> None:
    answers, world = Answers(), World()
    for number in range(refused):
        answers.refuse(claimed(world, f"image/{number}"), Blame.STORE, "no room")
    for _ in range(went):
        answers.settle(str(uuid4()), ObjectResult.DELETED, "")
    answers.speak_of_room()
    assert answers.full == full


@pytest.mark.attack(72)
@pytest.mark.parametrize("blame", [Blame.STORE, None])
async def test_a_round_ends_where_the_store_has_no_room(blame: Blame | None) -> None:
    """By the answer for many keys, or for the identity: no further batch asks for what cannot be."""
    world = World(under=policy(delete_mode=DeleteMode.QUARANTINE), limits=OPEN)
    world.limits = replace(world.limits, delete_concurrency=1)
    for number in range(3 * MANY):
        world.bucket.upload(f"image/{number:02}", age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    world.runtime = replace(world.runtime, rate=float(MANY))
    tried: list[str] = []

    def no_room(source: str, _target: str) -> None:
        tried.append(source)
        raise KeyRefused("no room: free space", blame) if blame else StoreFull("no room: free space")

    world.bucket.on_copy = no_room
    with pytest.raises(Halt, match="no room: free space"):
        await world.run_once()
    assert len(tried) <= MANY


async def test_a_key_that_is_slow_while_the_identity_is_answered_speaks_for_itself_alone() -> None:
    answers, one = Answers(), claimed(World(), POISON)

    async def act(_: ClaimedKey) -> None:
        raise KeyRefused("no answer", Blame.MOMENT)

    await for_each_alone([one], act, answers, concurrency=1)
    assert (answers.results, answers.unanswered) == ({POISON: (ObjectResult.FAILED, "no answer")}, False)


@pytest.mark.attack(73)
@pytest.mark.parametrize("blame", list(Blame))
async def test_an_undo_is_refused_only_where_trying_again_is_no_use(blame: Blame) -> None:
    world = World(under=policy(delete_mode=DeleteMode.QUARANTINE), limits=OPEN)
    world.bucket.upload(POISON, age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    await world.run_once()
    (copy,) = (key for key in world.bucket.objects if key.startswith(".reconciler/quarantine/"))
    world.bucket.refused[copy] = blame
    undone = await world.undo(UndoScope(keys=(POISON,)))
    outcome = Return.REFUSED if blame in {Blame.KEY, Blame.OBJECT} else Return.FAILED
    assert ([each.outcome for each in undone.refused], undone.objects) == ([outcome], 0)
