"""What holds promise, asked of the double and of Postgres alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import anyio
import pytest

from reconciler.catalog.holds import add
from reconciler.catalog.holds.conditions import _holds_on
from reconciler.catalog.marks import claims
from reconciler.catalog.media_tables import locking
from reconciler.errors import NotDone
from reconciler.model import (
    Finding,
    Hold,
    HoldFilter,
    HoldKind,
    Mode,
    ObjectResult,
    PassKind,
    Tally,
    Term,
    Verdict,
)
from reconciler.ports import ClaimRequest, Holds, Marks, Passes
from tests.contract.catalog import (
    ALL,
    LONG_AGO,
    NOTHING,
    POLICY,
    TTL,
    all_go,
    claimed,
    finding,
    no_cap,
    staged,
    unless_named,
)
from tests.doubles.database import MemoryDatabase
from tests.doubles.holds import MemoryHolds
from tests.doubles.marks import MemoryMarks
from tests.doubles.observing import Surroundings
from tests.doubles.passes import MemoryLease, MemoryPasses

pytestmark = pytest.mark.anyio

OWNER = UUID(int=7)
FAR = datetime(2999, 1, 1, tzinfo=UTC)


def hold(target: str, kind: HoldKind = HoldKind.KEY, **changes: Any) -> Hold:
    values: dict[str, Any] = {"reason": "a court asked for it", "author": "alice", **changes}
    return Hold(kind=kind, target=target, **values)


@dataclass(frozen=True, kw_only=True)
class Side:
    holds: Holds
    passes: Passes
    marks: Marks
    term: Term
    add_row: Callable[..., Any]

    async def sweep(self, *findings: Finding) -> None:
        current = await self.passes.begin(self.term, PassKind.SWEEP, "hash", Mode.LIVE, None)
        await self.passes.record(self.term, current, findings, NOTHING)
        await self.passes.arm(self.term, current, Tally())

    async def claim(self, decide: Any = all_go) -> Any:
        return await self.marks.claim(self.term, ClaimRequest(POLICY, ALL, 1000, decide, no_cap))

    async def confirm(self, claim: Any, result: ObjectResult) -> Any:
        answers = {key.mark.storage_key: (result, "") for key in claim.keys}
        return await self.marks.confirm(self.term, claim, answers, all_go, timedelta(hours=1))


async def memory_side() -> Side:
    database = MemoryDatabase(Surroundings())
    lease = MemoryLease(database)
    term = await lease.acquire("test", TTL)
    assert isinstance(term, Term)
    await lease.observe_mode(term, Mode.LIVE)

    async def add_row(key: str) -> None:
        database.insert(key, created_at=LONG_AGO, expires_at=LONG_AGO, virtual_key_id=str(OWNER))

    return Side(
        holds=MemoryHolds(database),
        passes=MemoryPasses(database),
        marks=MemoryMarks(database),
        term=term,
        add_row=add_row,
    )


@pytest.fixture
async def side(backing_database: str | None) -> AsyncIterator[Side]:
    if backing_database is None:
        yield await memory_side()
        return
    async with staged(backing_database) as stage:
        await stage.add_owner(Id=OWNER)

        async def add_row(key: str) -> None:
            await stage.add_row(key, ExpiresAt=LONG_AGO, VirtualKeyId=OWNER)

        catalog = stage.catalog
        yield Side(
            holds=catalog.holds,
            passes=catalog.passes,
            marks=catalog.marks,
            term=stage.term,
            add_row=add_row,
        )


async def test_keys_are_held_by_themselves_by_a_prefix_and_by_the_owner_of_a_row(side: Side) -> None:
    await side.add_row("image/theirs")
    keys = ["image/a", "image/ab", "image/b/c", "image/bc", "image/theirs"]
    assert await side.holds.held(keys) == {}
    by_key, by_prefix = hold("image/a"), hold("image/b/", HoldKind.PREFIX)
    await side.holds.add([by_key, by_prefix, hold(str(OWNER), HoldKind.VIRTUAL_KEY)])
    held = await side.holds.held(keys)
    assert {key: each.kind for key, each in held.items()} == {
        "image/a": HoldKind.KEY,
        "image/b/c": HoldKind.PREFIX,
        "image/theirs": HoldKind.VIRTUAL_KEY,
    }
    assert replace(held["image/a"], added_at=None) == by_key
    assert await side.holds.count() == dict.fromkeys(HoldKind, 1)


async def test_a_hold_that_has_ended_frees_its_keys_by_itself(side: Side) -> None:
    await side.holds.add([hold("image/a", until=LONG_AGO), hold("image/b", until=FAR)])
    assert list(await side.holds.held(["image/a", "image/b"])) == ["image/b"]
    assert [each.target for each in await side.holds.page()] == ["image/b"]
    assert await side.holds.count() == {HoldKind.KEY: 1}


async def test_one_author_s_last_word_counts_and_others_stand_beside_it(side: Side) -> None:
    await side.holds.add([hold("image/a", reason="first", until=FAR)])
    await side.holds.add([hold("image/a", reason="second"), hold("image/a", author="bob", until=FAR)])
    found = await side.holds.page()
    assert [(each.author, each.reason, each.until) for each in found] == [
        ("alice", "second", None),
        ("bob", "a court asked for it", FAR),
    ]
    assert await side.holds.on(HoldKind.KEY, ["image/a", "image/b"]) == found
    assert await side.holds.on(HoldKind.PREFIX, ["image/a"]) == []
    assert await side.holds.remove(HoldKind.KEY, ["image/a"], "bob") == 1
    assert list(await side.holds.held(["image/a"])) == ["image/a"]
    assert await side.holds.remove(HoldKind.PREFIX, ["image/a"]) == 0
    assert await side.holds.remove(HoldKind.KEY, ["image/a", "image/b"]) == 1
    assert await side.holds.held(["image/a"]) == {}


async def test_holds_are_paged_by_kind_and_target(side: Side) -> None:
    keys = [f"image/{number}" for number in range(5)]
    await side.holds.add([*map(hold, keys), hold("image/", HoldKind.PREFIX)])
    first = await side.holds.page(limit=4)
    rest = await side.holds.page(after=first[-1], limit=4)
    assert [each.target for each in (*first, *rest)] == [*keys, "image/"]
    third = HoldFilter(kind=HoldKind.KEY, prefix="image/3")
    assert [each.target for each in await side.holds.page(third)] == ["image/3"]


async def test_a_hold_needs_a_reason(side: Side) -> None:
    with pytest.raises(NotDone, match="needs a reason"):
        await side.holds.add([hold("image/a", reason=" ")])


# --- what a hold does to marks -----------------------------------------------------------------------


def expired(key: str) -> Finding:
    return finding(key, Verdict.EXPIRED)


HELD_IN_EVERY_WAY = [
    hold("image/a"),
    hold("image/b/", HoldKind.PREFIX),
    hold(str(OWNER), HoldKind.VIRTUAL_KEY),
]
KEYS = ["image/a", "image/b/c", "image/theirs", "image/free"]


async def test_a_held_key_is_not_marked(side: Side) -> None:
    await side.add_row("image/theirs")
    await side.holds.add(HELD_IN_EVERY_WAY)
    await side.sweep(*map(expired, KEYS))
    for each in HELD_IN_EVERY_WAY:
        assert await side.holds.remove(each.kind, [each.target]) == 1
    assert claimed(await side.claim()) == ["image/free"]


async def test_a_key_held_after_it_was_marked_is_not_claimed(side: Side) -> None:
    await side.add_row("image/theirs")
    await side.sweep(*map(expired, KEYS))
    assert await side.holds.add(HELD_IN_EVERY_WAY) == []
    due = [one.mark.storage_key async for page in side.marks.due(POLICY, ALL, all_go) for one in page]
    assert due == ["image/free"]
    assert claimed(await side.claim()) == ["image/free"]
    assert (await side.claim()).taken == 0
    assert (await side.marks.waiting(POLICY, ALL)).marks == 1, "the claimed one: what is held does not wait"
    for each in HELD_IN_EVERY_WAY:
        await side.holds.remove(each.kind, [each.target])
    assert claimed(await side.claim()) == ["image/a", "image/b/c", "image/theirs"]


async def test_a_hold_says_which_keys_are_claimed_already(side: Side) -> None:
    await side.add_row("image/theirs")
    await side.sweep(*map(expired, KEYS))
    claim = await side.claim()
    assert claimed(claim) == sorted(KEYS)
    assert await side.holds.add(HELD_IN_EVERY_WAY) == ["image/a", "image/b/c", "image/theirs"]
    assert await side.holds.add([hold("image/none"), hold("image/f", HoldKind.PREFIX)]) == ["image/free"]


async def test_a_claimed_key_is_spared_where_nothing_was_sent_for_it_yet(side: Side) -> None:
    await side.sweep(expired("image/a"), expired("image/b"))
    claim = await side.claim()
    await side.holds.add([hold("image/a")])
    spared = await side.marks.look_again(claim, all_go, POLICY, guarded=False)
    assert spared == {"image/a": "on hold: a court asked for it"}


async def test_what_was_sent_before_the_hold_is_confirmed_all_the_same(side: Side) -> None:
    """A claim only rolls forward: what the store says is gone cannot be kept any more."""
    await side.sweep(expired("image/a"))
    claim = await side.claim()
    assert await side.holds.add([hold("image/a")]) == ["image/a"]
    removed = await side.confirm(claim, ObjectResult.DELETED)
    assert removed.objects == 1
    assert await side.holds.add([hold("image/a")]) == []


async def test_holds_that_have_ended_are_dropped(side: Side) -> None:
    await side.holds.add([hold("image/a", until=LONG_AGO), hold("image/b")])
    await side.marks.purge()
    assert [each.target for each in await side.holds.page()] == ["image/b"]


# --- what only a real server can show ---------------------------------------------------------------


async def test_a_hold_waits_for_the_claim_under_way_and_then_tells_of_it(database: str) -> None:
    """Between the choice of the marks and the claim's commit no hold can slip in unseen."""
    async with staged(database) as stage:
        await stage.mark(finding("image/a"))
        catalog, told = stage.catalog, list[str]()

        async def add() -> None:
            told.extend(await catalog.holds.add([hold("image/a")]))

        async with catalog.database.connection() as other:
            await (transaction := other.transaction()).start()
            claimer = catalog.marks._claimer
            claim = await claimer.claim(
                other, stage.term, ClaimRequest(POLICY, ALL, 1000, unless_named, no_cap), str(2**62)
            )
            assert claimed(claim) == ["image/a"]
            async with anyio.create_task_group() as group:
                group.start_soon(add)
                await waits_for_lock(stage.sql)
                assert told == []
                await transaction.commit()
        assert told == ["image/a"]


async def test_a_claim_waits_for_the_hold_under_way_and_then_heeds_it(database: str) -> None:
    async with staged(database) as stage:
        await stage.mark(finding("image/a"), finding("image/b"))
        catalog, claims = stage.catalog, list[Any]()

        async def claim() -> None:
            claims.append(await stage.claim())

        async with catalog.database.connection() as other:
            await (transaction := other.transaction()).start()
            assert await add(other, catalog.holds._media, [hold("image/a")]) == []
            async with anyio.create_task_group() as group:
                group.start_soon(claim)
                await waits_for_lock(stage.sql)
                await transaction.commit()
        assert claimed(claims[0]) == ["image/b"]


async def waits_for_lock(sql: Any) -> None:
    """Until a session of this database waits for the lock between holds and claims."""
    waiting = "locktype = 'advisory' AND NOT granted AND database = d.oid AND d.datname = current_database()"
    asked = f"SELECT EXISTS (SELECT FROM pg_locks, pg_database d WHERE {waiting})"
    with anyio.fail_after(10):
        while not await sql.fetchval(asked):  # noqa: ASYNC110 - of another session
            await anyio.sleep(0.005)


async def test_a_row_that_changes_hands_while_it_is_claimed_is_kept_for_its_new_owner(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose the rows are is asked once they are locked, and not only when the marks are chosen."""
    async with staged(database) as stage:
        held = await stage.add_owner()
        await stage.add_row("image/a", ExpiresAt=LONG_AGO)
        await stage.mark(expired("image/a"))
        await stage.catalog.holds.add([hold(str(held), HoldKind.VIRTUAL_KEY)])
        lock_rows = locking.read_locked

        async def change_hands_then_lock(*args: Any) -> Any:
            await stage.sql.execute('UPDATE public."MediaRecords" SET "VirtualKeyId" = $1', held)
            return await lock_rows(*args)

        monkeypatch.setattr(claims, "read_locked", change_hands_then_lock)
        claim = await stage.claim(all_go)
        assert (claimed(claim), claim.postponed) == ([], 1)


async def test_a_hundred_thousand_holds_are_added_at_once_and_looked_up_by_index(database: str) -> None:
    async with staged(database) as stage:
        holds = stage.catalog.holds
        many = [hold(f"image/{number:06}") for number in range(100_000)]
        assert await holds.add(many) == []
        assert await holds.count() == {HoldKind.KEY: 100_000}
        keys = [f"image/{number:06}" for number in range(99_500, 100_500)]
        assert len(await holds.held(keys)) == 500
        plan = await stage.sql.fetch(f"EXPLAIN {_holds_on(holds._media)}".replace("$1", "'{image/1}'"))
        assert not any("Seq Scan on holds" in row[0] for row in plan)


async def test_virtual_keys_are_held_however_their_id_is_written(database: str) -> None:
    async with staged(database) as stage:
        owner = await stage.add_owner()
        await stage.add_row("image/theirs", VirtualKeyId=owner)
        shouted = hold(f"{{{str(owner).upper()}}}", HoldKind.VIRTUAL_KEY)
        await stage.catalog.holds.add([shouted])
        assert list(await stage.catalog.holds.held(["image/theirs"])) == ["image/theirs"]
        assert await stage.catalog.holds.remove(HoldKind.VIRTUAL_KEY, [shouted.target]) == 1
        with pytest.raises(NotDone, match="not the id of a virtual key"):
            await stage.catalog.holds.add([hold("k-17", HoldKind.VIRTUAL_KEY)])


async def test_many_holds_are_found_and_lifted_by_what_they_have_in_common(side: Side) -> None:
    store: dict[str, Any] = {
        "author": "the store",
        "reason": "403: SSE-C",
        "until": datetime.now(UTC) + timedelta(days=5),
    }
    await side.sweep(finding("image/a"))
    await side.holds.add(
        [
            hold("image/a", **store, pass_id=1),
            hold("image/b", **store, pass_id=2),
            hold("image/c", author="ada", reason="brought back by undo", pass_id=1),
            hold("image/d", author="ada"),
            hold("image/", HoldKind.PREFIX),
        ]
    )

    async def found(**wanted: Any) -> list[str]:
        return [each.target for each in await side.holds.page(HoldFilter(**wanted))]

    assert await found(author="the store") == ["image/a", "image/b"]
    assert await found(pass_id=1) == ["image/a", "image/c"]
    assert await found(reason="SSE-C", pass_id=2) == ["image/b"]
    assert await found(author="ada", reason="undo") == ["image/c"]
    assert await side.holds.lift(HoldFilter(author="the store", pass_id=1), by="ada") == 1
    assert await found() == ["image/b", "image/c", "image/d", "image/"]
    assert await side.holds.lift(HoldFilter(reason="%")) == 0
    assert await side.holds.lift(HoldFilter()) == 4
    assert await found() == []


async def test_a_hold_that_the_program_makes_shortens_none_of_the_same_author(side: Side) -> None:
    soon, later = (datetime.now(UTC) + timedelta(days=days) for days in (1, 30))
    for before, mine, after in ((None, later, None), (FAR, later, FAR), (soon, later, later)):
        await side.holds.add([hold("image/a", until=before, reason="a court")])
        await side.holds.add([hold("image/a", until=mine, reason="brought back by undo", pass_id=1)])
        (kept,) = await side.holds.page()
        assert (kept.until, kept.reason == "a court") == (after, before is not soon)


@pytest.mark.parametrize("target", ["image/\0", "image/\udc80"])
async def test_a_key_that_the_database_cannot_hold_is_refused(database: str, target: str) -> None:
    async with staged(database) as stage:
        with pytest.raises(NotDone, match="cannot be held"):
            await stage.catalog.holds.add([hold(target)])
        assert await stage.catalog.holds.remove(HoldKind.KEY, [target]) == 0
        assert await stage.catalog.holds.held([target]) == {}
