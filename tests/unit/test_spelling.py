"""R-69: what counts as another spelling of a key, and what does not."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reconciler.catalog.media_tables.references import odd
from reconciler.model import KeepReason, Tally, spelling
from reconciler.model.spelling import Orphans, fingerprints, folds, forms, forms_within, spellings
from reconciler.planning.sides import HANDFUL, near_missed
from tests.doubles.build import LIMITS

BUCKET, PREFIXES = "media", ("image/", "video/")
KEYS = st.text(min_size=1, max_size=20)


@pytest.mark.attack(69)
@pytest.mark.parametrize(
    "other",
    [
        "/image/a b.png",
        "//image//a b.png",
        "media/image/a b.png",
        "/media/image/a%20b.png",
        "/srv/media/a b.png",
        "https://media.s3.amazonaws.com/image/a+b.png?X-Amz-Date=1",
        "HTTP://cdn.example/media/IMAGE/A%20B.PNG#top",
        "gs://media/image/a b.png",
        "image\\a b.png ",
        "image/image/a b.png",
        "a b.png",
        "image/a%2520b.png",
    ],
)
def test_another_spelling_folds_alike(other: str) -> None:
    assert set(folds("image/a b.png", BUCKET, PREFIXES)) & set(folds(other, BUCKET, PREFIXES))


@pytest.mark.parametrize(
    "other", ["video/a b.png", "image/a_b.png", "image/a b.jpg", "image/c/a b.png", "b.png"]
)
def test_another_key_does_not(other: str) -> None:
    assert not set(folds("image/a b.png", BUCKET, PREFIXES)) & set(folds(other, BUCKET, PREFIXES))


@pytest.mark.attack(92)
@settings(suppress_health_check=[HealthCheck.filter_too_much])  # most of these names are odd
@given(
    key=st.text(alphabet="aAzZé09/._-+% image", max_size=16),
    prefixes=st.sampled_from([("",), ("image/",), ("Image/a/", "image/b/")]),
    under=st.sampled_from(["", "image/", "Image/a/", "media/", "image/image/"]),
)
def test_a_name_that_is_not_odd_folds_to_its_small_letters(
    key: str, prefixes: tuple[str, ...], under: str
) -> None:
    """SQL compares such names with the orphans, and hands on all others."""
    orphans = Orphans(pass_id=1, bucket="Media", prefixes=prefixes)
    name = under + key
    assume(name.startswith(prefixes) and not re.search(odd(orphans), name.lower()))
    assert folds(name, "Media", prefixes) == (name.lower(),)


@given(key=KEYS)
def test_every_key_folds_and_its_spellings_are_others(key: str) -> None:
    assert folds(key, BUCKET, PREFIXES)
    assert all(len(each) == 32 for each in fingerprints(key, BUCKET, PREFIXES))
    assert key not in spellings(key, BUCKET, PREFIXES)


@pytest.mark.parametrize(
    ("key", "other"),
    [("image/é b", "image/%C3%A9%20b"), ("image/é b", "image%2f%c3%a9%20b"), ("image/a", "image%2fa")],
)
def test_percent_encoding_is_looked_up_in_small_digits_too(key: str, other: str) -> None:
    assert other in spellings(key, BUCKET, PREFIXES)


@pytest.mark.attack(69)
def test_more_than_a_handful_trips_and_above_the_limits_everything_stops() -> None:
    def seen(number: int, objects: int = 1000) -> Tally:
        return Tally(objects=objects, kept={KeepReason.NEAR_MISS: number})

    assert near_missed(seen(HANDFUL), None, LIMITS) is None
    assert near_missed(seen(8), seen(8), LIMITS) is None, "no more than were let through before"
    few, many = near_missed(seen(8), seen(7), LIMITS), near_missed(seen(60, 100), None, LIMITS)
    assert few is not None
    assert many is not None
    assert (few.both_sides, many.both_sides) == (False, True)
    meant = near_missed(seen(60, 100), None, replace(LIMITS, max_fraction=1.0))
    assert meant is not None
    assert not meant.both_sides


@given(
    key=st.text("ab/._-9 A%+:?é", min_size=1, max_size=12),
    prefixes=st.lists(st.sampled_from(["a/", "b/", "image/", ""]), min_size=1, max_size=2),
)
def test_a_simple_key_is_spelled_as_any_other(key: str, prefixes: list[str]) -> None:
    quick = folds(key, "bucket", prefixes), spellings(key, "bucket", prefixes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spelling, "_SIMPLE", re.compile(r"(?!)"))
        assert (folds(key, "bucket", prefixes), spellings(key, "bucket", prefixes)) == quick


@given(
    keys=st.lists(st.text("ab/._-9 A%+é", min_size=1, max_size=8), max_size=3),
    prefixes=st.lists(st.sampled_from(["a/", "b/", "a/a/", "a", ""]), min_size=1, max_size=2),
    within=st.booleans(),
)
def test_forms_within_are_those_forms_that_begin_so(
    keys: list[str], prefixes: list[str], *, within: bool
) -> None:
    kept = (*prefixes, ".reconciler/") if within else ("",)
    slow = [form for key in keys for form in forms(key, prefixes) if form.startswith(kept) and form != key]
    assert {*forms_within(keys, prefixes, kept)} == {*slow}
