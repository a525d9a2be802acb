"""The rows' half of a deletion: after the object, apart from claims, each for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest

from reconciler.catalog.marks import row_removal
from reconciler.engine.collect import soft_delete
from reconciler.errors import Halt
from reconciler.model import Deletion, DeletionResult, ObjectResult, Verdict
from tests.attacks.between import inserted_in_between
from tests.attacks.scene import Scene
from tests.contract.catalog import DAY, LONG_AGO, claimed

pytestmark = pytest.mark.anyio

A, B = "image/a", "image/b"


@pytest.mark.attack(11)
@pytest.mark.attack(30)
async def test_a_writer_across_two_keys_and_a_confirmation_do_not_deadlock(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer holds row A and waits for mark B; the confirmation holds mark B and finds row A locked."""
    await scene.tracked(A, ExpiresAt=LONG_AGO)
    scene.put(B)
    await scene.mark(A, verdict=Verdict.EXPIRED)
    await scene.mark(B)
    claim = await scene.claim()
    answers = await scene.delete(claim)
    writer = await scene.writer()
    await writer.begin()
    await writer.update(A, AccessCount=1)
    async with inserted_in_between(scene, writer, B, row_removal, monkeypatch) as refused:
        with anyio.fail_after(10):
            removed = await scene.confirm(claim, answers)
    await writer.rollback()
    assert refused == [True]
    assert (removed.objects, removed.records, removed.failed) == (2, 0, 0)
    assert [result for _, _, result in await scene.stage.ledger()] == ["deleted", "deleted", "postponed"]
    marks = await scene.stage.marks()
    assert {key: mark["state"] for key, mark in marks.items()} == {A: "claimed"}


@pytest.mark.attack(30)
async def test_a_row_that_a_foreign_key_holds_fails_alone(scene: Scene) -> None:
    await scene.sql.execute('CREATE TABLE public.child (media uuid REFERENCES public."MediaRecords" ("Id"))')
    first = await scene.tracked(A, ExpiresAt=LONG_AGO)
    await scene.tracked(B, ExpiresAt=LONG_AGO)
    await scene.sql.execute("INSERT INTO public.child VALUES ($1)", first)
    await scene.mark(A, B, verdict=Verdict.EXPIRED)
    removed = await scene.collect()
    assert (removed.objects, removed.records, removed.failed) == (1, 1, 0)
    assert (await scene.rows(), scene.objects) == ([A], {A})


@pytest.mark.attack(26)
async def test_a_counter_that_moves_between_claim_and_confirmation_keeps_no_row(scene: Scene) -> None:
    await scene.tracked(A, ExpiresAt=LONG_AGO)
    await scene.mark(A, verdict=Verdict.EXPIRED)
    claim = await scene.claim()
    await (await scene.writer()).update(A, AccessCount=7, SizeBytes=3)
    removed = await scene.finish(claim)
    assert (removed.objects, removed.records, removed.lost) == (1, 1, 0)
    assert await scene.rows() == []


@pytest.mark.attack(21)
async def test_what_a_former_operation_confirms_is_not_its_own_any_more(scene: Scene) -> None:
    """A is paused, B takes the claim over and spares the key; A wakes and reports."""
    await scene.tracked(A, ExpiresAt=LONG_AGO)
    await scene.mark(A, verdict=Verdict.EXPIRED)
    first = await scene.claim()
    term = await scene.next_term()
    second = await scene.stage.catalog.marks.rescue(term, timedelta(0), 10)
    assert second is not None
    late: Mapping[str, tuple[ObjectResult, str]] = {A: (ObjectResult.DELETED, "")}
    removed = await scene.stage.catalog.marks.confirm(term, first, late, scene.decide, timedelta(hours=1))
    assert (removed.objects, removed.records) == (0, 0)
    assert await scene.rows() == [A]
    assert (await scene.finish(second)).records == 1


@pytest.mark.attack(37)
async def test_a_claim_in_hand_is_not_taken_for_one_that_was_left(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow store: another worker takes the claim over and spares the key, then the delete is sent."""
    scene.put(A)
    await scene.mark(A)
    monkeypatch.setattr(soft_delete, "EXTEND_SECONDS", 0.01)
    asked, answer = anyio.Event(), anyio.Event()
    delete = scene.bucket.delete

    async def slow(batch: Sequence[Deletion]) -> Sequence[DeletionResult]:
        asked.set()
        await answer.wait()
        return await delete(batch)

    monkeypatch.setattr(scene.bucket, "delete", slow)
    still = "SELECT count(*) FROM reconciler.marks WHERE not_before > clock_timestamp()"
    async with anyio.create_task_group() as group:
        group.start_soon(scene.collect)
        await asked.wait()
        await scene.sql.execute("UPDATE reconciler.marks SET not_before = clock_timestamp()")
        with anyio.move_on_after(5):
            while not await scene.sql.fetchval(still):
                await anyio.lowlevel.checkpoint()
        taken = await scene.stage.catalog.marks.rescue(scene.term, DAY, 10)
        answer.set()
    assert taken is None


@pytest.mark.attack(8)
async def test_a_404_of_an_endpoint_that_lacks_our_marker_removes_no_row(scene: Scene) -> None:
    await scene.stage.add_row(A)
    for _ in range(2):
        await scene.mark(A, verdict=Verdict.DANGLING)
    claim = await scene.claim()
    assert claimed(claim) == [A]
    scene.bucket.foreign = True
    with pytest.raises(Halt, match="404 for its own identity object"):
        await scene.delete(claim)
    assert await scene.rows() == [A]
