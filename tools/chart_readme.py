"""The reference of the chart's values: what `values.yaml` says of each, as the README's table.

`python -m tools.chart_readme` writes it anew; a test says when that is due.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tests.chart.helm import CHART

README = CHART / "README.md"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"

KEY = re.compile(r"^(?P<indent> *)(?P<name>[A-Za-z][A-Za-z0-9]*):")
TOLD = re.compile(r"^ *# -- (?P<text>.*)")
MORE = re.compile(r"^ *# (?P<text>.*)")
HEADING = re.compile(r"^## (?P<text>.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One documented value; `heading` is the section it stands in."""

    path: tuple[str, ...]
    default: object
    text: str
    heading: str


def documented() -> Sequence[Value]:
    """Every value that has a description, in the file's order."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    return list(_read(text.splitlines(), yaml.safe_load(text)))


def _read(lines: Sequence[str], tree: Mapping[str, Any]) -> Iterator[Value]:
    path: list[str] = []
    told: list[str] = []
    heading = "Values"
    for line in lines:
        if found := HEADING.match(line):
            heading, told = found["text"], []
        elif found := TOLD.match(line):
            told = [found["text"]]
        elif told and (found := MORE.match(line)):
            told.append(found["text"])
        elif found := KEY.match(line):
            path = [*path[: len(found["indent"]) // 2], found["name"]]
            if told:
                yield Value(path=tuple(path), default=at(tree, path), text=" ".join(told), heading=heading)
            told = []
        else:
            told = []


def at(tree: Mapping[str, Any], path: Sequence[str]) -> object:
    found: Any = tree
    for part in path:
        found = found[part]
    return found


def table() -> str:
    """The reference in Markdown: a table for each section."""
    lines: list[str] = []
    heading = ""
    for value in documented():
        if value.heading != heading:
            heading = value.heading
            lines += ["", f"### {heading}", "", "| value | default | meaning |", "|---|---|---|"]
        default = json.dumps(value.default, ensure_ascii=False).replace("|", "\\|")
        lines.append(f"| `{'.'.join(value.path)}` | `{default}` | {value.text.replace('|', chr(92) + '|')} |")
    return "\n".join([*lines[1:], ""])


def current() -> str:
    """The README with the reference as it should be."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}{END}{after}"


if __name__ == "__main__":
    README.write_text(current(), encoding="utf-8")
