"""What passes, operators and administrators do beside a deletion that is under way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import anyio.lowlevel
import asyncpg
import pytest

from reconciler.errors import Halt
from reconciler.model import DeleteMode, Erased, Removed, UndoScope, Verdict
from tests.attacks.scene import Scene, open_scene
from tests.contract.catalog import LONG_AGO, NOTHING, claimed

pytestmark = pytest.mark.anyio

KEY = "image/a"
MEDIA = 'public."MediaRecords"'
BURY = """
INSERT INTO reconciler.tombstones (storage_key, verdict, operation_id, gone_at, ends_at)
VALUES ($1, 'orphan', gen_random_uuid(), clock_timestamp(), clock_timestamp())
"""


@pytest.fixture
async def scene(database: str) -> AsyncIterator[Scene]:
    async with open_scene(database) as opened:
        yield opened


async def waiting(scene: Scene, number: int) -> bool:
    found: int = await scene.sql.fetchval(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
    )
    return found >= number


# --- tables that inherit -------------------------------------------------------------------------------


@pytest.mark.attack(40)
async def test_rows_that_come_with_a_table_that_inherits_are_waited_for(scene: Scene) -> None:
    """No trigger has seen them, and no catalogue shows the table before it is committed."""
    scene.put(KEY)
    await scene.mark(KEY)
    loader = await scene.writer()
    await loader.begin()
    await loader.run(f"CREATE TABLE public.late () INHERITS ({MEDIA})")
    await loader.run(f"INSERT INTO public.late SELECT * FROM {MEDIA}")
    claim = await scene.claim()
    assert claimed(claim) == [KEY]
    assert not await scene.ready(claim)
    await loader.rollback()
    assert await scene.ready(claim)


@pytest.mark.attack(41)
async def test_a_row_that_has_its_id_from_another_table_takes_nothing_with_it(scene: Scene) -> None:
    """Rows are removed by id, which is the table's own only as long as nothing inherits from it."""
    await scene.tracked(KEY, ExpiresAt=LONG_AGO)
    scene.put("image/live")
    await scene.mark(KEY, verdict=Verdict.EXPIRED)
    await scene.sql.execute(
        f"CREATE TABLE public.heir () INHERITS ({MEDIA}); INSERT INTO public.heir SELECT * FROM {MEDIA};"
        ' UPDATE public.heir SET "StorageKey" = \'image/live\', "ExpiresAt" = NULL'
    )
    with pytest.raises(Halt, match="inherit"):
        await scene.claim()
    assert await scene.rows() == [KEY, "image/live"]


# --- an erasure ----------------------------------------------------------------------------------------


@pytest.mark.attack(42)
async def test_an_erasure_either_finds_what_a_deletion_leaves_or_names_the_key(scene: Scene) -> None:
    """It has looked for copies when a confirmation leaves one, and for claims when there is none any more."""
    scene.policy = replace(scene.policy, delete_mode=DeleteMode.QUARANTINE)
    scene.put(KEY)
    await scene.mark(KEY)
    claim = await scene.claim()
    answers = await scene.delete(claim, await scene.look_again(claim))
    scene.put("image/b")
    await scene.mark("image/b")
    # Holds up the erasure between its two looks.
    await scene.sql.execute("INSERT INTO reconciler.restores (storage_key, reason) VALUES ($1, '')", KEY)
    other = await scene.writer()
    await other.begin()
    await other.run("SELECT 1 FROM reconciler.restores FOR UPDATE")
    erased: list[Erased] = []
    removed: list[Removed] = []

    async def erase() -> None:
        erased.append(await scene.stage.catalog.erasure.erase([KEY, "image/b"], "test"))

    async def confirm() -> None:
        removed.append(await scene.confirm(claim, answers))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(erase)
            while not await waiting(scene, 1):
                await anyio.lowlevel.checkpoint()
            assert claimed(await scene.claim()) == []
            group.start_soon(confirm)
            while not (removed or await waiting(scene, 2)):
                await anyio.lowlevel.checkpoint()
            await other.rollback()
    left = await scene.stage.catalog.recovery.removals(UndoScope(keys=(KEY,)))
    assert erased[0].claimed == (KEY,) or not left


# --- a pass --------------------------------------------------------------------------------------------


@pytest.mark.attack(43)
async def test_a_page_that_was_listed_before_a_deletion_marks_nothing_that_has_gone(scene: Scene) -> None:
    """What is put again with the same bytes would be taken for what was listed, and for as old."""
    scene.put(KEY)
    await scene.mark(KEY)
    claim = await scene.claim()
    passes = scene.stage.catalog.passes
    current, listed = await scene.stage.begin(), scene.finding(KEY)
    assert (await scene.finish(claim)).objects == 1
    await passes.record(scene.term, current, [listed], NOTHING)
    assert await scene.stage.marks() == {}
    # A pass that began afterwards has listed what lies there now.
    later = await scene.stage.begin()
    await passes.record(scene.term, later, [listed], NOTHING)
    assert list(await scene.stage.marks()) == [KEY]


@pytest.mark.attack(43)
async def test_a_page_that_waits_for_the_confirmation_itself_sees_what_it_left(scene: Scene) -> None:
    """It meets the mark, which is removed beside the tombstone that a snapshot from before does not show."""
    scene.put(KEY)
    await scene.mark(KEY)
    current, listed = await scene.stage.begin(), scene.finding(KEY)
    confirming: asyncpg.Connection = (await scene.writer()).sql
    await confirming.execute("BEGIN; DELETE FROM reconciler.marks")
    await confirming.execute(BURY, KEY)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            record = scene.stage.catalog.passes.record
            group.start_soon(record, scene.term, current, [listed], NOTHING)
            while not await waiting(scene, 1):
                await anyio.lowlevel.checkpoint()
            await confirming.execute("COMMIT")
    assert await scene.stage.marks() == {}


# --- a virtual key -------------------------------------------------------------------------------------


@pytest.mark.attack(45)
async def test_a_row_without_an_owner_goes_only_on_a_mark_that_waits_for_owners(scene: Scene) -> None:
    """Marked as expired, extended, and ownerless by now: a key that is being made anew cannot be locked."""
    await scene.sql.execute(f'ALTER TABLE {MEDIA} DROP CONSTRAINT "MediaRecords_VirtualKeyId_fkey"')
    await scene.tracked(KEY, ExpiresAt=LONG_AGO)
    await scene.mark(KEY, verdict=Verdict.EXPIRED)
    await scene.sql.execute(f'UPDATE {MEDIA} SET "ExpiresAt" = NULL')
    await scene.sql.execute('CREATE TABLE public.kept AS SELECT * FROM public."VirtualKeys"')
    await scene.sql.execute('DELETE FROM public."VirtualKeys"')
    writer = await scene.writer()
    await writer.begin()
    await writer.run('INSERT INTO public."VirtualKeys" SELECT * FROM public.kept')
    await scene.collect()
    await writer.commit()
    assert (await scene.rows(), scene.objects) == ([KEY], {KEY})
