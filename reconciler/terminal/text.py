"""Text that is safe to show: a storage key may hold anything, escape sequences included."""

from __future__ import annotations

from datetime import UTC, datetime

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
STEP = 1024


def printable(text: str) -> str:
    """The text with every control, format and other invisible character spelled out.

    A backslash is doubled, so that two different keys never look the same.
    """
    return "".join(
        "\\\\" if char == "\\" else char if char.isprintable() else _spelled(char) for char in text
    )


def _spelled(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def shortened(text: str, width: int) -> str:
    """At most `width` characters, the middle left out: both ends of a key tell something."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def human_bytes(size: int) -> str:
    """`0 B`, `12.3 MiB`."""
    amount, unit = float(size), 0
    while amount >= STEP and unit < len(UNITS) - 1:
        amount /= STEP
        unit += 1
    return f"{size} B" if unit == 0 else f"{amount:.1f} {UNITS[unit]}"


def timestamp(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with a Z; None stays None. A time without zone is UTC."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")
