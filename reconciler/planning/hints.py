"""What the store's events say, and what a look at a key that they name comes to. No event is believed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import unquote_plus

from reconciler.model import (
    SIGHTINGS,
    Hint,
    KeepReason,
    Look,
    LookResult,
    Outlook,
    StoreEvent,
    Verdict,
)

SECOND_LOOK = timedelta(seconds=30)
"""Between the two looks that must agree."""

FIRST_AGAIN = timedelta(minutes=5)
LAST_AGAIN = timedelta(hours=6)
"""What was found is looked at again after the first, doubling up to the last, until a sweep has judged it."""

TOLD = frozenset({Verdict.ORPHAN, Verdict.DANGLING})
"""The other verdicts are found within minutes, by passes that read no bucket."""

EVENTBRIDGE = {"Object Created": False, "Object Deleted": True}
"""Its names for what we hint at, and whether the object is gone."""

RECORDS = {"ObjectCreated:": False, "ObjectRemoved:": True, "LifecycleExpiration:": True}
"""How S3's own names for it begin."""


class Unreadable(ValueError):
    """A message that is none of the forms we know."""


def changes_in(body: str, bucket: str) -> Sequence[StoreEvent]:
    """The events of one message that are about objects of that bucket; none for a test event.

    S3's own records (`Records`), also where SNS wraps them, and EventBridge's. A key in S3's records is
    percent-encoded, with `+` for a space. EventBridge's is said to be as it is, and not by Amazon: where
    decoding makes another key of it, both are hinted, and the one that nobody has is settled by its look.

    Raises Unreadable.
    """
    try:
        return list(_changes(_object(body), bucket))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"no event of S3 or EventBridge: {type(error).__name__} {str(error)[:100]}"
        raise Unreadable(message) from None


def _object(text: str) -> Mapping[str, object]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError("not an object")
    if found.get("Type") == "Notification" and isinstance(found.get("Message"), str):
        return _object(found["Message"])
    return found


def _changes(found: Mapping[str, object], bucket: str) -> Iterator[StoreEvent]:
    if found.get("Event") == "s3:TestEvent":
        return
    if "detail-type" in found:
        yield from _of_eventbridge(found, bucket)
        return
    records = found["Records"]
    if not isinstance(records, list):
        raise TypeError("Records is no list")
    for record in records:
        of = record["s3"]
        name = _text(record["eventName"]).removeprefix("s3:")
        key = unquote_plus(_text(of["object"]["key"]))
        gone = next((gone for begins, gone in RECORDS.items() if name.startswith(begins)), None)
        if of["bucket"]["name"] == bucket and gone is not None:
            yield StoreEvent(storage_key=key, removed=gone, at=_time(record.get("eventTime")))


def _of_eventbridge(found: Mapping[str, object], bucket: str) -> Iterator[StoreEvent]:
    detail = found["detail"]
    if not isinstance(detail, dict):
        raise TypeError("detail is no object")
    kind = _text(found["detail-type"])
    key = _text(detail["object"]["key"])
    if detail["bucket"]["name"] != bucket or kind not in EVENTBRIDGE:
        return
    for each in dict.fromkeys((key, unquote_plus(key))):
        yield StoreEvent(storage_key=each, removed=EVENTBRIDGE[kind], at=_time(found.get("time")))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a name that is no text")
    return value


def _time(value: object) -> datetime | None:
    """None for what is no time: only a hint's own reception counts then."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None


def settled(hint: Hint, reason: str, result: LookResult = LookResult.SETTLED) -> Look:
    """The look that ends a hint."""
    return Look(hint=hint, result=result, reason=reason)


def look_at(hint: Hint, outlook: Outlook, now: datetime) -> Look:
    """What a look comes to, by what a pass would say of the key now, and when it would say otherwise.

    A finding is told once two looks in a row have it. Whatever is kept is a sweep's to count.
    """
    says = outlook.now
    if says.kept is KeepReason.RECOVERABLE:
        return settled(hint, says.reason, LookResult.RESTORED)
    if says.kept is KeepReason.PENDING and outlook.changes_at is not None:
        again = max(outlook.changes_at, now + SECOND_LOOK)
        return Look(hint=hint, result=LookResult.WAITS, reason=says.reason, again_at=again)
    if not says.goes or says.verdict not in TOLD:
        return settled(hint, says.reason)
    seen = hint.sightings + 1 if hint.verdict is says.verdict else 1
    found = seen >= SIGHTINGS
    pause = min(FIRST_AGAIN * 2 ** min(seen - SIGHTINGS, 10), LAST_AGAIN) if found else SECOND_LOOK
    return Look(
        hint=hint,
        result=LookResult.FOUND if found else LookResult.WAITS,
        reason=says.reason,
        again_at=now + pause,
        verdict=says.verdict,
        sightings=seen,
    )
