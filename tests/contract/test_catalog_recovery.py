"""An erasure of what is hidden, on a real Postgres. The rest is asked of both sides."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.model import DeleteMode, Hidden, Hold, HoldKind, ObjectResult, Term, UndoScope
from tests.contract.catalog import TTL, Stage, finding, unless_named

pytestmark = pytest.mark.anyio

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEY = "image/a"


async def hidden_object(stage: Stage, key: str = KEY) -> int:
    """The number of an object that was deleted, and whose copy lies in quarantine."""
    await stage.mark(finding(key))
    claim = await stage.claim()
    hidden = {key: Hidden(mode=DeleteMode.QUARANTINE, size=10, etag="e1", quarantine_key=f"q/{key}")}
    results = {key: (ObjectResult.DELETED, "")}
    await stage.catalog.marks.confirm(stage.term, claim, results, unless_named, HOUR, hidden)
    (found,) = await stage.catalog.recovery.removals(UndoScope(keys=(key,)))
    assert found.object is not None
    return found.object.id


@pytest.mark.attack(17)
async def test_what_is_erased_is_purged_at_once_and_never_returned(stage: Stage) -> None:
    number = await hidden_object(stage)
    erased = await stage.catalog.erasure.erase([KEY], "test")
    assert (erased.objects, erased.rows, erased.claimed) == (1, 0, ())
    assert list(await stage.catalog.recovery.hidden(KEY)) == []
    assert not await stage.catalog.recovery.claim_returns([number])
    assert len(await stage.catalog.purges.claim(stage.term, HOUR, 10)) == 1


@pytest.mark.attack(90)
async def test_a_dead_epochs_old_purge_is_waited_for_from_the_end_of_its_lease(stage: Stage) -> None:
    """Its leader may have waited for writers, or for the pace, and sent its delete at the very end."""
    await hidden_object(stage)
    purges = stage.catalog.purges
    assert len(await purges.claim(stage.term, HOUR - HOUR, 10)) == 1
    await stage.sql.execute("UPDATE reconciler.hidden SET claimed_at = claimed_at - interval '2 days'")
    await stage.catalog.lease.release(stage.term)
    term = await stage.catalog.lease.acquire("next", TTL)
    assert isinstance(term, Term)
    await purges.hand_back(term, DAY)
    assert list(await stage.catalog.recovery.hidden(KEY)) == []
    await stage.sql.execute("UPDATE reconciler.lease SET acquired_at = acquired_at - interval '1 day'")
    await purges.hand_back(term, DAY)
    assert len(await stage.catalog.recovery.hidden(KEY)) == 1
    assert len(await purges.claim(term, HOUR - HOUR, 10)) == 1
    await purges.hand_back(term, HOUR)
    assert list(await stage.catalog.recovery.hidden(KEY)) == [], (
        "a claim of ours is young, however old the term"
    )


@pytest.mark.attack(88)
async def test_what_is_erased_and_on_hold_does_not_keep_the_others_from_the_purge(stage: Stage) -> None:
    """It is the older one, and would be the whole of every batch."""
    for key in (KEY, "image/b"):
        await hidden_object(stage, key)
    await stage.catalog.erasure.erase([KEY, "image/b"], "test")
    await stage.catalog.holds.add([Hold(kind=HoldKind.KEY, target=KEY, reason="a case", author="legal")])
    assert [each.storage_key for each in await stage.catalog.purges.claim(stage.term, HOUR, 1)] == ["image/b"]


@pytest.mark.attack(90)
async def test_an_adoption_waits_for_a_dead_epochs_old_claim_from_the_end_of_its_lease(stage: Stage) -> None:
    await stage.mark(finding(KEY))
    await stage.claim()
    await stage.sql.execute("UPDATE reconciler.marks SET attempted_at = attempted_at - interval '2 days'")
    await stage.catalog.lease.release(stage.term)
    term = await stage.catalog.lease.acquire("next", TTL)
    assert isinstance(term, Term)
    assert await stage.catalog.site.on_their_way(term, DAY) > HOUR
    await stage.sql.execute("UPDATE reconciler.lease SET acquired_at = acquired_at - interval '1 day'")
    assert await stage.catalog.site.on_their_way(term, DAY) == HOUR - HOUR
    await stage.sql.execute("UPDATE reconciler.marks SET attempted_at = clock_timestamp()")
    assert await stage.catalog.site.on_their_way(term, DAY) > HOUR, "a claim of after the term's beginning"


@pytest.mark.attack(17)
async def test_an_erasure_names_what_is_on_its_way_back_and_takes_it_once_that_was_left(stage: Stage) -> None:
    """The object may lie in the bucket a moment later, where nobody but the person can delete it."""
    number = await hidden_object(stage)
    assert await stage.catalog.recovery.claim_returns([number])
    assert (await stage.catalog.erasure.erase([KEY], "test")).returning == (KEY,)
    assert list(await stage.catalog.purges.claim(stage.term, HOUR, 10)) == []
    await stage.sql.execute("UPDATE reconciler.hidden SET claimed_at = claimed_at - interval '1 hour'")
    assert (await stage.catalog.erasure.erase([KEY], "test")).returning == ()
    assert len(await stage.catalog.purges.claim(stage.term, HOUR, 10)) == 1
