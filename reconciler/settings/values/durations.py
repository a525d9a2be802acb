"""Durations, and times of day."""

import re
from collections.abc import Callable
from datetime import timedelta
from zoneinfo import available_timezones

from reconciler.settings.values.numbers import DECIMAL
from reconciler.settings.values.words import one_of

LONGEST = timedelta(days=36_500)
"""A hundred years: beyond it `now - duration` would leave the calendar of Postgres and Python."""


UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}


NUMBER = r"\d{1,12}(?:\.\d{1,9})?"


SHORT_FORM = re.compile(rf"(?:{NUMBER}(?:ms|[wdhms]))+", re.ASCII)


SHORT_PART = re.compile(rf"({NUMBER})(ms|[wdhms])", re.ASCII)


ISO_FORM = re.compile(
    rf"P(?=.)(?:({NUMBER})W)?(?:({NUMBER})D)?(?:T(?=.)(?:({NUMBER})H)?(?:({NUMBER})M)?(?:({NUMBER})S)?)?",
    re.ASCII,
)


ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")


DURATION_FORMS = "a duration such as 90d, 24h, 15m, 30s, 1h30m or 0s, or in ISO 8601 such as PT24H"


def duration(raw: object) -> timedelta:
    """`90d`, `1h30m`, `PT24H`; from 0s to a hundred years."""
    if isinstance(raw, timedelta):
        parsed: timedelta | None = raw
    else:
        parsed = _duration_of(raw) if isinstance(raw, str) else None
    if parsed is None:
        hint = ""
        if isinstance(raw, int | float) or (isinstance(raw, str) and DECIMAL.fullmatch(raw)):
            hint = " (a number alone has no unit)"
        raise ValueError(f"must be {DURATION_FORMS}{hint}")
    if not timedelta(0) <= parsed <= LONGEST:
        raise ValueError(f"must be from 0s to {LONGEST.days}d")
    return parsed


def _duration_of(text: str) -> timedelta | None:
    if SHORT_FORM.fullmatch(text):
        parts = [(float(number), unit) for number, unit in SHORT_PART.findall(text)]
        if len({unit for _, unit in parts}) != len(parts):
            return None
        return _seconds(sum(number * UNITS[unit] for number, unit in parts))
    matched = ISO_FORM.fullmatch(text)
    if matched is None:
        return None
    numbers = (float(group or 0) for group in matched.groups())
    return _seconds(sum(number * UNITS[unit] for number, unit in zip(numbers, "wdhms", strict=True)))


def _seconds(seconds: float) -> timedelta:
    # Anything beyond the longest is refused by the caller; this only keeps timedelta from overflowing.
    return timedelta(seconds=min(seconds, LONGEST.total_seconds() * 2))


def at_least(least: timedelta, text: str) -> Callable[[object], timedelta]:
    """A duration that cannot be shorter than `least`, which `text` spells."""

    def parse(raw: object) -> timedelta:
        parsed = duration(raw)
        if parsed < least:
            raise ValueError(f"must be at least {text}")
        return parsed

    return parse


def between(least: timedelta, text: str, most: timedelta, most_text: str) -> Callable[[object], timedelta]:
    """A duration from one to another, both included, which the texts spell."""

    def parse(raw: object) -> timedelta:
        parsed = duration(raw)
        if not least <= parsed <= most:
            raise ValueError(f"must be from {text} to {most_text}")
        return parsed

    return parse


def interval(raw: object) -> timedelta | None:
    """A duration; None stands for `never`."""
    return None if raw is None or raw == "never" else duration(raw)


def time_zone(raw: object) -> str | None:
    """A place's name in the time zone database; None where none is declared."""
    if raw is None:
        return None
    known = available_timezones()
    if isinstance(raw, str) and ZONE.fullmatch(raw) and (not known or raw in known):
        return raw
    raise ValueError("must be a time zone's name such as Europe/Berlin or UTC")


def unit(raw: object) -> str | None:
    """The unit of times stored as numbers; None where none is declared."""
    return None if raw is None else one_of("s", "ms", "us")(raw)
