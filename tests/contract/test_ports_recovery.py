"""What is deleted comes back or ends, asked of the in-memory doubles and of a real Postgres alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest

from reconciler.errors import LeaseLost
from reconciler.model import (
    DeleteMode,
    Hidden,
    Hold,
    HoldKind,
    ObjectResult,
    Queued,
    Removal,
    Removed,
    Return,
    Term,
    Trip,
    UndoScope,
    Verdict,
)
from reconciler.model.spelling import Orphans
from tests.contract.catalog import NOTHING, TTL, all_go
from tests.contract.sides import CatalogSide

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
KEY = "image/a"
TOO_MANY = Trip(reason="too many")
ALL_OF_IT = UndoScope()


def quarantined(key: str = KEY) -> Hidden:
    return Hidden(mode=DeleteMode.QUARANTINE, size=10, etag="e1", quarantine_key=f"copy of {key}")


def behind_a_marker(key: str = KEY) -> Hidden:
    return Hidden(mode=DeleteMode.VERSIONED, size=10, etag="e1", version_ids=("v1",), marker_ids=("m1",))


async def hide(
    catalog: CatalogSide,
    *keys: str,
    result: ObjectResult = ObjectResult.DELETED,
    verdict: Verdict = Verdict.ORPHAN,
    where: Mapping[str, Hidden] | None = None,
) -> Removed:
    """Marked, claimed and confirmed; each with a copy in quarantine unless it says otherwise."""
    keys = keys or (KEY,)
    await catalog.sweep(*((key, verdict) for key in keys))
    claim = await catalog.claim()
    hidden = {key: quarantined(key) for key in keys} if where is None else where
    return await catalog.confirm(claim, result, hidden=hidden)


async def removal(catalog: CatalogSide, key: str = KEY) -> Removal:
    (found,) = await catalog.recovery.removals(UndoScope(keys=(key,)))
    return found


async def purged(catalog: CatalogSide, window: timedelta = NOTHING) -> list[str]:
    """Claimed by the purge, and freed."""
    taken = await catalog.purges.claim(catalog.term, window, 10)
    await catalog.purges.done(catalog.term, [each.id for each in taken])
    return [each.storage_key for each in taken]


# --- objects ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [quarantined(), behind_a_marker()], ids=["quarantine", "versioned"])
async def test_what_is_hidden_is_told_as_it_was_and_comes_back_once(
    catalog: CatalogSide, hidden: Hidden
) -> None:
    assert (await hide(catalog, where={KEY: hidden})).objects == 1
    found = await removal(catalog)
    assert found.object is not None
    assert (found.object.hidden, found.object.verdict, found.rows) == (hidden, Verdict.ORPHAN, ())
    assert list(await catalog.recovery.hidden(KEY)) == [found.object]
    assert await catalog.recovery.recoverable([KEY, "image/b"]) == {KEY}
    for _ in range(2):
        assert await catalog.recovery.claim_returns([found.object.id]), "again, where a return was left"
    assert list(await catalog.recovery.put_back([found], "test", came={found.storage_key})) == []
    assert not await catalog.recovery.claim_returns([found.object.id])
    assert list(await catalog.recovery.hidden(KEY)) == []
    assert list(await catalog.recovery.removals(ALL_OF_IT)) == []
    assert await catalog.recovery.gone(ALL_OF_IT) == 0


async def test_the_newest_of_a_key_comes_first(catalog: CatalogSide) -> None:
    for name in ("first", "second"):
        await hide(catalog, where={KEY: quarantined(name)})
    names = [each.hidden.quarantine_key for each in await catalog.recovery.hidden(KEY)]
    assert names == ["copy of second", "copy of first"]
    found = await removal(catalog)
    assert found.object is not None
    assert found.object.hidden.quarantine_key == "copy of second"


async def test_a_scope_narrows_by_key_pass_and_time(catalog: CatalogSide) -> None:
    await hide(catalog, "image/b", "image/a")
    later = await catalog.sweep(("image/c", Verdict.ORPHAN))
    claim = await catalog.claim()
    await catalog.confirm(claim, ObjectResult.DELETED, hidden={"image/c": quarantined("image/c")})
    now = await catalog.records.now()

    async def keys(scope: UndoScope, after: str = "", limit: int = 10) -> list[str]:
        return [each.storage_key for each in await catalog.recovery.removals(scope, after, limit)]

    assert await keys(ALL_OF_IT) == ["image/a", "image/b", "image/c"]
    assert await keys(ALL_OF_IT, limit=2) == ["image/a", "image/b"]
    assert await keys(ALL_OF_IT, after="image/b") == ["image/c"]
    assert await keys(UndoScope(keys=("image/b", "image/x"))) == ["image/b"]
    assert await keys(UndoScope(pass_id=later)) == ["image/c"]
    assert await keys(UndoScope(since=now - HOUR, until=now + HOUR)) == ["image/a", "image/b", "image/c"]
    assert await keys(UndoScope(until=now - HOUR)) == []
    assert await keys(UndoScope(since=now + HOUR)) == []


async def test_a_pass_in_a_scope_stands_for_those_that_were_approved_with_it(catalog: CatalogSide) -> None:
    await hide(catalog, "image/before")
    earlier = await catalog.sweep(("image/a", Verdict.ORPHAN), trip=TOO_MANY)
    await catalog.approvals.approve(earlier, "ada")
    released = ("image/a", Verdict.ORPHAN)
    first = await catalog.sweep(released, ("image/b", Verdict.ORPHAN), trip=TOO_MANY)
    both = (released, ("image/b", Verdict.ORPHAN), ("image/c", Verdict.ORPHAN))
    second = await catalog.sweep(*both, trip=TOO_MANY)
    await catalog.approvals.approve(second, "ada")
    claim = await catalog.claim()
    hidden = {key: quarantined(key) for key in ("image/a", "image/b")}
    await catalog.confirm(claim, ObjectResult.DELETED, hidden=hidden)

    async def found(pass_id: int) -> tuple[list[str], int]:
        scope = UndoScope(pass_id=pass_id)
        keys = [each.storage_key for each in await catalog.recovery.removals(scope)]
        return keys, await catalog.recovery.gone(scope)

    assert await found(second) == (["image/b"], 1), "of image/c no copy was kept"
    assert await found(first) == (["image/b"], 0)
    assert await found(earlier) == (["image/a"], 0)


async def test_a_deletion_is_known_by_its_scope_and_still_when_it_came_back(catalog: CatalogSide) -> None:
    knows = catalog.recovery.knows
    assert not await knows(ALL_OF_IT)
    await hide(catalog)
    found = await removal(catalog)
    assert found.object is not None
    await catalog.recovery.claim_returns([found.object.id])
    await catalog.recovery.put_back([found], "test", came={found.storage_key})
    assert await knows(ALL_OF_IT)
    assert await knows(UndoScope(keys=(KEY,)))
    assert not await knows(UndoScope(keys=("image/b",)))
    assert not await knows(UndoScope(pass_id=9999))


async def test_what_was_deleted_for_good_is_told_as_gone(catalog: CatalogSide) -> None:
    await hide(catalog, "image/a", "image/b", where={})
    assert list(await catalog.recovery.removals(ALL_OF_IT)) == []
    assert await catalog.recovery.gone(ALL_OF_IT) == 2
    assert await catalog.recovery.gone(UndoScope(keys=("image/b",))) == 1


async def test_what_comes_back_takes_its_mark_along_unless_that_is_claimed(catalog: CatalogSide) -> None:
    await catalog.add_row(KEY, expired=True)
    await hide(catalog, verdict=Verdict.EXPIRED)
    found = await removal(catalog)
    assert found.object is not None
    await catalog.recovery.claim_returns([found.object.id])
    await catalog.sweep((KEY, Verdict.ORPHAN))
    claim = await catalog.claim()
    (told,) = await catalog.recovery.put_back([found], "test", came={found.storage_key})
    assert told.outcome is Return.FAILED
    assert await catalog.records.lookup([KEY]) == []
    await catalog.confirm(claim, ObjectResult.SPARED)
    await catalog.sweep((KEY, Verdict.ORPHAN))
    (told,) = await catalog.recovery.put_back([found], "test", came={found.storage_key})
    assert told.outcome is Return.RESTORED
    assert await catalog.marks.drift() == {}


# --- rows ------------------------------------------------------------------------------------------


async def test_a_removed_row_comes_back_once_and_as_it_was(catalog: CatalogSide) -> None:
    row = await catalog.add_row(KEY, expired=True)
    (before,) = await catalog.records.lookup([KEY])
    assert (await hide(catalog, verdict=Verdict.EXPIRED)).records == 1
    found = await removal(catalog)
    assert [(each.record_id, each.verdict) for each in found.rows] == [(row, Verdict.EXPIRED)]
    for outcome in (Return.RESTORED, Return.PRESENT):
        (told,) = await catalog.recovery.put_back([found], "test")
        assert (told.record_id, told.outcome) == (row, outcome)
        assert list(await catalog.records.lookup([KEY])) == [before]
    (left,) = await catalog.recovery.removals(ALL_OF_IT)
    assert left.rows == ()


@pytest.mark.attack(7)
async def test_a_row_that_went_for_want_of_its_object_leaves_a_widow(catalog: CatalogSide) -> None:
    await catalog.add_row(KEY)
    for _ in range(2):
        await catalog.sweep((KEY, Verdict.DANGLING))
    claim = await catalog.claim(all_go)
    assert (await catalog.confirm(claim, ObjectResult.MISSING, all_go)).records == 1
    assert await catalog.recovery.row_missing([KEY, "image/b"]) == {KEY}
    assert await catalog.recovery.gone(ALL_OF_IT) == 0, "there was no object"
    await catalog.recovery.put_back([await removal(catalog)], "test")
    assert await catalog.recovery.row_missing([KEY]) == set()


async def test_a_removed_row_is_forgotten_with_the_window_and_its_line_with_the_retention(
    catalog: CatalogSide,
) -> None:
    await catalog.add_row(KEY, expired=True)
    await hide(catalog, verdict=Verdict.EXPIRED, where={})
    found = await removal(catalog)
    await catalog.purges.forget(catalog.term, HOUR, HOUR)
    assert (await removal(catalog)) == found
    await catalog.purges.forget(catalog.term, NOTHING, HOUR)
    assert list(await catalog.recovery.removals(ALL_OF_IT)) == []
    (told,) = await catalog.recovery.put_back([found], "test")
    assert told.outcome is Return.REFUSED
    assert await catalog.recovery.gone(ALL_OF_IT) == 1
    await catalog.purges.forget(catalog.term, NOTHING, NOTHING)
    assert await catalog.recovery.gone(ALL_OF_IT) == 0


@pytest.mark.attack(84)
@pytest.mark.parametrize("hidden", [True, False])
async def test_a_removed_row_is_not_forgotten_while_its_object_is_hidden_or_its_key_on_hold(
    catalog: CatalogSide, hidden: bool
) -> None:
    await catalog.add_row(KEY, expired=True)
    await hide(catalog, verdict=Verdict.EXPIRED, where=None if hidden else {})
    found = await removal(catalog)
    hold = Hold(kind=HoldKind.KEY, target=KEY, reason="a case", author="legal")
    if not hidden:
        await catalog.holds.add([hold])
    await catalog.purges.forget(catalog.term, NOTHING, NOTHING)
    assert await removal(catalog) == found
    if hidden:
        assert await purged(catalog) == [KEY]
    else:
        await catalog.holds.remove(HoldKind.KEY, [KEY])
    await catalog.purges.forget(catalog.term, NOTHING, NOTHING)
    assert list(await catalog.recovery.removals(ALL_OF_IT)) == []


# --- the purge -------------------------------------------------------------------------------------


@pytest.mark.attack(9)
async def test_what_a_purge_has_claimed_no_return_gets(catalog: CatalogSide) -> None:
    """The undo has read it before the purge took it."""
    await hide(catalog)
    found = await removal(catalog)
    assert found.object is not None
    (taken,) = await catalog.purges.claim(catalog.term, NOTHING, 10)
    assert taken == found.object
    assert not await catalog.recovery.claim_returns([found.object.id])
    assert await catalog.recovery.recoverable([KEY]) == set()
    assert list(await catalog.recovery.removals(ALL_OF_IT)) == []


@pytest.mark.attack(9)
async def test_what_is_being_brought_back_no_purge_gets(catalog: CatalogSide) -> None:
    await hide(catalog)
    found = await removal(catalog)
    assert found.object is not None
    assert await catalog.recovery.claim_returns([found.object.id])
    assert await purged(catalog) == []
    await catalog.recovery.put_back([found], "test", came={found.storage_key})
    assert not await catalog.recovery.claim_returns([found.object.id])


async def test_nothing_is_purged_before_the_window_has_passed(catalog: CatalogSide) -> None:
    await hide(catalog)
    assert await purged(catalog, window=HOUR) == []
    assert await purged(catalog) == [KEY]
    assert await catalog.recovery.gone(ALL_OF_IT) == 1
    assert await catalog.purges.spent("purged") == 1


async def test_a_copy_of_what_stayed_is_left_over_and_goes_at_once(catalog: CatalogSide) -> None:
    await hide(catalog, result=ObjectResult.CHANGED)
    assert list(await catalog.recovery.removals(ALL_OF_IT)) == []
    assert await purged(catalog, window=HOUR) == [KEY]


async def test_what_is_not_known_to_have_gone_is_not_hidden(catalog: CatalogSide) -> None:
    """Its claim stays, and says so when it is settled."""
    await hide(catalog, result=ObjectResult.FAILED)
    assert await catalog.purges.hidden() == (0, 0)
    assert await purged(catalog) == []


async def test_what_is_hidden_adds_up_until_it_is_freed(catalog: CatalogSide) -> None:
    await hide(catalog, "image/a", "image/b")
    await hide(catalog, "image/c", where={"image/c": behind_a_marker("image/c")})
    assert await catalog.purges.hidden() == (3, 30)
    for key in ("image/b", "image/c"):
        found = await removal(catalog, key)
        assert found.object is not None
        assert await catalog.recovery.claim_returns([found.object.id])
        await catalog.recovery.put_back([found], "test", came={found.storage_key})
    assert await catalog.purges.hidden() == (1, 20), "the copy of what came back is not freed yet"
    assert await purged(catalog, window=HOUR) == []
    assert sorted(await purged(catalog)) == ["image/a", "image/b"], "a version that came back is the object"
    assert await catalog.purges.hidden() == (0, 0)
    assert await catalog.recovery.gone(ALL_OF_IT) == 1


async def test_a_purge_that_was_left_is_taken_up_after_its_last_request(catalog: CatalogSide) -> None:
    await hide(catalog)
    (taken,) = await catalog.purges.claim(catalog.term, NOTHING, 10)
    await catalog.purges.hand_back(catalog.term, HOUR)
    assert list(await catalog.purges.claim(catalog.term, NOTHING, 10)) == []
    await catalog.purges.hand_back(catalog.term, NOTHING)
    assert [each.id for each in await catalog.purges.claim(catalog.term, NOTHING, 10)] == [taken.id]


async def test_what_a_purge_left_is_hidden_again_for_who_needs_it(catalog: CatalogSide) -> None:
    """On hold, or named by a row, it is claimed by nobody: it must not stay with a purge that is dead."""
    await hide(catalog, "image/a", "image/b")
    assert len(await catalog.purges.claim(catalog.term, NOTHING, 10)) == 2
    await catalog.add_row("image/a")
    await catalog.holds.add([Hold(kind=HoldKind.KEY, target="image/b", reason="a case", author="ada")])
    await catalog.purges.hand_back(catalog.term, NOTHING)
    for key in ("image/a", "image/b"):
        (found,) = await catalog.recovery.hidden(key)
        assert await catalog.recovery.claim_returns([found.id])


async def test_a_purge_of_a_former_term_is_abandoned_until_it_is_handed_back(catalog: CatalogSide) -> None:
    await hide(catalog)
    await catalog.purges.claim(catalog.term, NOTHING, 10)
    assert await catalog.purges.abandoned() == 0
    await catalog.lease.release(catalog.term)
    term = await catalog.lease.acquire("next", TTL)
    assert isinstance(term, Term)
    assert await catalog.purges.abandoned() == 1
    await catalog.purges.hand_back(term, NOTHING)
    assert await catalog.purges.abandoned() == 0


async def test_what_lies_open_again_by_other_hands_is_hidden_no_more(catalog: CatalogSide) -> None:
    await hide(catalog, where={KEY: behind_a_marker()})
    (taken,) = await catalog.purges.claim(catalog.term, NOTHING, 10)
    await catalog.purges.back(catalog.term, [taken.id])
    assert await catalog.purges.hidden() == (0, 0)
    assert await catalog.recovery.gone(ALL_OF_IT) == 0
    assert await catalog.purges.spent("purged") == 0


@pytest.mark.parametrize("kind", [HoldKind.KEY, HoldKind.PREFIX])
async def test_what_is_on_hold_stays_where_it_is_hidden(catalog: CatalogSide, kind: HoldKind) -> None:
    await hide(catalog)
    target = KEY if kind is HoldKind.KEY else "image/"
    await catalog.holds.add([Hold(kind=kind, target=target, reason="a case", author="ada")])
    assert await purged(catalog) == []
    await catalog.holds.remove(kind, [target])
    assert await purged(catalog) == [KEY]


async def test_what_a_row_waits_for_is_not_purged(catalog: CatalogSide) -> None:
    await hide(catalog)
    await catalog.recovery.queue([KEY], "a row names it")
    assert await purged(catalog) == []
    (queued,) = await catalog.recovery.queued(10)
    await catalog.recovery.dequeue(queued)
    assert await purged(catalog) == [KEY]


@pytest.mark.attack(47)
async def test_what_a_row_names_is_not_purged_unless_its_object_is_there(catalog: CatalogSide) -> None:
    await hide(catalog, "image/a", "image/b")
    await catalog.add_row("image/a")
    assert await catalog.purges.named(NOTHING, 10) == ["image/a"]
    (taken,) = await catalog.purges.claim(catalog.term, NOTHING, 10)
    assert (taken.storage_key, taken.needed) == ("image/b", True)
    (there,) = await catalog.purges.claim(catalog.term, NOTHING, 10, there=["image/a"])
    look = catalog.purges.look_again
    assert list(await look(catalog.term, [there.id], there=["image/a"])) == []
    assert list(await look(catalog.term, [there.id, taken.id])) == [there.id], "it is not there any more"
    assert await catalog.recovery.claim_returns([there.id])
    assert not await catalog.recovery.claim_returns([taken.id])


@pytest.mark.attack(47)
async def test_what_came_to_be_wanted_since_a_purge_claimed_it_is_spared(catalog: CatalogSide) -> None:
    keys = ("image/held", "image/named", "image/queued", "image/x")
    await hide(catalog, *keys)
    due = await catalog.purges.claim(catalog.term, NOTHING, 10)
    taken = {each.storage_key: each.id for each in due}
    assert sorted(taken) == sorted(keys)
    hold = Hold(kind=HoldKind.KEY, target="image/held", reason="a case", author="alice")
    assert await catalog.holds.add([hold]) == ["image/held"], "it is being purged"
    await catalog.add_row("image/named")
    await catalog.recovery.queue(["image/queued"], "a row names it")
    spared = await catalog.purges.look_again(catalog.term, list(taken.values()))
    assert {key for key, number in taken.items() if number in spared} == set(keys) - {"image/x"}


@pytest.mark.attack(46)
async def test_what_is_being_deleted_is_not_estranged(catalog: CatalogSide) -> None:
    await hide(catalog)
    await catalog.add_row(KEY)
    assert await catalog.recovery.estranged([KEY, "image/other"]) == {KEY}
    await catalog.sweep((KEY, Verdict.DANGLING))
    await catalog.sweep((KEY, Verdict.DANGLING))
    assert [each.mark.storage_key for each in (await catalog.claim(all_go)).keys] == [KEY]
    assert await catalog.recovery.estranged([KEY]) == set()
    assert await catalog.recovery.recoverable([KEY]) == {KEY}


async def test_who_no_longer_leads_purges_nothing(catalog: CatalogSide) -> None:
    await hide(catalog)
    await catalog.lease.release(catalog.term)
    assert isinstance(await catalog.lease.acquire("next", TTL), Term)
    with pytest.raises(LeaseLost):
        await purged(catalog)
    with pytest.raises(LeaseLost):
        await catalog.purges.forget(catalog.term, NOTHING, NOTHING)
    assert await catalog.purges.hidden() == (1, 10)


# --- the queue of what has to come back --------------------------------------------------------------


@pytest.mark.attack(6)
async def test_a_key_that_a_writer_queues_again_meanwhile_stays_queued(catalog: CatalogSide) -> None:
    recovery = catalog.recovery
    await recovery.queue([KEY], "a row names it")
    (before,) = await recovery.queued(10)
    await recovery.queue([KEY], "a row names it again")
    await recovery.dequeue(before)
    (after,) = await recovery.queued(10)
    await recovery.dequeue(after)
    assert list(await recovery.queued(10)) == []


async def test_a_key_that_is_put_off_waits_until_it_is_queued_again(catalog: CatalogSide) -> None:
    recovery = catalog.recovery
    await recovery.queue(["image/b"], "a row names it")
    await recovery.queue([KEY], "a row names it")
    assert _keys(await recovery.queued(1)) == ["image/b"]
    await recovery.postpone("image/b")
    assert _keys(await recovery.queued(10)) == [KEY]
    await recovery.queue(["image/b"], "a row names it again")
    assert _keys(await recovery.queued(10)) == [KEY, "image/b"]


async def test_a_row_that_lost_what_is_hidden_queues_it(catalog: CatalogSide) -> None:
    row = await catalog.add_row(KEY, expired=True)
    await catalog.sweep((KEY, Verdict.EXPIRED))
    claim = await catalog.claim()
    await catalog.keep_row(row)
    removed = await catalog.confirm(claim, ObjectResult.DELETED, hidden={KEY: quarantined()})
    assert (removed.objects, removed.records, removed.lost) == (1, 0, 1)
    assert _keys(await catalog.recovery.queued(10)) == [KEY]


def _keys(queued: Sequence[Queued]) -> list[str]:
    return [each.storage_key for each in queued]


@pytest.mark.attack(97)
async def test_what_is_hidden_is_paired_with_rows_that_spell_it_otherwise(catalog: CatalogSide) -> None:
    gone = ["image/A", "image/b \u00c9", "image/c", "image/d", "image/e"]
    await hide(catalog, *gone)
    current, near = await catalog.begin(), catalog.near_misses
    noted = Orphans(pass_id=current.id, bucket="media", prefixes=("image/",))
    await near.note_hidden(noted, unpaired=False)  # no row misses anything
    await near.note_outside(current.id, noted.folded(["/image/d"]))
    rows = ["image/a", "image/B%20%C3%A9", "image/c", "image/other"]
    await near.note(current.id, [], noted.folded(rows))
    found = {"image/A": "image/a", "image/b \u00c9": "image/B%20%C3%A9"}
    for unpaired in (False, True):
        await near.note_hidden(noted, unpaired=unpaired)
        pairs = {each.storage_key: each.row_key for each in await near.spare(current.id, "", 9)}
        assert pairs == found
    await near.note_outside(current.id, noted.folded(["/IMAGE/e"]))
    assert {each.storage_key for each in await near.spare(current.id, "", 9)} == {*found, "image/e"}
    assert [await near.named_by(key) for key in ("image/A", "image/c")] == [["image/a"], []]
