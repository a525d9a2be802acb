"""Prefixes and key ranges: nothing outside, nothing twice, nothing left out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.model import KeyRange
from reconciler.model.keys import is_managed, managed_parts, merge_prefixes, prefix_end
from reconciler.planning.ranges import split

alphabet = st.sampled_from("a/.0\u00e9\ud7ff\ue000\uffff\U00010000\U0010fffe\U0010ffff")
keys = st.text(alphabet, max_size=5)


@given(prefix=keys, key=keys)
def test_the_prefix_ends_right_after_its_last_key(prefix: str, key: str) -> None:
    end = prefix_end(prefix)
    if end is None:
        assert prefix.strip("\U0010ffff") == ""
        return
    end.encode()
    assert key.startswith(prefix) == (prefix <= key < end)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("", None),
        ("image/", "image0"),
        ("a\ud7ff", "a\ue000"),
        ("a\uffff", "a\U00010000"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff\U0010ffff", None),
    ],
)
def test_the_end_skips_surrogates_and_carries_over_the_last_character(prefix: str, end: str | None) -> None:
    assert prefix_end(prefix) == end


@given(prefixes=st.lists(keys, max_size=6), key=keys)
def test_merged_prefixes_hold_each_key_exactly_once(prefixes: list[str], key: str) -> None:
    merged = merge_prefixes(prefixes)
    assert sum(key.startswith(prefix) for prefix in merged) == any(map(key.startswith, prefixes))
    assert list(merged) == sorted(merged)
    assert merge_prefixes(merged) == merged


def test_a_nested_prefix_is_not_listed_twice() -> None:
    assert merge_prefixes(["b/", "a/b/", "a/"]) == ("a/", "b/")


@given(st.lists(keys, max_size=4), keys, keys)
def test_parts_hold_exactly_what_is_managed_and_begins_so(prefixes: list[str], part: str, key: str) -> None:
    parts = managed_parts(part, prefixes)
    for each in (key, part + key, *(prefix + key for prefix in prefixes)):
        wanted = each.startswith(part) and each.startswith(tuple(prefixes))
        assert each.startswith(parts) == wanted if parts else not wanted


@pytest.mark.incident(6)
def test_a_sibling_with_the_same_beginning_is_not_managed() -> None:
    """I-6."""
    assert is_managed("image/a", ("image/",))
    assert not is_managed("images/a", ("image/",))
    assert not is_managed("image", ("image/",))


def test_our_own_corner_is_never_managed() -> None:
    assert is_managed("a", ("",))
    assert not is_managed(".reconciler/identity", ("",))
    assert not is_managed(".reconciler/identity", (".reconciler/",))


@given(prefix=keys, samples=st.lists(keys, max_size=20), count=st.integers(1, 8), rest=keys)
def test_every_key_of_the_prefix_lies_in_exactly_one_range(
    prefix: str, samples: list[str], count: int, rest: str
) -> None:
    ranges = split(prefix, samples, count)
    assert 1 <= len(ranges) <= count
    assert all(left.upto == right.after for left, right in pairwise(ranges))
    key = prefix + rest
    assume(key)
    inside = [one for one in ranges if key > one.after and (one.upto is None or key <= one.upto)]
    assert len(inside) == 1


def test_bounds_are_drawn_evenly_from_the_samples() -> None:
    samples = [f"image/{number:02}" for number in range(100)]
    assert [one.upto for one in split("image/", samples, 4)] == ["image/25", "image/50", "image/75", None]


def test_few_samples_make_few_ranges() -> None:
    assert split("image/", [], 16) == (KeyRange(prefix="image/"),)
    assert len(split("image/", ["image/a", "image/a"], 16)) == 2


def test_samples_that_cannot_be_bounds_are_passed_over() -> None:
    """A store refuses a StartAfter of more than 1,024 bytes; a sibling's key bounds nothing here."""
    useless = ["image/", "images/a", "image/" + "\u00e9" * 510]
    assert split("image/", useless, 4) == (KeyRange(prefix="image/"),)
