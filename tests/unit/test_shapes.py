"""R-70: a pattern of the user's is matched in time linear in the key's length."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import KeepReason, KeyShape
from reconciler.planning.keys import protection
from tests.doubles.build import policy


@pytest.mark.attack(70)
@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        (r"image/(\w+\s?)*!", "image/" + "a" * 1_000),
        (r"image/(a|a)*b", "image/" + "a" * 1_000),
        (r"image/(x+x+)+y", "image/" + "x" * 1_000),
        (r"image/(.*)*,(.*)*,(.*)*z", "image/" + "," * 900),
    ],
)
def test_a_key_that_nearly_fits_takes_no_longer_than_another(pattern: str, key: str) -> None:
    """Python's own engine does not come back from any of them."""
    assert protection(key, policy(key_shape=KeyShape(pattern))) is KeepReason.UNKNOWN_SHAPE


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        (r"image/\d{4}/.*\.png", "image/2026/é.png", True),
        (r"image/\d{4}/.*\.png", "image/2026/é.jpg", False),
        ("image/é+", "image/éé", True),
        ("image/.*", "image/a\nb", False),
        ("image/.*", "image/\ud800", False),
    ],
)
def test_the_whole_key_has_to_fit(pattern: str, key: str, *, fits: bool) -> None:
    assert KeyShape(pattern).fullmatch(key) is fits


@pytest.mark.parametrize("pattern", ["(", r"(?=a)a", r"(a)\1", "a{1001}", "\ud800"])
def test_a_pattern_that_cannot_be_read_says_why_and_nothing_fits_it(pattern: str) -> None:
    """An older program may have stored it: by such settings everything would have been kept."""
    shape = KeyShape(pattern)
    assert shape.fault
    assert "\n" not in shape.fault
    assert not shape.fullmatch("a")
    assert KeyShape("a").fault is None
    assert KeyShape("a") == KeyShape("a")


@given(st.text("a/.\\\\", max_size=6))
def test_a_key_is_spared_that_a_store_of_files_takes_for_another(name: str) -> None:
    key = f"image/{name}x"
    other = "image//" in key or rewritten_as_path(key) != key
    found = protection(key, policy(rewrites_keys=True))
    assert (found is KeepReason.UNKNOWN_SHAPE) is other


def rewritten_as_path(key: str) -> str:
    return posixpath.normpath(key.replace("\\", "/"))
