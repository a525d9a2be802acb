"""Objects go only so that they can come back; what stands in the way of that keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from reconciler.engine.collect import soft_delete
from reconciler.engine.collect.answers import Answers
from reconciler.engine.recover import bring_back
from reconciler.model import (
    UNVERSIONED,
    DeleteMode,
    DeletionResult,
    Hidden,
    HiddenObject,
    HoldKind,
    Mode,
    ObjectResult,
    Outcome,
    StoredObject,
    UndoScope,
    Verdict,
    Version,
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


@pytest.mark.attack(10)
@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize("before", [True, False])
async def test_an_upload_before_or_behind_the_listing_of_versions_stays(
    monkeypatch: pytest.MonkeyPatch, *, before: bool, compares: bool
) -> None:
    """The listing shows one of the two keys alone; a HEAD looks at the other."""
    under = policy(delete_mode=DeleteMode.VERSIONED)
    world = World(under=under, versioned=True, compares=compares, limits=OPEN)
    keys = ["image/a", "image/b"]
    for key in keys:
        world.bucket.upload(key, age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    latest, told = world.bucket.versions.latest, list[str]()

    async def listed(asked: Sequence[str]) -> Mapping[str, Version]:
        if before:
            put_again()
        answer = await latest(asked)
        told.extend(answer)
        if not before:
            put_again()
        return answer

    def put_again() -> None:
        for key in keys:
            world.bucket.upload(key, size=7)

    monkeypatch.setattr(world.bucket.versions, "latest", listed)
    assert (await world.run_once()).removed.objects == 0
    assert told == ["image/a"]
    assert left(world) == {*keys}


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


async def test_our_marker_behind_an_upload_of_the_same_second_goes_with_what_it_hid() -> None:
    """SeaweedFS 4.48 lists whole seconds, so neither of two versions of one second looks newer."""
    world = World(under=policy(delete_mode=DeleteMode.VERSIONED), versioned=True, limits=OPEN)
    world.bucket.upload("image/a", age=3 * DAY)
    world.database.insert("image/a", age=3 * DAY, expires_at=world.around.now)
    await world.run_once()
    world.around.tick(DAY)
    assert (await world.run_once()).removed.objects == 1
    world.bucket.upload("image/a", age=4 * DAY)
    world.database.insert("image/a")
    assert [each.marker for each in world.bucket.versions.all_of("image/a")] == [False, True, False]
    world.around.tick(world.runtime.undo_window)
    await world.run_once()
    assert [(each.marker, each.latest) for each in world.bucket.versions.all_of("image/a")] == [(False, True)]


@pytest.mark.attack(9)
@pytest.mark.parametrize("marker", [None, "", "null"])
def test_a_deletion_that_names_no_delete_marker_hides_nothing_until_one_is_seen(marker: str | None) -> None:
    """`null` is what a bucket answers whose versioning was suspended: the bytes are gone."""
    answers = Answers()
    answers.hidden["a"] = Hidden(mode=DeleteMode.VERSIONED, size=1, version_ids=("v",))
    soft_delete.note_marker(DeletionResult(key="a", result=ObjectResult.DELETED, marker_id=marker), answers)
    assert (answers.unmarked, answers.hidden) == ({"a"}, {})


AT = datetime(2026, 1, 1, tzinfo=UTC)
SOON, BEFORE = AT + timedelta(minutes=1), AT - timedelta(minutes=1)


def _version(name: str, at: datetime | None, *, latest: bool = False, marker: bool = False) -> Version:
    return Version(key="image/a", id=name, marker=marker, latest=latest, last_modified=at)


MINE = _version("mine", SOON, latest=True)
NEWER = _version("newer", SOON)


@pytest.mark.attack(60)
@pytest.mark.parametrize(
    ("found", "goes"),
    [
        ([MINE, NEWER], True),
        ([MINE, NEWER, _version("deleted", BEFORE, marker=True)], True),
        ([MINE, NEWER, _version("old", BEFORE)], True),
        ([MINE], False),
        ([MINE, _version("older", BEFORE)], False),
        ([MINE, _version("undated", None)], False),
        ([MINE, _version("hidden", SOON)], False),
        ([MINE, NEWER, _version("deleted", SOON, marker=True)], False),
        ([replace(MINE, latest=False), replace(NEWER, latest=True)], False),
    ],
)
async def test_our_copy_goes_again_only_for_an_upload_that_came_meanwhile(
    found: list[Version], goes: bool
) -> None:
    """What lies behind it for another reason stays there, and what came back stays in front of it."""
    withdrawn: list[Version] = []

    async def of(_: str) -> list[Version]:
        return found

    async def withdraw(version: Version) -> tuple[DeletionResult]:
        withdrawn.append(version)
        return (DeletionResult(key=version.key, result=ObjectResult.DELETED, detail=""),)

    hidden = HiddenObject(
        id=1,
        storage_key="image/a",
        operation_id=uuid4(),
        verdict=Verdict.ORPHAN,
        hidden=Hidden(mode=DeleteMode.VERSIONED, size=1, version_ids=("hidden",)),
        hidden_at=AT,
    )
    ports: Any = SimpleNamespace(versions=SimpleNamespace(of=of))
    guard: Any = SimpleNamespace(withdraw=withdraw)
    stored = StoredObject(key="image/a", size=1, etag="e", last_modified=SOON, version_id="mine")
    said = await bring_back._withdrawn(ports, guard, hidden, stored)
    assert (said, withdrawn) == (("lies there again", [MINE]) if goes else ("", []))
    # An id that the next upload takes over.
    found = [replace(each, id=UNVERSIONED) if each == MINE else each for each in found]
    assert await bring_back._withdrawn(ports, guard, hidden, replace(stored, version_id=UNVERSIONED)) == ""
