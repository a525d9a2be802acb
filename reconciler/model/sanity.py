"""Values that cannot have been meant, though stores and schemas hold them: such a date is a missing date."""

from datetime import UTC, datetime

EARLIEST = datetime(2006, 1, 1, tzinfo=UTC)
"""S3 began in March 2006. An older time is the zero time of a language or a store (year 1, 1601, 1899, 1900,
1970, 1980, 2000, 2001), or a file's own date, and says nothing about the age of an object or a row."""

LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""Later than any age can need, and early enough that adding a duration stays within the calendar."""

GREATEST_SIZE = 2**53
"""Bytes: far above what any store takes, and a thousand of them do not overflow a sum of 64 bits."""


def believable(time: datetime | None) -> datetime | None:
    """The time, or None if it cannot have been meant: what has no date is protected.

    A time without a zone is none either: that is how the driver reads the infinities of Postgres.
    """
    if time is None or time.tzinfo is None or not EARLIEST <= time < LATEST:
        return None
    return time


def believable_size(size: int) -> int:
    """The size in bytes, limited to what is possible: never negative."""
    return min(max(size, 0), GREATEST_SIZE)
