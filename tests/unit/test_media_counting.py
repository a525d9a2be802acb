"""Accesses are counted once, and written seldom."""

from __future__ import annotations

from reconciler.media import counting
from reconciler.media.counting import Accesses
from reconciler.model import Access


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def written(accesses: Accesses, *keys: str, everything: bool = False) -> dict[str, int]:
    """What is due, of which these keys' rows are written."""
    due = accesses.due(all_of_them=everything)
    accesses.wrote(due, set(keys))
    return {access.key: access.count for access in due}


def test_a_row_is_written_at_most_once_a_minute_and_nothing_is_lost() -> None:
    clock = Clock()
    accesses = Accesses(clock)
    for _ in range(3):
        accesses.note("a")
    clock.now += 2
    accesses.note("b")
    assert accesses.due() == [
        Access(key="a", count=3, seconds_ago=2.0),
        Access(key="b", count=1, seconds_ago=0.0),
    ]
    assert written(accesses, "a") == {"a": 3, "b": 1}
    accesses.note("a")
    assert written(accesses, "b") == {"b": 1}
    assert written(accesses) == {}
    clock.now += counting.ROW_SECONDS
    assert written(accesses, "a") == {"a": 1}
    accesses.note("a")
    assert written(accesses, "a", everything=True) == {"a": 1}


def test_what_comes_while_it_is_written_is_counted_the_next_time() -> None:
    clock = Clock()
    accesses = Accesses(clock)
    accesses.note("a")
    due = accesses.due()
    accesses.note("a")
    accesses.wrote(due, {"a"})
    clock.now += counting.ROW_SECONDS
    assert written(accesses, "a") == {"a": 1}


def test_what_has_no_row_any_more_is_given_up_and_memory_has_an_end() -> None:
    clock = Clock()
    accesses = Accesses(clock)
    for number in range(counting.MOST + 10):
        accesses.note(str(number))
    assert len(accesses.due()) == counting.MOST
    clock.now += counting.STALE_SECONDS
    assert accesses.due() == []
