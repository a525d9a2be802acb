"""What tells a database that was restored, copied or failed over from the one that sealed the identity."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import Lineage
from reconciler.planning.lineage import FAILOVER, NAMES, difference, failed_over

NOW = datetime(2026, 11, 29, tzinfo=UTC)
SEALED = Lineage(cluster=1, database=2, media=3, keys=4, own=5, timeline=6, wal=7 << 32, at=NOW)


def later(**changes: int | None) -> Lineage:
    """The same database a minute on."""
    return replace(SEALED, wal=(7 << 32) + 1000, at=NOW + timedelta(minutes=1), **changes)


def test_the_same_database_goes_on() -> None:
    assert (
        difference(SEALED, SEALED)
        == difference(SEALED, later())
        == difference(SEALED, later(), later())
        == ""
    )
    assert difference(None, later()) == "", "an identity of an older version says nothing"


@pytest.mark.attack(63)
@pytest.mark.parametrize("fact", NAMES)
def test_whatever_a_restore_does_not_keep_is_named(fact: str) -> None:
    told = difference(SEALED, later(**{fact: 99}), later())
    assert told == f"{NAMES[fact]} is 99, and was {getattr(SEALED, fact)}"


@pytest.mark.attack(63)
def test_a_log_or_a_timeline_that_went_back_is_named() -> None:
    back = replace(SEALED, wal=(7 << 32) - 1)
    assert difference(SEALED, back) == "its write-ahead log ends at 6/FFFFFFFF, and was at 7/0 before"
    assert difference(SEALED, later(), replace(later(), wal=8 << 32)) != "", "it was seen further on since"
    assert difference(SEALED, later(timeline=5)) == "its timeline is 5, and was 6"


@pytest.mark.attack(63)
def test_a_higher_timeline_is_a_failover_only_for_who_was_there() -> None:
    promoted = later(timeline=7)
    assert failed_over(SEALED, promoted)
    assert not failed_over(SEALED, later())
    assert not failed_over(None, promoted)
    assert "timeline is 7, and was 6" in difference(SEALED, promoted)
    assert difference(SEALED, promoted, SEALED) == ""
    assert difference(SEALED, promoted, promoted) == "", "until it is sealed anew"
    assert promoted.at is not None
    long_ago = replace(SEALED, at=promoted.at - FAILOVER - timedelta(seconds=1))
    assert difference(SEALED, promoted, long_ago) != ""
    assert difference(SEALED, promoted, replace(SEALED, timeline=5)) != "", (
        "it was there before the seal alone"
    )
    assert difference(SEALED, promoted, replace(SEALED, at=None)) != ""
    assert difference(SEALED, replace(promoted, wal=1), SEALED) != "", "what was committed is missing"


@pytest.mark.attack(63)
@given(st.sets(st.sampled_from([*NAMES, "timeline", "wal", "at"])))
def test_what_is_not_told_is_not_compared(missing: set[str]) -> None:
    """On either side; and what is left is."""
    untold = dict.fromkeys(missing)
    other = Lineage(cluster=9, database=9, media=9, keys=9, own=9, timeline=1, wal=1, at=NOW)
    halts = bool({*NAMES, "timeline", "wal"} - missing)
    assert bool(difference(replace(SEALED, **untold), other)) is halts
    assert bool(difference(SEALED, replace(other, **untold))) is halts


@given(
    st.builds(
        Lineage,
        cluster=st.none() | st.integers(),
        wal=st.none() | st.integers(0),
        at=st.none() | st.just(NOW),
    )
)
def test_a_lineage_is_read_as_it_was_written(lineage: Lineage) -> None:
    assert Lineage.read(lineage.written()) == lineage
    assert Lineage.read({**lineage.written(), "of a later version": 1}) == lineage
