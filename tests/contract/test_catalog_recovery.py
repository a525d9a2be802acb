"""What is hidden, in the database: a purge and a return each have it alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from reconciler.model import DeleteMode, Hidden, ObjectResult, Removal, Removed, UndoScope
from tests.contract.catalog import NOTHING, Stage, finding, staged, unless_named

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
KEY = "image/a"


@pytest.fixture
async def stage(database: str) -> AsyncIterator[Stage]:
    async with staged(database) as opened:
        yield opened


async def hide(stage: Stage, result: ObjectResult = ObjectResult.DELETED) -> Removed:
    """One orphan, marked, claimed and confirmed as lying in quarantine."""
    await stage.mark(finding(KEY))
    claim = await stage.claim()
    hidden = {KEY: Hidden(mode=DeleteMode.QUARANTINE, size=10, etag="e1", quarantine_key="q")}
    return await stage.catalog.marks.confirm(
        stage.term, claim, {KEY: (result, "")}, unless_named, HOUR, hidden
    )


async def removal(stage: Stage) -> Removal:
    (found,) = await stage.catalog.recovery.removals(UndoScope(keys=(KEY,)))
    return found


@pytest.mark.attack(9)
async def test_what_a_purge_has_claimed_no_return_gets(stage: Stage) -> None:
    """The undo has read it before the purge took it."""
    await hide(stage)
    found = await removal(stage)
    assert found.object is not None
    (taken,) = await stage.catalog.purges.claim(stage.term, NOTHING, HOUR, 10)
    assert taken.id == found.object.id
    assert not await stage.catalog.recovery.claim_return(found.object.id)


@pytest.mark.attack(9)
async def test_what_is_being_brought_back_no_purge_gets(stage: Stage) -> None:
    await hide(stage)
    found = await removal(stage)
    assert found.object is not None
    assert await stage.catalog.recovery.claim_return(found.object.id)
    assert list(await stage.catalog.purges.claim(stage.term, NOTHING, HOUR, 10)) == []
    await stage.catalog.recovery.put_back(found, "test", object_back=True)
    assert not await stage.catalog.recovery.claim_return(found.object.id)


async def test_a_copy_of_what_stayed_is_left_over_and_goes_at_once(stage: Stage) -> None:
    await hide(stage, ObjectResult.CHANGED)
    assert list(await stage.catalog.recovery.removals(UndoScope(keys=(KEY,)))) == []
    (taken,) = await stage.catalog.purges.claim(stage.term, HOUR, HOUR, 10)
    assert taken.hidden.quarantine_key == "q"


@pytest.mark.attack(17)
async def test_what_is_erased_is_purged_at_once_and_never_returned(stage: Stage) -> None:
    await hide(stage)
    found = await removal(stage)
    assert found.object is not None
    erased = await stage.catalog.erasure.erase([KEY], "test")
    assert (erased.objects, erased.rows, erased.claimed) == (1, 0, ())
    assert list(await stage.catalog.recovery.hidden(KEY)) == []
    assert not await stage.catalog.recovery.claim_return(found.object.id)
    assert len(await stage.catalog.purges.claim(stage.term, HOUR, HOUR, 10)) == 1


@pytest.mark.attack(6)
async def test_a_key_that_a_writer_queues_again_meanwhile_stays_queued(stage: Stage) -> None:
    recovery = stage.catalog.recovery
    await recovery.queue([KEY], "a row names it")
    (before,) = await recovery.queued(10)
    await recovery.queue([KEY], "a row names it again")
    await recovery.dequeue(before)
    (after,) = await recovery.queued(10)
    await recovery.dequeue(after)
    assert list(await recovery.queued(10)) == []
