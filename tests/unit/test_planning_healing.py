"""Which hidden object comes back for the rows that name its key."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import DeleteMode, Hidden, HiddenObject, Record, Verdict
from reconciler.planning.healing import fits, object_for
from reconciler.planning.keys import rewritten
from tests.doubles.build import DAY, HOUR, NOW, record

WINDOW = HOUR


def hidden(number: int = 1, size: int = 10, at: timedelta = timedelta(0)) -> HiddenObject:
    return HiddenObject(
        id=number,
        storage_key="image/a",
        operation_id=UUID(int=number),
        verdict=Verdict.ORPHAN,
        hidden=Hidden(mode=DeleteMode.QUARANTINE, size=size, quarantine_key=f"copy {number}"),
        hidden_at=NOW + at,
    )


@pytest.mark.parametrize(
    ("row", "meant"),
    [
        (record(), True),
        (record(size_bytes=None), True),
        (record(size_bytes=0), True),
        (record(size_bytes=11), False),
        (record(created_at=NOW + WINDOW), True),
        (record(created_at=NOW + WINDOW + timedelta(seconds=1)), False),
        (record(created_at=None), True),
    ],
)
def test_a_row_means_what_has_its_size_and_is_not_younger_than_an_upload_takes(
    row: Record, *, meant: bool
) -> None:
    assert fits(hidden(), [row], WINDOW) is meant
    assert (object_for([hidden()], [row], WINDOW, vouched=False) is not None) is meant


def test_the_newest_that_fits_comes_back() -> None:
    newest, older, oldest = hidden(3, size=7), hidden(2), hidden(1)
    assert object_for([newest, older, oldest], [record()], WINDOW, vouched=False) == older
    rows = [record(size_bytes=1), record(size_bytes=7)]
    assert object_for([newest, older], rows, WINDOW, vouched=False) == newest
    assert object_for([], [record()], WINDOW, vouched=False) is None


@given(size=st.integers(0, 1000) | st.none(), days=st.integers(-400, 400))
def test_what_a_trigger_let_in_is_the_newest_whatever_the_row_says(size: int | None, days: int) -> None:
    row = record(size_bytes=size, created_at=NOW + days * DAY)
    assert object_for([hidden(2), hidden(1)], [row], WINDOW, vouched=True) == hidden(2)
    assert object_for([], [row], WINDOW, vouched=True) is None


@pytest.mark.parametrize(
    ("key", "stored"),
    [("image/a", "image/a"), ("image//a", "image/a"), ("image\\a", "image/a"), ("//image/a//b", "image/a/b")],
)
def test_what_a_store_of_files_makes_of_a_key(key: str, stored: str) -> None:
    assert rewritten(key) == stored
