"""Where a store may expire objects by their age, and after how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.model import FOREVER, Evict, LifecycleRule, Match, Quota, QuotaOwner, Rule, Rules
from reconciler.model.shapes import KeyShape
from reconciler.planning import expiry
from reconciler.planning.expiry import Known
from tests.doubles.build import policy

DAY = timedelta(days=1)
CLEAR = Known(created=True, accessed=True, referenced=False)
QUOTA = Quota(name="", max_bytes=1, max_objects=None, owner=QuotaOwner.VIRTUAL_KEY, evict=Evict.NEVER)


def by_age(**changes: Any) -> Any:
    """A policy by which age alone decides."""
    return policy(**{"recent_access": timedelta(0), **changes})


def rule(name: str = "r", match: Match | None = None, **changes: Any) -> Rule:
    terms = {
        "media_retention": 30 * DAY,
        "recent_access": timedelta(0),
        "key_grace": DAY,
        "delete_revoked": True,
    }
    return Rule(name=name, match=match or Match(), **{**terms, **changes})


def test_after_the_longest_retention_the_grace_and_the_undo_a_store_may_expire_what_is_left() -> None:
    terms = by_age(rules=Rules((rule(match=Match(prefix=("image/",)), media_retention=120 * DAY),)))
    assert expiry.against("image/", terms, CLEAR) == expiry.against("video/", terms, CLEAR) == []
    assert expiry.longest("image/", terms) == 120 * DAY
    assert expiry.backstop("image/", terms, 7 * DAY) == (120 + 2 + 7) * DAY
    assert expiry.backstop("video/", terms, 7 * DAY) == (90 + 2 + 7) * DAY


@pytest.mark.parametrize(
    ("changes", "known", "words"),
    [
        ({"recent_access": DAY}, {}, "an access keeps media 24h"),
        ({"quota": QUOTA}, {}, "a quota decides"),
        ({"media_retention": FOREVER}, {}, "has no end"),
        ({"auto_cleanup": False}, {}, "nothing is deleted for its age"),
        ({"orphan_cleanup": False}, {}, "ORPHAN_CLEANUP_ENABLED"),
        ({"key_shape": KeyShape("image/.*")}, {}, "of another shape"),
        ({}, {"referenced": True}, "ALSO_REFERENCED"),
        ({}, {"shared": True}, "several rows may name one object"),
        ({}, {"created": False}, "no creation time"),
        ({}, {"undated": {"image/": 2, "video/": 1}}, "2 rows without a creation time"),
        ({}, {"holds": {"image/": 1, "video/": 5}}, "1 hold in force"),
        ({}, {"doubts": ("the default policy is not active",)}, "default policy is not active"),
    ],
)
def test_whatever_else_may_keep_an_object_is_a_reason_against_it(
    changes: dict[str, Any], known: dict[str, Any], words: str
) -> None:
    (why,) = expiry.against("image/", by_age(**changes), replace(CLEAR, **known))
    assert words in why


def test_what_happens_elsewhere_is_none() -> None:
    known = replace(CLEAR, undated={"image/": 0}, holds={"image/": 0, "video/": 5})
    assert expiry.against("image/", by_age(), known) == []
    assert expiry.against("image/", policy(), replace(CLEAR, accessed=False)) == []


def test_the_whole_bucket_holds_our_own_objects_too() -> None:
    assert ".reconciler/ is under it" in expiry.against("", by_age(), CLEAR)
    assert ".reconciler/ is under it" in expiry.against(".rec", by_age(), CLEAR)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([rule(match=Match(virtual_key_id=("7",)), media_retention=91 * DAY)], ["'r'", "longer"]),
        ([rule(match=Match(virtual_key_id=("7",)), media_retention=90 * DAY)], []),
        ([rule(match=Match(key_group=("7",)), media_retention=FOREVER)], ["'r'", "no end"]),
        ([rule(match=Match(model=("m",)), recent_access=DAY)], ["'r'", "an access"]),
        ([rule(match=Match(prefix=("image/a/",)), media_retention=FOREVER)], ["'r'", "no end"]),
        ([rule(match=Match(prefix=("video/",)), media_retention=FOREVER)], []),
        ([rule(match=Match(prefix=("image/",))), rule("late", quota=QUOTA)], []),
        ([rule(match=Match(prefix=("ima",))), rule("late", quota=QUOTA)], []),
        ([rule(match=Match(prefix=("image/a/",))), rule("late", quota=QUOTA)], ["'late'", "a quota"]),
        ([rule(), rule("late", quota=QUOTA)], []),
    ],
)
def test_each_rule_that_may_be_the_first_for_a_row_counts(rules: list[Rule], words: list[str]) -> None:
    lines = expiry.against("image/", by_age(rules=Rules(tuple(rules))), CLEAR)
    assert len(lines) == bool(words)
    assert all(word in lines[0] for word in words)


def test_an_owners_longer_terms_count_where_they_come_before_those_for_all() -> None:
    own = rule("own", match=Match(virtual_key_id=("7",)), media_retention=40 * DAY)
    for_all = rule("all", match=Match(prefix=("image/",)))
    assert len(expiry.against("image/", by_age(rules=Rules((own, for_all))), CLEAR)) == 1
    assert expiry.against("image/", by_age(rules=Rules((for_all, own))), CLEAR) == []
    assert expiry.longest("image/", by_age(rules=Rules((own, for_all)))) == 40 * DAY


@pytest.mark.parametrize(
    ("of_rule", "prefix", "area"),
    [
        ("", "image/", "image/"),
        ("image/", "image/", "image/"),
        ("image/2024/", "image/", "image/2024/"),
        ("video/", "image/", None),
    ],
)
def test_a_rule_covers_what_both_prefixes_cover(of_rule: str, prefix: str, area: str | None) -> None:
    assert expiry.area(LifecycleRule(id="r", prefix=of_rule), prefix) == area
