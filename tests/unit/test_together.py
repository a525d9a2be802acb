"""Questions that come at the same time are asked together, and none is answered with what was before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import pytest

from reconciler.catalog.db.together import AT_ONCE, MOST, Together
from reconciler.errors import BadValue, CatalogUnavailable

pytestmark = pytest.mark.anyio


@dataclass
class Asked:
    """What is asked, and how it goes: each batch waits until it is let through."""

    state: int = 0
    batches: list[Sequence[str]] = field(default_factory=list)
    let: anyio.Event = field(default_factory=anyio.Event)
    fault: Exception | None = None

    async def __call__(self, questions: Sequence[str]) -> Sequence[tuple[str, int]]:
        self.batches.append(questions)
        seen = self.state
        await self.let.wait()
        if self.fault is not None:
            raise self.fault
        if "bad" in questions:
            raise BadValue("cannot be taken")
        return [(question, seen) for question in questions]


async def asks(together: Together[str, tuple[str, int]], question: str, into: dict[str, object]) -> None:
    try:
        into[question] = await together(question)
    except Exception as error:  # noqa: BLE001 - is looked at
        into[question] = error


async def test_what_comes_in_one_round_is_one_statement_of_bounded_size() -> None:
    asked, into = Asked(), dict[str, object]()
    asked.let.set()
    together = Together(asked)
    names = [f"{number:03}" for number in range(MOST + 1)]
    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(asks, together, name, into)
    assert [len(batch) for batch in asked.batches] == [MOST, 1]
    assert into == {name: (name, 0) for name in names}


async def test_a_question_is_never_answered_by_a_statement_that_began_before_it() -> None:
    asked, into = Asked(), dict[str, object]()
    together = Together(asked)
    async with anyio.create_task_group() as group:
        for number in range(AT_ONCE):
            group.start_soon(asks, together, f"early {number}", into)
            await anyio.wait_all_tasks_blocked()
        assert len(asked.batches) == AT_ONCE
        asked.state = 1
        late = dict[str, object]()
        group.start_soon(asks, together, "early 0", late)
        await anyio.wait_all_tasks_blocked()
        assert len(asked.batches) == AT_ONCE
        asked.let.set()
    assert into == {f"early {number}": (f"early {number}", 0) for number in range(AT_ONCE)}
    assert late == {"early 0": ("early 0", 1)}


async def test_a_value_that_cannot_be_taken_is_no_fault_of_the_others() -> None:
    asked, into = Asked(), dict[str, object]()
    asked.let.set()
    together = Together(asked)
    async with anyio.create_task_group() as group:
        for name in ("a", "b", "bad", "c", "d"):
            group.start_soon(asks, together, name, into)
    assert isinstance(into.pop("bad"), BadValue)
    assert into == {name: (name, 0) for name in "abcd"}


async def test_who_goes_takes_nobody_along_and_a_fault_is_everybodys() -> None:
    asked, into = Asked(fault=CatalogUnavailable("away")), dict[str, object]()
    together = Together(asked)
    async with anyio.create_task_group() as group:
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(asks, together, "gone", into)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(asks, together, "stays", into)
            await anyio.wait_all_tasks_blocked()
            leaving.cancel_scope.cancel()
        asked.let.set()
    assert list(into) == ["stays"]
    assert isinstance(into["stays"], CatalogUnavailable)
    asked.fault = None
    with pytest.raises(BadValue):
        await together("bad")
    assert await together("after") == ("after", 0)
