"""Figures beside their targets, as an aligned table or as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

HEADINGS = ("benchmark", "figure", "measured", "target", "")
TIMES = " \N{MULTIPLICATION SIGN}"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value. `target` "" and `met` None: it is there for comparison only."""

    benchmark: str
    name: str
    measured: str
    target: str = ""
    met: bool | None = None

    def row(self) -> tuple[str, ...]:
        judgement = "" if self.met is None else "met" if self.met else "not met"
        return (self.benchmark, self.name, self.measured, self.target, judgement)


def at_least(benchmark: str, name: str, value: float, target: float, unit: str = "") -> Figure:
    """Met where `value` is not below `target`."""
    return Figure(
        benchmark=benchmark,
        name=name,
        measured=f"{_number(value)}{unit}",
        target=f"≥ {_number(target)}{unit}",
        met=value >= target,
    )


def at_most(benchmark: str, name: str, value: float, target: float, unit: str = "") -> Figure:
    """Met where `value` is not above `target`."""
    return Figure(
        benchmark=benchmark,
        name=name,
        measured=f"{_number(value)}{unit}",
        target=f"≤ {_number(target)}{unit}",
        met=value <= target,
    )


def for_comparison(benchmark: str, name: str, value: float, unit: str = "") -> Figure:
    return Figure(benchmark=benchmark, name=name, measured=f"{_number(value)}{unit}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}".rstrip("0").rstrip(".")


def table(figures: Iterable[Figure]) -> str:
    """Aligned for a terminal."""
    rows = [HEADINGS, *(figure.row() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(figures: Iterable[Figure], surroundings: str) -> str:
    """A Markdown table, with a line below it that says what it was measured on."""
    rows = ["| " + " | ".join(HEADINGS) + " |", "|---|---|---:|---:|---|"]
    rows += ["| " + " | ".join(figure.row()) + " |" for figure in figures]
    return "\n".join([*rows, "", surroundings])


def write_between_markers(readme: Path, text: str) -> None:
    """Put `text` between the two marker comments of the file, in place of what stands there."""
    before, begin, rest = readme.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{readme} has no lines {BEGIN} and {END}")
    readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


def all_met(figures: Sequence[Figure]) -> bool:
    return all(figure.met is not False for figure in figures)
