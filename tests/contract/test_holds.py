"""What holds promise, asked of the double and of Postgres alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from reconciler.errors import ConfigError
from reconciler.model import Finding, Hold, HoldKind, Marker, Mode, ObjectResult, Tally, Term
from reconciler.ports import Holds, Marks, Passes
from tests.contract.catalog import (
    ALL,
    LONG_AGO,
    NOTHING,
    POLICY,
    TTL,
    all_go,
    staged,
)
from tests.doubles.database import MemoryDatabase
from tests.doubles.holds import MemoryHolds
from tests.doubles.marks import MemoryMarks
from tests.doubles.passes import MemoryLease, MemoryPasses
from tests.doubles.surroundings import Surroundings

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
        current = await self.passes.begin(self.term, Marker.SWEEP, "hash", Mode.LIVE, None)
        await self.passes.record(self.term, current, findings, NOTHING)
        await self.passes.arm(self.term, current, Tally())

    async def claim(self, decide: Any = all_go) -> Any:
        return await self.marks.claim(self.term, POLICY, ALL, 1000, decide)

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


@pytest.fixture(params=["memory", "postgres"])
def backing_database(request: pytest.FixtureRequest) -> str | None:
    """The address of a real database, or None for one in memory."""
    return None if request.param == "memory" else request.getfixturevalue("database")


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
    assert [each.target for each in await side.holds.page(HoldKind.KEY, "image/3")] == ["image/3"]


async def test_a_hold_needs_a_reason(side: Side) -> None:
    with pytest.raises(ConfigError, match="needs a reason"):
        await side.holds.add([hold("image/a", reason=" ")])
