"""Charts as shapes: columns of stacked parts, and the table that says the same in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeAlias

from reconciler import model
from reconciler.model.moments import minute
from reconciler.planning.formatting import human_bytes

HEIGHT = 100.0
STEP, WIDTH = 10.0, 8.0
"""Of a column, in units of the picture, which is as wide as its columns."""

Number: TypeAlias = Callable[[int], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: what it is of, and how much of each part, by the part's name."""

    label: str
    parts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A part of a column, as it is drawn."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A picture with its table. `groups` are the boxes of each column with what they say."""

    id: str
    title: str
    width: float
    top: str
    first: str
    last: str
    names: Sequence[str]
    groups: Sequence[tuple[str, Sequence[Box]]]
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    says: str


def chart(id_: str, title: str, columns: Sequence[Column], written: Number) -> Chart:
    """Stack the columns' parts, in the order in which the verdicts are declared, others after them."""
    known = {name for column in columns for name, value in column.parts.items() if value}
    declared: list[str] = [*model.VERDICTS]
    names = sorted(known, key=lambda name: (declared.index(name) if name in declared else 99, name))
    sums = [sum(column.parts.values()) for column in columns]
    most = max(sums, default=0)
    groups = [
        (_said(column, names, written), _boxes(column, names, place, most))
        for place, column in enumerate(columns)
    ]
    rows = [
        (column.label, written(total), *(written(column.parts.get(name, 0)) for name in names))
        for column, total in zip(columns, sums, strict=True)
        if total
    ]
    first, last = (columns[0].label, columns[-1].label) if columns else ("", "")
    return Chart(
        id=id_,
        title=title,
        width=STEP * len(columns),
        top=written(most),
        first=first,
        last=last,
        names=names,
        groups=groups,
        heads=("when", "in all", *(name.replace("_", " ") for name in names)),
        rows=rows,
        says=f"{title}: from {first} to {last}, at most {written(most)}" if most else f"{title}: nothing",
    )


def _said(column: Column, names: Sequence[str], written: Number) -> str:
    parts = [
        f"{written(column.parts[name])} {name.replace('_', ' ')}" for name in names if column.parts.get(name)
    ]
    return f"{column.label}: {', '.join(parts) or 'nothing'}"


def _boxes(column: Column, names: Sequence[str], place: int, most: int) -> Sequence[Box]:
    boxes, floor = [], HEIGHT
    for name in names:
        height = HEIGHT * column.parts.get(name, 0) / most if most else 0.0
        if height:
            floor -= height
            x = STEP * place + (STEP - WIDTH) / 2
            box = Box(name=name, x=x, y=round(floor, 3), width=WIDTH, height=round(height, 3))
            boxes.append(box)
    return boxes


KEYS, BYTES = 0, 1


def drift(trends: model.Trends, of: int) -> Sequence[Column]:
    """What passes found, by the step: of each kind what its last pass had found by then."""
    step = model.DRIFT_STEP
    end = _floor(trends.at, step)
    begin = end - model.DRIFT_SPAN + step
    latest: dict[model.PassKind, model.Amounts] = {}
    left, columns = list(trends.drift), []
    at = begin
    while at <= end:
        while left and left[0].at <= at:
            seen = left.pop(0)
            latest[seen.kind] = seen.found
        parts: dict[str, int] = {}
        for found in latest.values():
            for verdict, amount in found.items():
                parts[verdict] = parts.get(verdict, 0) + amount[of]
        columns.append(Column(label=minute(at), parts=parts))
        at += step
    return columns


def _floor(at: datetime, step: timedelta) -> datetime:
    seconds = step.total_seconds()
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, UTC)


def due(trends: model.Trends, of: int) -> Sequence[Column]:
    """What is due, by the hour from now on."""
    hours = int(model.DUE_SPAN / timedelta(hours=1))
    return [
        Column(
            label=minute(trends.at + timedelta(hours=hour)) if hour else "now",
            parts={verdict: amount[of] for verdict, amount in trends.due.get(hour, {}).items()},
        )
        for hour in range(hours)
    ]


def gone(trends: model.Trends, of: int) -> Sequence[Column]:
    """What was deleted, by the day in UTC."""
    today = trends.at.astimezone(UTC).date()
    days = [today - timedelta(days=back) for back in reversed(range(model.GONE_DAYS))]
    return [
        Column(
            label=str(day),
            parts={verdict: amount[of] for verdict, amount in trends.gone.get(day, {}).items()},
        )
        for day in days
    ]


def growth(days: Sequence[model.Day], today: date, span: int) -> Sequence[Column]:
    """The bytes of rows that were made on each day and are still there."""
    sizes = {each.day: each.bytes for each in days}
    shown = [today - timedelta(days=back) for back in reversed(range(span))]
    return [Column(label=str(day), parts={"stored": sizes.get(day, 0)}) for day in shown]


def whole(value: int) -> str:
    """A number of keys."""
    return f"{value:,}"


def all_of(trends: model.Trends) -> Mapping[str, Chart]:
    """The charts of what is known over time."""
    return {
        "drift_keys": chart("drift-keys", "Drift over 14 days, keys", drift(trends, KEYS), whole),
        "drift_bytes": chart("drift-bytes", "Drift over 14 days, bytes", drift(trends, BYTES), human_bytes),
        "due_keys": chart("due-keys", "Due by the hour, keys", due(trends, KEYS), whole),
        "due_bytes": chart("due-bytes", "Due by the hour, bytes", due(trends, BYTES), human_bytes),
        "gone_keys": chart("gone-keys", "Went by the day, keys", gone(trends, KEYS), whole),
        "gone_bytes": chart("gone-bytes", "Went by the day, bytes", gone(trends, BYTES), human_bytes),
    }
