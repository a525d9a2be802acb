"""Numbers, durations, a pause and any text in a form for people.

A storage key may hold anything, escape sequences included: `printable` makes it safe to show.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from reconciler.model import ObjectResult, Pause, Refusal, RefusedMarks, Waiting
from reconciler.model.moments import in_utc, moment

SHOWN = 3
"""Reasons or names that a line gives."""

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_STEP = 1024


def age(elapsed: timedelta) -> str:
    """An elapsed time in its largest whole unit, from two of it on: "12 days", "30 hours"."""
    seconds = max(0, int(elapsed.total_seconds()))
    for unit, length in _UNITS[:-1]:
        if seconds >= 2 * length:
            return counted(seconds // length, unit)
    return counted(seconds, "second")


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural if needed: "1 orphan", "1,200 orphans", "2 passes"."""
    return f"{number:,} {noun if number == 1 else f'{noun}es' if noun.endswith('s') else f'{noun}s'}"


def looked_at(objects: int, records: int) -> str:
    """What a pass saw: "1 object and 2 records looked at"."""
    return f"{counted(objects, 'object')} and {counted(records, 'record')} looked at"


_STAYED: Final = (
    (ObjectResult.HELD, "cannot be deleted, or not so that it could come back, and is on hold now"),
    (ObjectResult.SPARED, "is kept by its row or by a hold"),
    (ObjectResult.CHANGED, "is another object than the one marked"),
    (ObjectResult.PRESENT, "has its object after all"),
    (ObjectResult.RECOVERABLE, "has an object that is hidden or on its way"),
)


def stayed(results: Mapping[ObjectResult, int]) -> str:
    """Of keys that were due and stay after all, how many and why; empty where there are none.

    "3 keys were due and stay after a second decision (2: is kept by its row or by a hold; 1: …)".
    """
    parts = [f"{results[result]:,}: {why}" for result, why in _STAYED if results.get(result)]
    if not parts:
        return ""
    verbs = "was due and stays" if sum(results.values()) == 1 else "were due and stay"
    return f"{counted(sum(results.values()), 'key')} {verbs} after a second decision ({'; '.join(parts)})"


def waiting(marks: Waiting) -> str:
    """For what released marks wait, and until when: "647 keys are marked: the first is due at …"."""
    verb = "is" if marks.marks == 1 else "are"
    parts = [
        f"the first is due at {moment(marks.due_at)}" if marks.due_at else "",
        f"{marks.unseen:,} must be seen missing once more" if marks.unseen else "",
    ]
    why = "; ".join(filter(None, parts)) or "claimed, or held back by a pause or an open transaction"
    return f"{counted(marks.marks, 'key')} {verb} marked and {'waits' if marks.marks == 1 else 'wait'}: {why}"


def refused(marks: RefusedMarks) -> str:
    """How many keys stay because of their rows, and why; empty if none does."""
    parts = []
    if marks.kept:
        those = "its row, so its object stays" if marks.kept == 1 else "their rows, so their objects stay"
        parts.append(
            f"{counted(marks.kept, 'key')} {_stays(marks.kept)}: the database does not let go {those}"
        )
    if marks.gone:
        parts.append(
            f"{counted(marks.gone, 'key')} lost the object and {_stays(marks.gone)}: the database does not"
            " let go the row, and the object cannot come back by itself"
        )
    if not parts:
        return ""
    examples = "; ".join(f"{each.storage_key}: {each.reason}" for each in marks.examples[:SHOWN])
    return (
        f"{'; '.join(parts)} ({examples}). Mend what keeps them, then `reconciler marks retry`; all of them:"
        " `reconciler marks list --state refused`"
    )


def named(names: Sequence[str]) -> str:
    """The first few, and how many more there are: "a, b, c and 2 more"."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def reasons(those: Sequence[Refusal]) -> str:
    """Why keys were not deleted, for the first few; empty if all were."""
    examples = "; ".join(f"{each.storage_key}: {each.reason}" for each in those[:SHOWN])
    return f"not deleted: {examples}" if examples else ""


def _stays(number: int) -> str:
    return "stays" if number == 1 else "stay"


def pause(standing: Pause) -> str:
    """A pause that is on: "paused since 2026-11-22 19:55:01Z by alice@host (a restore is under way)"."""
    since = f" since {moment(standing.at)}" if standing.at else ""
    by = f" by {standing.by}" if standing.by else ""
    reason = f" ({standing.reason})" if standing.reason else ""
    return f"paused{since}{by}{reason}"


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
    """At most `width` characters, with the middle left out: both ends of a key are informative."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def human_bytes(size: int) -> str:
    """`0 B`, `12.3 MiB`."""
    amount, unit = float(size), 0
    while amount >= _STEP and unit < len(_BYTES) - 1:
        amount /= _STEP
        unit += 1
    return f"{size} B" if unit == 0 else f"{amount:.1f} {_BYTES[unit]}"


def kept(objects: int, size: int) -> str:
    """What somebody keeps: "12 objects, 3.4 GiB"."""
    return f"{counted(objects, 'object')}, {human_bytes(size)}"


def limits(objects: int | None, size: int | None) -> str:
    """What somebody may keep: "10 objects", "10 objects and 3.0 GiB"."""
    those = (
        "" if objects is None else counted(objects, "object"),
        "" if size is None else human_bytes(size),
    )
    return " and ".join(filter(None, those))


def timestamp(at: datetime | None) -> str | None:
    """ISO 8601 in UTC with a Z, for programs; None stays None. A time without zone is UTC."""
    return in_utc(at).isoformat().replace("+00:00", "Z") if at else None
