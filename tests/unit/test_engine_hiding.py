"""Objects go only so that they can come back; what stands in the way of that keeps them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.engine.collect import soft_delete
from reconciler.engine.collect.answers import Answers
from reconciler.model import (
    DeleteMode,
    DeletionResult,
    Hidden,
    HoldKind,
    Mode,
    ObjectResult,
    Outcome,
    UndoScope,
    Verdict,
)
from tests.doubles.build import OPEN, policy
from tests.doubles.observing import Crash
from tests.doubles.world import World

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


async def due(*keys: str) -> World:
    """A world that deletes by way of the quarantine, and whose orphans are marked and due."""
    world = World(under=policy(delete_mode=DeleteMode.QUARANTINE), limits=OPEN)
    for key in keys:
        world.bucket.upload(key, age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    return world


def left(world: World) -> set[str]:
    return {key for key in world.bucket.objects if not key.startswith(".reconciler/")}


@pytest.mark.attack(10)
async def test_what_cannot_be_copied_is_never_deleted_but_held_and_told() -> None:
    world = await due("image/a", "image/sealed")
    world.bucket.uncopyable.add("image/sealed")
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    assert left(world) == {"image/sealed"}
    assert world.observer.results[Mode.LIVE, Verdict.ORPHAN, ObjectResult.HELD] == 1
    assert [(kind, target) for kind, target, _ in world.database.holds] == [(HoldKind.KEY, "image/sealed")]


@pytest.mark.attack(10)
async def test_an_upload_between_copy_and_delete_stays() -> None:
    """On a store that compares, and on one that does not: the copy's ETag is what may be deleted."""
    for compares in (True, False):
        world = World(under=policy(delete_mode=DeleteMode.QUARANTINE), compares=compares, limits=OPEN)
        world.bucket.upload("image/a", age=3 * DAY)
        await world.run_once()
        world.around.tick(DAY)
        copy = world.bucket.copy

        async def copied(*args: object, copy: object = copy, world: World = world, **more: object) -> object:
            answer = await copy(*args, **more)  # type: ignore[operator]
            world.bucket.upload("image/a")
            return answer

        world.bucket.copy = copied  # type: ignore[method-assign, assignment]
        assert (await world.run_once()).removed.objects == 0
        assert left(world) == {"image/a"}


@pytest.mark.attack(7)
async def test_the_row_of_an_object_that_comes_while_the_row_goes_comes_back() -> None:
    """HEAD says 404 twice, and the upload ends before the row is gone."""
    world = World(limits=OPEN)
    row = world.database.insert("image/a", age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    world.database.on_remove = lambda row: world.bucket.upload(row.storage_key)
    assert (await world.run_once()).removed.records == 1
    assert list(world.database.rows) == [row]


@pytest.mark.attack(9)
async def test_of_two_versions_of_one_second_the_newer_one_is_what_was_hidden() -> None:
    """A mark of retention has seen no object, and the answer that named the version was lost with the run."""
    world = World(under=policy(delete_mode=DeleteMode.VERSIONED), versioned=True, limits=OPEN)
    for size in (1, 2):
        world.bucket.upload("image/a", size=size)
    world.database.insert("image/a", age=3 * DAY, expires_at=world.around.now)
    await world.run_once()
    world.around.tick(DAY)
    with pytest.raises(Crash):
        await world.run_once(killed_at="after MemoryBucket.delete")
    await world.run_once()
    assert left(world) == set()
    undone = await world.undo(UndoScope())
    assert (undone.objects, undone.records, undone.bytes, undone.refused) == (1, 1, 2, [])
    assert world.bucket.objects["image/a"].size == 2


@pytest.mark.attack(9)
@pytest.mark.parametrize("marker", [None, "", "null"])
def test_a_deletion_that_names_no_delete_marker_hides_nothing_until_one_is_seen(marker: str | None) -> None:
    """`null` is what a bucket answers whose versioning was suspended: the bytes are gone."""
    answers = Answers()
    answers.hidden["a"] = Hidden(mode=DeleteMode.VERSIONED, size=1, version_ids=("v",))
    soft_delete.note_marker(DeletionResult(key="a", result=ObjectResult.DELETED, marker_id=marker), answers)
    assert (answers.unmarked, answers.hidden) == ({"a"}, {})
