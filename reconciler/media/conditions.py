"""Conditions and ranges of a request (RFC 9110), judged by us: stores differ in each of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeAlias

from reconciler.model import StoredMedium

TAG = re.compile(r'(W/)?("[^"]*"|[^\s,"]+)')
"""An entity tag; some clients forget the quotes."""

RANGE = re.compile(r"\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from the first to the last, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


class NotModified:
    """304: the client has it."""


class Unsatisfiable:
    """416: there are no such bytes."""


Wanted: TypeAlias = Span | NotModified | Unsatisfiable | None
"""What of a medium to send: a span, or all of it (None)."""


def conditional(headers: Mapping[str, str]) -> bool:
    """Whether the request has a condition or a range, so that the object has to be described first."""
    return any(name in headers for name in ("range", "if-none-match", "if-modified-since"))


def wanted(headers: Mapping[str, str], medium: StoredMedium) -> Wanted:
    """What to send of the object. A range that cannot be read, or several, asks for all of it."""
    if _has_it(headers, medium):
        return NotModified()
    if "range" not in headers or not _if_range(headers.get("if-range"), medium):
        return None
    return span(headers["range"], medium.size)


def _has_it(headers: Mapping[str, str], medium: StoredMedium) -> bool:
    if (tags := headers.get("if-none-match")) is not None:
        # Weak comparison, as for any GET; the date is not looked at then.
        if not medium.etag:
            return tags.strip() == "*"
        return tags.strip() == "*" or _bare(medium.etag) in {
            found[2].strip('"') for found in TAG.finditer(tags)
        }
    since = moment(headers.get("if-modified-since"))
    return since is not None and medium.modified is not None and _second(medium.modified) <= since


def _if_range(validator: str | None, medium: StoredMedium) -> bool:
    """Whether the range is of what the client has: by a strong tag, or by the very date."""
    if validator is None:
        return True
    if validator.startswith(("W/", '"')):
        return validator.strip() == medium.etag and not medium.etag.startswith("W/")
    date = moment(validator)
    return date is not None and medium.modified is not None and _second(medium.modified) == date


def span(written: str, size: int) -> Span | Unsatisfiable | None:
    """The bytes that `Range` asks for, of so many; None for all of them."""
    unit, _, ranges = written.partition("=")
    found = RANGE.fullmatch(ranges)
    if unit.strip().lower() != "bytes" or found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        return Span(size - length, size - 1) if length else Unsatisfiable()
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if found[2] and int(found[2]) < first:
        return None
    return Span(first, last) if first < size else Unsatisfiable()


def moment(text: str | None) -> datetime | None:
    """A date of HTTP; None for what is none."""
    try:
        found = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)


def _bare(tag: str) -> str:
    return tag.removeprefix("W/").strip('"')


def _second(at: datetime) -> datetime:
    return at.replace(microsecond=0)
