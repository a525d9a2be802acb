"""Times in lines for people: one form everywhere. Programs get ISO 8601 (`formatting.timestamp`)."""

from datetime import UTC, datetime


def moment(at: datetime | None) -> str:
    """`2026-11-22 19:55:01Z`; "" for None. A time without a zone is UTC."""
    # Of each orphan, and a format takes five times as long.
    return f"{in_utc(at).isoformat(' ', 'seconds')[:-6]}Z" if at else ""


def minute(at: datetime) -> str:
    """The same to the minute, for a column of a table."""
    return f"{in_utc(at):%Y-%m-%d %H:%MZ}"


def in_utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
