"""Ranges and conditions as RFC 9110 has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.media.conditions import NotModified, Span, Unsatisfiable, span, wanted
from reconciler.model import StoredMedium

AT = datetime(2026, 11, 30, 8, 15, tzinfo=UTC)
WRITTEN, LATER, EARLIER = (
    "Mon, 30 Nov 2026 08:15:00 GMT",
    "Mon, 30 Nov 2026 08:15:01 GMT",
    "Mon, 30 Nov 2026 08:14:59 GMT",
)
MEDIUM = StoredMedium(size=1_000, etag='"abc"', modified=AT, content_type="image/png", content_encoding="")


@pytest.mark.parametrize(
    ("written", "size", "expected"),
    [
        ("bytes=0-0", 1_000, Span(0, 0)),
        ("bytes=0-", 1_000, Span(0, 999)),
        ("bytes=990-5000", 1_000, Span(990, 999)),
        ("bytes=-500", 1_000, Span(500, 999)),
        ("bytes=-5000", 1_000, Span(0, 999)),
        ("Bytes = 1 - 2", 1_000, Span(1, 2)),
        ("bytes=1000-", 1_000, Unsatisfiable),
        ("bytes=5000-6000", 1_000, Unsatisfiable),
        ("bytes=-0", 1_000, Unsatisfiable),
        ("bytes=0-9", 0, Unsatisfiable),
        ("bytes=-5", 0, Unsatisfiable),
        ("bytes=5-2", 1_000, None),
        ("bytes=0-0,2-2", 1_000, None),
        ("bytes=abc", 1_000, None),
        ("bytes=", 1_000, None),
        ("bytes=-", 1_000, None),
        ("bytes", 1_000, None),
        ("items=0-1", 1_000, None),
        ("bytes=+1-2", 1_000, None),
        ("bytes=0x1-2", 1_000, None),
        (f"bytes=0-{'9' * 30}", 1_000, None),
        ("bytes=\u0661-\u0662", 1_000, None),
    ],
)
def test_a_range_is_one_part_all_or_none(
    written: str, size: int, expected: Span | type[Unsatisfiable] | None
) -> None:
    found = span(written, size)
    if expected is Unsatisfiable:
        assert isinstance(found, Unsatisfiable)
    else:
        assert found == expected


@given(first=st.integers(0, 50), last=st.integers(0, 50) | st.none(), size=st.integers(0, 30))
def test_a_range_is_what_slices_say(first: int, last: int | None, size: int) -> None:
    body = bytes(range(size))
    found = span(f"bytes={first}-{'' if last is None else last}", size)
    if last is not None and last < first:
        assert found is None
    elif not (part := body[first : None if last is None else last + 1]):
        assert isinstance(found, Unsatisfiable)
    else:
        assert isinstance(found, Span)
        assert body[found.first : found.last + 1] == part
        assert found.length == len(part)


@pytest.mark.parametrize(
    ("headers", "has_it"),
    [
        ({"if-none-match": '"abc"'}, True),
        ({"if-none-match": 'W/"abc"'}, True),
        ({"if-none-match": "abc"}, True),
        ({"if-none-match": '"x", "abc"'}, True),
        ({"if-none-match": "*"}, True),
        ({"if-none-match": '"x"'}, False),
        ({"if-none-match": '"x,abc"'}, False),
        ({"if-none-match": ""}, False),
        ({"if-modified-since": WRITTEN}, True),
        ({"if-modified-since": LATER}, True),
        ({"if-modified-since": EARLIER}, False),
        ({"if-modified-since": "yesterday"}, False),
        ({"if-none-match": '"x"', "if-modified-since": LATER}, False),
        ({"if-none-match": '"abc"', "range": "bytes=0-0"}, True),
    ],
)
def test_who_has_it_is_not_sent_it(headers: dict[str, str], has_it: bool) -> None:
    assert isinstance(wanted(headers, MEDIUM), NotModified) == has_it


@pytest.mark.parametrize(
    ("validator", "part"),
    [
        ('"abc"', True),
        ('W/"abc"', False),
        ('"abd"', False),
        ("abc", False),
        (WRITTEN, True),
        (EARLIER, False),
        (LATER, False),
        ("", False),
    ],
)
def test_a_part_is_sent_of_what_the_client_has_else_all(validator: str, part: bool) -> None:
    found = wanted({"range": "bytes=1-2", "if-range": validator}, MEDIUM)
    assert found == (Span(1, 2) if part else None)


def test_a_date_is_compared_by_the_second_and_without_one_nothing_is() -> None:
    finer = StoredMedium(
        size=1, etag="", modified=AT + timedelta(microseconds=9), content_type="", content_encoding=""
    )
    unknown = StoredMedium(size=1, etag="", modified=None, content_type="", content_encoding="")
    assert isinstance(wanted({"if-modified-since": WRITTEN}, finer), NotModified)
    assert wanted({"if-modified-since": LATER}, unknown) is None
    assert wanted({"if-none-match": '""'}, unknown) is None
