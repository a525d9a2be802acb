"""What the store's events say, in each of their forms, and what a look at a key comes to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.model import (
    Hint,
    Judgement,
    KeepReason,
    LookResult,
    Outlook,
    Seen,
    StoredObject,
    StoreEvent,
    Verdict,
)
from reconciler.planning.hints import LAST_AGAIN, SECOND_LOOK, Unreadable, changes_in, look_at
from reconciler.planning.outlook import outlook
from tests.doubles.build import policy
from tests.doubles.build import record as record_of

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
AT = "2026-11-30T11:00:00.123Z"


def record(key: str, name: str = "ObjectCreated:Put", bucket: str = "media") -> dict[str, Any]:
    return {
        "eventName": name,
        "eventTime": AT,
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "sequencer": "0A"}},
    }


def s3(*records: Mapping[str, Any]) -> str:
    return json.dumps({"Records": records})


def eventbridge(key: str, kind: str = "Object Created", bucket: str = "media") -> str:
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "size": 1}, "reason": "PutObject"}
    return json.dumps({"detail-type": kind, "source": "aws.s3", "time": AT, "detail": detail})


def keys(body: str) -> list[tuple[str, bool]]:
    return [(each.storage_key, each.removed) for each in changes_in(body, "media")]


@given(st.text(min_size=1).filter(lambda key: all(not 0xD800 <= ord(each) <= 0xDFFF for each in key)))
@example("image/a b+c%2Fé.png")
@example("image/100% %41+.png")
@example("image/\N{GRINNING FACE}\n\t?#&.png")
def test_a_key_in_s3s_records_is_read_back_as_it_was_encoded(key: str) -> None:
    assert keys(s3(record(quote_plus(key)))) == [(key, False)]


def test_s3s_records_may_be_several_and_come_through_sns() -> None:
    body = s3(record("image%2Fa"), record("b", "ObjectRemoved:DeleteMarkerCreated"))
    both = [("image/a", False), ("b", True)]
    assert keys(body) == both
    assert keys(json.dumps({"Type": "Notification", "Message": body})) == both
    assert changes_in(body, "media")[0] == StoreEvent(
        storage_key="image/a", removed=False, at=datetime(2026, 11, 30, 11, 0, 0, 123_000, UTC)
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s3:ObjectCreated:CompleteMultipartUpload", [("k", False)]),
        ("ObjectCreated:Copy", [("k", False)]),
        ("ObjectRemoved:Delete", [("k", True)]),
        ("LifecycleExpiration:Delete", [("k", True)]),
        ("LifecycleTransition", []),
        ("ObjectTagging:Put", []),
        ("ReducedRedundancyLostObject", []),
    ],
)
def test_only_what_came_or_went_is_hinted_at(name: str, expected: list[tuple[str, bool]]) -> None:
    assert keys(s3(record("k", name))) == expected


def test_eventbridges_key_is_taken_as_it_is_and_decoded() -> None:
    assert keys(eventbridge("image/a b.png")) == [("image/a b.png", False)]
    assert keys(eventbridge("image/a+b.png", "Object Deleted")) == [
        ("image/a+b.png", True),
        ("image/a b.png", True),
    ]
    assert keys(eventbridge("k", "Object Tags Added")) == []


def test_another_buckets_events_and_test_events_are_none() -> None:
    assert keys(s3(record("k", bucket="other"))) == keys(eventbridge("k", bucket="other")) == []
    assert keys('{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "media"}') == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"Records": "x"}',
        '{"Records": [1]}',
        '{"Records": [{"eventName": "ObjectCreated:Put"}]}',
        s3({**record("k"), "eventName": 5}),
        s3(record(None)),  # type: ignore[arg-type]  # as it may come
        '{"detail-type": "Object Created", "detail": []}',
        "[" * 100_000,
    ],
)
def test_what_is_no_event_is_told_apart(body: str) -> None:
    with pytest.raises(Unreadable, match="no event of S3 or EventBridge"):
        changes_in(body, "media")


@pytest.mark.parametrize("time", [None, 5, "yesterday", "2026-11-30T11:00:00"])
def test_a_time_that_is_none_leaves_the_event_without_one(time: object) -> None:
    (change,) = changes_in(s3({**record("k"), "eventTime": time}), "media")
    assert change.at is None


# --- looks ----------------------------------------------------------------------------------------------


def hint(**known: Any) -> Hint:
    return Hint(**{"storage_key": "image/a", "appeared": True, "removed": False, "notes": 1, **known})


ALONE = Seen(key="image/a", object=StoredObject(key="image/a", size=1, etag="e", last_modified=NOW))
WIDOWED = Seen(key="image/a", rows=[record_of(created_at=NOW)])


@pytest.mark.parametrize("seen", [ALONE, WIDOWED])
def test_within_its_grace_it_is_looked_at_again_when_that_is_over(seen: Seen) -> None:
    terms = policy(grace_period=timedelta(hours=48))
    look = look_at(hint(), outlook(seen, terms, NOW), NOW)
    assert (look.result, look.again_at) == (LookResult.WAITS, NOW + timedelta(hours=48))
    assert look.verdict is None, "no grace is any shorter for an event"


@pytest.mark.parametrize(("seen", "verdict"), [(ALONE, Verdict.ORPHAN), (WIDOWED, Verdict.DANGLING)])
def test_two_looks_have_to_agree(seen: Seen, verdict: Verdict) -> None:
    later = NOW + timedelta(hours=49)
    says = outlook(seen, policy(grace_period=timedelta(hours=48)), later)
    first = look_at(hint(), says, later)
    assert (first.result, first.verdict, first.sightings) == (LookResult.WAITS, verdict, 1)
    assert first.again_at == later + SECOND_LOOK
    second = look_at(hint(verdict=verdict, sightings=1), says, later)
    assert (second.result, second.sightings) == (LookResult.FOUND, 2)
    other = next(each for each in (Verdict.ORPHAN, Verdict.DANGLING) if each is not verdict)
    assert look_at(hint(verdict=other, sightings=5), says, later).result is LookResult.WAITS


def test_what_stays_found_is_looked_at_less_and_less() -> None:
    says = outlook(ALONE, policy(grace_period=timedelta(0)), NOW)
    pauses = []
    for sightings in range(1, 40):
        again = look_at(hint(verdict=Verdict.ORPHAN, sightings=sightings), says, NOW).again_at
        assert again is not None
        pauses.append(again - NOW)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (timedelta(minutes=5), LAST_AGAIN)


@pytest.mark.parametrize("kept", [each for each in KeepReason if each is not KeepReason.PENDING])
def test_what_is_kept_is_the_sweeps_to_count(kept: KeepReason) -> None:
    says = Outlook(now=Judgement(verdict=Verdict.ORPHAN, kept=kept, reason="so"))
    look = look_at(hint(), says, NOW)
    restored = kept is KeepReason.RECOVERABLE
    assert look.result is (LookResult.RESTORED if restored else LookResult.SETTLED)
    assert look.again_at is None


def test_what_other_passes_find_within_minutes_is_left_to_them() -> None:
    says = Outlook(now=Judgement(verdict=Verdict.EXPIRED, reason="so"))
    assert look_at(hint(), says, NOW).result is LookResult.SETTLED
