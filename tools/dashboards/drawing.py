"""A dashboard as a picture: each panel where it stands, with what its queries return."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import dates, ticker
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from tools.dashboards.prometheus import Series, Viewer, panels_of

COLUMNS, INCHES_WIDE, INCHES_A_LINE, DOTS = 24, 15.0, 0.36, 92
HEAD = 2.2
"""Lines above the first row."""
COLOURS = {
    "green": "#299c46",
    "dark-green": "#19730e",
    "orange": "#e0752d",
    "red": "#d44a3a",
    "dark-red": "#ad0317",
    "blue": "#1f60c4",
    "light-blue": "#8ab8ff",
    "yellow": "#e0b400",
    "purple": "#8f3bb8",
}
PALETTE = (
    "#7eb26d",
    "#eab839",
    "#6ed0e0",
    "#ef843c",
    "#e24d42",
    "#1f78c1",
    "#ba43a9",
    "#705da0",
    "#508642",
    "#cca300",
    "#447ebc",
    "#c15c17",
)
INK, FAINT, PAGE, CARD = "#24292e", "#6b7580", "#eef0f3", "#ffffff"

Panel = Mapping[str, Any]
Found = list[tuple[str, Series]]
"""Each series with its legend."""
LEGEND_LINES = 3
CHARACTER, LINE = 0.06, 0.165
"""Inches of a table's text."""
A_DAY = 86400
"""matplotlib counts time in days."""


def draw(dashboard: Panel, viewer: Viewer, file: Path) -> None:
    mpl.use("Agg")
    mpl.rcParams.update(
        {"font.family": "DejaVu Sans", "font.size": 7, "text.color": INK, "axes.linewidth": 0.5}
    )
    lines = HEAD + max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in dashboard["panels"])
    page = Page(lines)
    page.head(dashboard["title"], viewer.variables)
    for row in (each for each in dashboard["panels"] if each["type"] == "row"):
        page.row(row)
    for panel in panels_of(dashboard):
        page.panel(panel, viewer)
    page.save(file)


class Page:
    """Places by Grafana's grid: columns from the left, lines from the top."""

    def __init__(self, lines: float) -> None:
        self.lines = lines
        self.figure = Figure(figsize=(INCHES_WIDE, lines * INCHES_A_LINE), dpi=DOTS, facecolor=PAGE)

    def box(self, x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
        """Left, bottom, width and height as matplotlib wants them."""
        return x / COLUMNS, 1 - (HEAD + y + h) / self.lines, w / COLUMNS, h / self.lines

    def head(self, title: str, variables: Mapping[str, str]) -> None:
        left, bottom, _, _ = self.box(0.25, -1.2, 1, 1)
        self.figure.text(left, bottom + 0.7 / self.lines, title, size=13, weight="bold")
        shown = "     ".join(f"{name}: {value or 'none'}" for name, value in variables.items())
        self.figure.text(left, bottom, shown, size=8, color=FAINT)

    def row(self, row: Panel) -> None:
        left, bottom, _, height = self.box(0.25, row["gridPos"]["y"], 1, 1)
        self.figure.text(left, bottom + height * 0.3, f"▾  {row['title']}", size=10, weight="bold")

    def panel(self, panel: Panel, viewer: Viewer) -> None:
        at = panel["gridPos"]
        x, y, w, h = at["x"] + 0.08, at["y"] + 0.08, at["w"] - 0.16, at["h"] - 0.16
        left, bottom, width, height = self.box(x, y, w, h)
        found = [
            (legend_of(target["legendFormat"], series.labels), series)
            for target in panel["targets"]
            for series in viewer.looks(target)
        ]
        colour = _stat_colour(panel, found) if panel["type"] == "stat" else CARD
        ink = CARD if panel["type"] == "stat" else INK
        self.figure.patches.append(
            FancyBboxPatch(
                (left, bottom),
                width,
                height,
                boxstyle="square,pad=0",
                facecolor=colour,
                edgecolor="#d5d9de",
                linewidth=0.6,
                zorder=-1,
                transform=self.figure.transFigure,
                figure=self.figure,
            )
        )
        title = bottom + height - 0.55 / self.lines
        self.figure.text(left + 0.1 / COLUMNS, title, panel["title"], size=7.5, weight="bold", color=ink)
        axes = self.figure.add_axes(self.box(x, y + 0.8, w, h - 0.8))
        axes.set_facecolor("none")
        if found or panel["type"] == "stat":
            DRAWN[panel["type"]](axes, panel, found)
            if panel["type"] in {"timeseries", "state-timeline"}:
                axes.set_xlim(viewer.since / A_DAY, viewer.until / A_DAY)
        else:
            _words(axes, "No data" if panel["type"] != "table" else _without(panel), FAINT)

    def save(self, file: Path) -> None:
        """Few colours make a small file."""
        self.figure.savefig(file)
        with Image.open(file) as drawn:
            drawn.convert("RGB").quantize(96, dither=Image.Dither.NONE).save(file, optimize=True)


def legend_of(form: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), form)


# --- values --------------------------------------------------------------------------------------------


def written(panel: Panel, value: float) -> str:
    """With its unit, as the panel wants it."""
    defaults = panel["fieldConfig"]["defaults"]
    if defaults.get("decimals") == 0:
        return f"{value:,.0f}"
    return _written(value, str(defaults["unit"]))


def _written(value: float, unit: str) -> str:
    match unit:
        case "s":
            return _seconds(value)
        case "bytes":
            return _bytes(value)
        case "Bps":
            return _bytes(value) + "/s"
        case "ops" | "reqps":
            return f"{value:.3g}/s"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _seconds(value: float) -> str:
    for size, name in ((A_DAY, "days"), (3600, "hours"), (60, "min"), (1, "s"), (0.001, "ms")):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return "0 s"


def _bytes(value: float) -> str:
    for power, name in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if abs(value) >= 1024**power:
            return f"{_short(value / 1024**power)} {name}"
    return f"{_short(value)} B"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _without(panel: Panel) -> str:
    return str(panel["fieldConfig"]["defaults"]["noValue"])


def _word(panel: Panel, value: float) -> tuple[str, str] | None:
    for mapping in panel["fieldConfig"]["defaults"]["mappings"]:
        if (found := mapping["options"].get(f"{value:.0f}")) is not None:
            return found["text"], found["color"]
    return None


def _stat_colour(panel: Panel, found: Found) -> str:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    name = steps[0]["color"]
    if found:
        value = found[0][1].latest
        word = _word(panel, value)
        passed = [each["color"] for each in steps if each["value"] is None or value >= each["value"]]
        name = word[1] if word else passed[-1]
    return COLOURS.get(name, str(name))


# --- kinds of panels -----------------------------------------------------------------------------------


def _words(axes: Any, text: str, colour: str, size: float = 9) -> None:
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center", size=size, color=colour, weight="bold")


def _stat(axes: Any, panel: Panel, found: Found) -> None:
    text = _without(panel)
    if found:
        value = found[0][1].latest
        word = _word(panel, value)
        text = word[0] if word else written(panel, value)
    _words(axes, text, CARD, size=17 if len(text) < 9 else 13)


def _timeseries(axes: Any, panel: Panel, found: Found) -> None:
    left, bottom, width, height = axes.get_position().bounds
    figure = axes.get_figure()
    inch_w, inch_h = figure.get_size_inches()
    columns = _legend_columns(found, width * inch_w)
    lines = min(-(-len(found) // columns), LEGEND_LINES)
    below = (0.22 + 0.14 * lines) / inch_h
    axes.set_position((left + 0.55 / inch_w, bottom + below, width - 0.65 / inch_w, height - below))
    custom = panel["fieldConfig"]["defaults"]["custom"]
    if custom["stacking"]["mode"] == "normal":
        _stack(axes, panel, found)
    else:
        for number, (legend, series) in enumerate(found):
            line = _with_gaps(series, _step(found))
            colour = _colour(panel, number, legend)
            axes.plot(*line, color=colour, lw=1.2, marker=".", ms=5, markevery=_alone(line[1]), label=legend)
    values = [value for _, series in found for _, value in series.points]
    axes.set_ylim(bottom=min(0, *values), top=None if any(values) else 1)
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=2, maxticks=5))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(4))
    axes.yaxis.set_major_formatter(lambda value, _: written(panel, value))
    axes.tick_params(labelsize=6.5, colors=FAINT, length=0)
    axes.grid(visible=True, color="#e3e6ea", lw=0.5)
    for side in axes.spines.values():
        side.set_visible(False)
    named = _largest(found, lines * columns)
    handles, labels = axes.get_legend_handles_labels()
    shown = [(handle, label) for handle, label in zip(handles, labels, strict=True) if label in named]
    axes.legend(
        *zip(*shown, strict=True),
        loc="upper left",
        bbox_to_anchor=(-0.45 / (width * inch_w), -0.2 / (height * inch_h - below * inch_h)),
        ncol=max(1, -(-len(shown) // lines)),
        frameon=False,
        fontsize=6.5,
        handlelength=1,
        columnspacing=1,
        borderpad=0,
        labelspacing=0.2,
    )


def _step(found: Found) -> float:
    """Seconds between two points."""
    return min((after - at for _, one in found for (at, _), (after, _) in pairwise(one.points)), default=1.0)


def _with_gaps(series: Series, step: float) -> tuple[list[float], list[float]]:
    """Times and values; no number where a step has none, so that no line is drawn across."""
    times: list[float] = []
    values: list[float] = []
    for at, value in series.points:
        if times and at / A_DAY - times[-1] > 1.5 * step / A_DAY:
            times.append(times[-1])
            values.append(math.nan)
        times.append(at / A_DAY)
        values.append(value)
    return times, values


def _alone(values: list[float]) -> list[int]:
    """Where a point has no neighbour, so that no line shows it."""
    around = [math.nan, *values, math.nan]
    return [
        at
        for at, (before, value, after) in enumerate(zip(around, values, around[2:], strict=False))
        if math.isnan(before) and math.isnan(after) and not math.isnan(value)
    ]


def _legend_columns(found: Found, inches: float) -> int:
    widest = max(len(legend) for legend, _ in found) * 0.055 + 0.3
    return max(1, int(inches / widest))


def _largest(found: Found, count: int) -> set[str]:
    """Of the many that a legend has no room for; Grafana's is scrolled."""
    by_size = sorted(found, key=lambda each: -sum(abs(value) for _, value in each[1].points))
    return {legend for legend, _ in by_size[:count]}


def _stack(axes: Any, panel: Panel, found: Found) -> None:
    times = sorted({at for _, series in found for at, _ in series.points})
    values = [[dict(series.points).get(at, 0.0) for at in times] for _, series in found]
    labels = [legend for legend, _ in found]
    colours = [_colour(panel, number, legend) for number, legend in enumerate(labels)]
    axes.stackplot([at / A_DAY for at in times], values, labels=labels, colors=colours, alpha=0.75)


def _colour(panel: Panel, number: int, legend: str) -> str:
    """The one that the name has, if any, else the next."""
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == legend:
            name = str(override["properties"][0]["value"]["fixedColor"])
            return COLOURS.get(name, name)
    return PALETTE[number % len(PALETTE)]


def _bargauge(axes: Any, panel: Panel, found: Found) -> None:
    left, bottom, width, height = axes.get_position().bounds
    axes.set_position((left + width * 0.4, bottom + height * 0.04, width * 0.45, height * 0.92))
    values = [series.latest for _, series in found]
    places = range(len(found))
    largest = max(*values, 1e-9) if len(values) > 1 else max(values[0], 1e-9)
    axes.barh(places, [largest] * len(found), color="#f0f2f4", height=0.62)
    axes.barh(
        places, values, color=[_colour(panel, number, found[number][0]) for number in places], height=0.62
    )
    for place, (legend, series) in zip(places, found, strict=True):
        axes.text(-0.03 * largest, place, legend, ha="right", va="center", size=7)
        axes.text(1.03 * largest, place, written(panel, series.latest), va="center", size=7.5, weight="bold")
    axes.set_xlim(0, largest)
    axes.set_ylim(max(len(found), 4) - 0.5, -0.5)
    axes.axis("off")


def _timeline(axes: Any, panel: Panel, found: Found) -> None:
    left, bottom, width, height = axes.get_position().bounds
    inch_w, inch_h = axes.get_figure().get_size_inches()
    margin, below = 1.35 / inch_w, 0.25 / inch_h
    axes.set_position((left + margin, bottom + below, width - margin - 0.1 / inch_w, height - below))
    for place, (_, series) in enumerate(found):
        for at, value in series.points:
            word = _word(panel, value)
            if word is not None and word[1] in COLOURS:
                axes.broken_barh(
                    [(at / A_DAY, _step(found) / A_DAY)], (place - 0.38, 0.76), color=COLOURS[word[1]], lw=0
                )
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_yticks(range(len(found)), [legend for legend, _ in found])
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=2, maxticks=7))
    axes.tick_params(labelsize=7, colors=INK, length=0)
    axes.grid(visible=True, axis="x", color="#e3e6ea", lw=0.5)
    for side in axes.spines.values():
        side.set_visible(False)


def _table(axes: Any, panel: Panel, found: Found) -> None:
    """Columns as wide as their longest text; the last takes what is left, and breaks its lines."""
    axes.axis("off")
    columns = panel["transformations"][0]["options"]["include"]["names"]
    _, _, width, height = axes.get_position().bounds
    inch_w, inch_h = axes.get_figure().get_size_inches()
    inches, inches_wide = height * inch_h, width * inch_w
    rows = [columns, *([series.labels.get(name, "") for name in columns] for _, series in found)]
    widths = [max(len(row[column]) for row in rows) * CHARACTER + 0.25 for column in range(len(columns))]
    spare = max(0.0, inches_wide - 0.1 - sum(widths)) / len(columns)
    left = [0.1 + sum(widths[:column]) + column * spare for column in range(len(columns))]
    lines: list[list[str]] = []
    for row in rows:
        last = textwrap.wrap(row[-1], int((inches_wide - left[-1]) / CHARACTER)) or [""]
        lines += [[*row[:-1], last[0]], *([*([""] * (len(row) - 1)), more] for more in last[1:])]
    fits = int(inches / LINE)
    if len(lines) > fits:
        lines = [*lines[: fits - 1], [f"and {len(lines) - fits + 1} more (scroll)"]]
    for number, line in enumerate(lines):
        for column, text in enumerate(line):
            axes.text(
                left[column] / inches_wide,
                1 - (number + 0.6) * LINE / inches,
                text,
                size=7,
                va="center",
                color=FAINT if number == 0 else INK,
                transform=axes.transAxes,
            )


DRAWN: Mapping[str, Callable[[Any, Panel, Found], None]] = {
    "stat": _stat,
    "timeseries": _timeseries,
    "bargauge": _bargauge,
    "state-timeline": _timeline,
    "table": _table,
}
