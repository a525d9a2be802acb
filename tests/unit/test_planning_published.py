"""What the gateway's users read of retention says what is done, in words and numbers of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from reconciler.model import FOREVER, Match, Policy, Rule
from reconciler.planning import published
from tests.doubles.build import DAY, HOUR, policy

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
NONE = timedelta(0)


@pytest.mark.parametrize(
    ("match", "words"),
    [
        (Match(), ""),
        (Match(media_type=("video",)), "media type video"),
        (
            Match(provider=("acme",), media_type=("video", "audio")),
            "media type video or audio, and provider acme",
        ),
        (
            Match(virtual_key_id=("k1", "k2"), key_group=("research",)),
            "virtual key k1 or k2, and key group research",
        ),
        (
            Match(model=("large-2",), prefix=("image/a/", "image/b/")),
            "model large-2, and storage keys under image/a/ or image/b/",
        ),
    ],
)
def test_a_rule_says_whose_media_it_is_about(match: Match, words: str) -> None:
    assert published.whose(match) == words


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (
            {"media_retention": 90 * DAY, "recent_access": 36 * HOUR},
            "Deleted 90 days after creation, or 36 hours after the last access if that is later",
        ),
        ({"media_retention": HOUR, "recent_access": NONE}, "Deleted 1 hour after creation"),
        ({"media_retention": FOREVER, "recent_access": 30 * DAY}, "Kept without an end"),
    ],
)
def test_the_time_that_media_stays_is_told(terms: dict[str, Any], words: str) -> None:
    assert published.kept(policy(**terms), accesses=True) == words


def test_nothing_is_stale_where_accesses_are_not_known() -> None:
    assert published.kept(policy(), accesses=False) == "Kept without an end"


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"delete_revoked": False}, "Kept as it is when its virtual key is disabled or expires"),
        (
            {"delete_revoked": True, "key_grace": 7 * DAY},
            "Deleted 7 days after its virtual key is disabled or expires",
        ),
        (
            {"delete_revoked": True, "key_grace": NONE},
            "Deleted as soon as its virtual key is disabled or expires",
        ),
    ],
)
def test_the_end_of_a_virtual_key_is_told(terms: dict[str, Any], words: str) -> None:
    assert published.of_ended_keys(policy(**terms), expire=True) == words
    # Where no column says when keys expire, none does.
    unending = words.removesuffix(" or expires")
    assert published.of_ended_keys(policy(**terms), expire=False) == unending


def test_a_rule_is_told_by_its_own_terms() -> None:
    films = Rule(
        name="films",
        match=Match(media_type=("video",)),
        media_retention=2 * DAY,
        recent_access=NONE,
        key_grace=HOUR,
        delete_revoked=True,
    )
    assert published.kept(films, accesses=True) == "Deleted 2 days after creation"
    assert (
        published.of_ended_keys(films, expire=True)
        == "Deleted 1 hour after its virtual key is disabled or expires"
    )


OWN_EXPIRY = "Media that has an expiry time of its own is deleted once that is over, whatever the rules say."
WAIT_AND_WAY_BACK = [
    "Between the end of its time and its deletion lies 1 day or more.",
    "What was deleted can be brought back for 30 days.",
]


def for_all(
    under: Policy, window: timedelta, *, ends: bool = True, expires: bool = True, deleted: bool = True
) -> Sequence[str]:
    return published.for_all(under, window, ends=ends, expires=expires, deleted=deleted)


def test_what_holds_for_all_media_is_told() -> None:
    assert for_all(policy(), 30 * DAY) == [
        OWN_EXPIRY,
        "Media that is marked as deleted is removed 2 days later.",
        *WAIT_AND_WAY_BACK,
    ]


def test_what_the_table_cannot_say_is_not_told() -> None:
    assert for_all(policy(), 30 * DAY, deleted=False) == [OWN_EXPIRY, *WAIT_AND_WAY_BACK]
    assert for_all(policy(), 30 * DAY, expires=False, deleted=False) == WAIT_AND_WAY_BACK
    (sentence,) = for_all(policy(), 30 * DAY, ends=False, expires=False, deleted=False)
    assert sentence == "No time ends by itself: nothing is deleted by these rules."


def test_no_wait_and_no_way_back_are_promised_where_there_are_none() -> None:
    assert for_all(policy(grace_period=NONE, delete_delay=NONE), NONE) == [
        OWN_EXPIRY,
        "Media that is marked as deleted is removed at once.",
    ]


def test_no_deletion_is_announced_while_the_clean_up_is_off() -> None:
    (sentence,) = for_all(policy(auto_cleanup=False), 30 * DAY)
    assert sentence == "Clean-up by these rules is switched off at present: nothing is deleted by them."


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (90 * DAY, "90 days"),
        (24 * HOUR, "1 day"),
        (36 * HOUR, "36 hours"),
        (60 * MINUTE, "1 hour"),
        (90 * MINUTE, "90 minutes"),
        (60 * SECOND, "1 minute"),
        (90 * SECOND, "90 seconds"),
        (SECOND, "1 second"),
        (1000 * DAY, "1,000 days"),
    ],
)
def test_a_duration_is_told_in_its_largest_whole_unit(duration: timedelta, words: str) -> None:
    assert published.span(duration) == words


@pytest.mark.parametrize(
    ("grace", "words"),
    [
        (None, ""),
        (FOREVER, "Kept when it was marked as deleted"),
        (5 * DAY, "Removed 5 days after it was marked as deleted"),
    ],
)
def test_what_a_rule_says_of_a_soft_delete_is_told(grace: timedelta | None, words: str) -> None:
    assert published.soft_deleted(policy(soft_delete_grace=grace)) == words
