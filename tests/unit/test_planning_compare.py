"""The ordered join: its difference is the sets' difference, wherever the pages are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.errors import ListingBroken, OrderViolated
from reconciler.model import KeyRange, ObjectPage
from reconciler.planning.compare import WindowJoin, check_ascending, difference
from tests.doubles.build import page

# Where UTF-8 and UTF-16 disagree: U+E000 to U+FFFF against the astral planes.
alphabet = st.sampled_from("ab/.0!~\x01\x7f\u00e9\ud7ff\ue000\uffee\U00010000\U0001f600\U0010ffff")
keys = st.text(alphabet, min_size=1, max_size=5)
key_sets = st.sets(keys, max_size=40)


def walk(
    span: KeyRange, objects: set[str], rows: set[str], cuts: list[int], limit: int
) -> tuple[list[str], list[str], str, int]:
    """Run the join over an in-memory bucket and table; `cuts` are the sizes of successive pages."""
    join, sizes = WindowJoin(span), iter(cuts)
    listing = sorted(key for key in objects if key > span.after)
    table = sorted(rows)
    orphans, missing, compared, at = [], [], 0, 0
    while not join.done:
        cut = next(sizes, 3)
        found = listing[at : at + cut]
        at += cut
        taken = join.take(page(*found, token="more" if at < len(listing) else None))
        while (window := join.window) is not None:
            assert window.after == join.watermark
            upto = window.upto
            answer = [key for key in table if key > window.after and (upto is None or key <= upto)][:limit]
            apart = join.compare(answer, limit)
            compared += apart.compared
            orphans += [taken.keys[index] for index in apart.objects]
            missing += apart.records
    return orphans, missing, join.watermark, compared


@given(
    objects=key_sets, rows=key_sets, cuts=st.lists(st.integers(0, 9), max_size=30), limit=st.integers(1, 7)
)
@example(objects={"\U00010000"}, rows={"\ue000"}, cuts=[0, 0, 1], limit=1)
def test_paged_streams_differ_as_their_sets_do(
    objects: set[str], rows: set[str], cuts: list[int], limit: int
) -> None:
    orphans, missing, _, compared = walk(KeyRange(prefix=""), objects, rows, cuts, limit)
    assert orphans == sorted(objects - rows)
    assert missing == sorted(rows - objects)
    assert compared == len(rows)


@given(objects=key_sets, rows=key_sets, bounds=st.sets(keys, max_size=4), limit=st.integers(1, 7))
def test_ranges_together_see_every_key_once(
    objects: set[str], rows: set[str], bounds: set[str], limit: int
) -> None:
    orphans, missing = [], []
    for after, upto in pairwise(["", *sorted(bounds), None]):
        span = KeyRange(prefix="", after=after or "", upto=upto)
        apart = walk(span, objects, rows, [2, 0, 1], limit)
        orphans += apart[0]
        missing += apart[1]
    assert orphans == sorted(objects - rows)
    assert missing == sorted(rows - objects)


@given(objects=key_sets, rows=key_sets)
def test_difference_is_the_sets_difference_and_swaps_with_its_sides(
    objects: set[str], rows: set[str]
) -> None:
    left, right = sorted(objects), sorted(rows)
    forth, back = difference(left, right), difference(right, left)
    assert [left[index] for index in forth.objects] == sorted(objects - rows) == back.records
    assert forth.records == sorted(rows - objects)
    assert difference(left, right) == forth


@given(keys=st.lists(keys, max_size=12), after=keys)
def test_order_is_that_of_the_utf8_bytes(keys: list[str], after: str) -> None:
    encoded = [after.encode(), *(key.encode() for key in keys)]
    if all(left < right for left, right in pairwise(encoded)):
        check_ascending(keys, after)
    else:
        with pytest.raises(OrderViolated):
            check_ascending(keys, after)


@pytest.mark.parametrize("found", [["a", "a"], ["b", "a"], ["a", "c", "b"]])
def test_a_broken_order_names_the_two_keys(found: list[str]) -> None:
    with pytest.raises(OrderViolated, match=f"'{found[-1]}' came after '{found[-2]}'"):
        check_ascending(found, "")


def test_a_page_that_begins_before_its_token_is_refused() -> None:
    with pytest.raises(OrderViolated, match="'a' came after 'b'"):
        check_ascending(["a"], "b")


def test_a_resumed_range_refuses_keys_at_its_watermark() -> None:
    join = WindowJoin(KeyRange(prefix="image/"), "image/m")
    with pytest.raises(OrderViolated):
        join.take(page("image/m", "image/n"))


@pytest.mark.incident(6)
def test_a_key_of_a_sibling_prefix_is_refused() -> None:
    """I-6: `images/` beside `image/`."""
    join = WindowJoin(KeyRange(prefix="image/"))
    with pytest.raises(ListingBroken, match="images/a"):
        join.take(page("image/a", "images/a"))


def test_rows_out_of_order_or_beyond_their_window_are_refused() -> None:
    for rows in (["b", "a"], ["a", "d"]):
        join = WindowJoin(KeyRange(prefix=""))
        join.take(page("a", "b", "c", token="more"))
        with pytest.raises(OrderViolated):
            join.compare(rows, 10)


def test_an_empty_truncated_page_asks_for_no_rows_and_goes_on() -> None:
    join = WindowJoin(KeyRange(prefix="image/"))
    join.take(page(token="more"))
    assert join.window is None
    assert not join.done
    join.take(page("image/a"))
    assert join.window == KeyRange(prefix="image/")


def test_an_empty_range_still_reads_its_rows() -> None:
    join = WindowJoin(KeyRange(prefix="image/", after="image/b", upto="image/d"))
    join.take(page())
    assert join.window == KeyRange(prefix="image/", after="image/b", upto="image/d")
    assert join.compare(["image/c"], 10).records == ["image/c"]
    assert join.done


def test_objects_beyond_the_range_are_dropped_and_end_it() -> None:
    join = WindowJoin(KeyRange(prefix="", upto="b"))
    taken = join.take(page("a", "b", "c", token="more"))
    assert taken == ObjectPage(["a", "b"], [1, 1], ["e1", "e1"], taken.modified, "more")
    assert join.window == KeyRange(prefix="", upto="b")
    assert join.compare(["b"], 10).objects == [0]
    assert join.done
    assert join.watermark == "b"


def test_a_full_row_page_that_reaches_the_windows_end_needs_no_second_one() -> None:
    join = WindowJoin(KeyRange(prefix=""))
    join.take(page("a", "b", token="more"))
    join.compare(["a", "b"], 2)
    assert join.window is None
    assert join.watermark == "b"


def test_an_uncut_page_is_not_copied() -> None:
    whole = page("image/a", "image/b", token="more")
    assert WindowJoin(KeyRange(prefix="image/")).take(whole) is whole


def test_our_own_corner_is_neither_object_nor_row() -> None:
    join = WindowJoin(KeyRange(prefix=""))
    taken = join.take(page(".reconciler/identity", ".reconciler0", "a"))
    assert taken.keys == [".reconciler0", "a"]
    apart = join.compare([".reconciler/scratch", "a"], 10)
    assert (apart.objects, apart.records, apart.compared) == ([0], [], 1)
