"""R-77: when a listing is believed, by what HEAD says of the rows whose object it lacks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.engine.detect.join import doubt
from reconciler.engine.detect.join.doubt import FEW, Doubt
from reconciler.errors import Halt, KeyRefused, ListingContradicted
from reconciler.model import Blame, Record, StoredObject
from tests.doubles.build import NOW, policy, record

pytestmark = pytest.mark.anyio

SLOW, FORBIDDEN = "image/slow", "image/forbidden"


def rows(there: int, lost: int) -> list[Record]:
    return [record(f"image/there/{n:03}") for n in range(there)] + [
        record(f"image/lost/{n:03}") for n in range(lost)
    ]


def doubting(rewrites_keys: bool = False, **given: Any) -> tuple[Doubt, list[str]]:
    """A doubt, and the keys that it has asked for."""
    asked: list[str] = []

    async def head(key: str) -> StoredObject | None:
        asked.append(key)
        if key == SLOW:
            raise KeyRefused("no answer", Blame.MOMENT)
        if key == FORBIDDEN:
            raise Halt("nobody may")
        stored = StoredObject(key=key, size=1, etag=key, last_modified=NOW)
        return stored if key.startswith("image/there/") else None

    store: Any = SimpleNamespace(head=head)
    return Doubt(store, policy(rewrites_keys=rewrites_keys), NOW, **given), asked


@pytest.mark.attack(77)
@pytest.mark.parametrize(
    ("there", "lost", "contradicted"),
    [
        (FEW, 0, False),
        (FEW + 1, 0, True),
        (FEW + 1, FEW, True),
        (FEW + 1, FEW + 1, False),
    ],
)
async def test_more_than_a_few_and_most_of_those_looked_for_contradict(
    there: int, lost: int, contradicted: bool
) -> None:
    some = rows(there, lost)
    doubtful, _ = doubting()
    if contradicted:
        with pytest.raises(ListingContradicted):
            await doubtful.missing(some)
    else:
        assert await doubtful.missing(some) == some[there:]
    for lenient in (doubting(strict=False), doubting(rewrites_keys=True)):
        assert await lenient[0].missing(some) == some[there:]


async def test_a_row_that_cannot_be_looked_for_is_missing_and_what_concerns_all_stops() -> None:
    slow = record(SLOW)
    assert await doubting()[0].missing([slow, *rows(1, 0)]) == [slow]
    with pytest.raises(Halt):
        await doubting()[0].missing([slow, record(FORBIDDEN)])


@pytest.mark.attack(77)
async def test_a_listing_that_is_not_believed_leaves_no_row_missing_and_asks_nothing() -> None:
    young = record("image/young", created_at=NOW)
    doubtful, asked = doubting(believes=False)
    assert await doubtful.missing([*rows(1, 1), young]) == [young]
    assert asked == []


async def test_a_pass_looks_for_so_many_rows_and_for_all_where_keys_are_rewritten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doubt, "LOOKS", 3)
    doubtful, asked = doubting()
    for _ in range(2):
        assert await doubtful.missing(rows(0, 2)) == rows(0, 2)
    assert len(asked) == 3
    doubtful, asked = doubting(rewrites_keys=True)
    await doubtful.missing(rows(0, 5))
    assert len(asked) == 5
