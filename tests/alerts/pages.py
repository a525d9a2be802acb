"""The runbooks as a reader sees them: pages with sections and fenced blocks."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

RUNBOOKS = Path(__file__).parent.parent.parent / "docs" / "runbooks"
INDEX = "README"
PAUSE = "pause"
MEANING, LOOK, ACT, OVER = "What it means", "How to look", "What to do", "How to be sure it is over"

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
LANGUAGES = {"sh", "promql", "sql"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page, by its file's name without the suffix."""

    name: str
    text: str

    @property
    def sections(self) -> dict[str, str]:
        """Headings of the second level and what stands below each, in order."""
        _, *parts = re.split(r"^## ", self.text, flags=re.MULTILINE)
        return dict(part.split("\n", 1) for part in parts)

    def blocks(self, language: str) -> list[str]:
        return blocks(self.text, language)

    def commands(self) -> list[str]:
        """The lines of its shell blocks, each a command."""
        return [line for block in self.blocks("sh") for line in block.splitlines()]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, without their indentation."""
    return [textwrap.dedent(found["body"]) for found in FENCE.finditer(text) if found["language"] == language]


def languages(text: str) -> set[str]:
    return {found["language"] for found in FENCE.finditer(text)}


def pages() -> Sequence[Page]:
    return [Page(name=path.stem, text=path.read_text()) for path in sorted(RUNBOOKS.glob("*.md"))]


def page(name: str) -> Page:
    return next(each for each in pages() if each.name == name)


def queries() -> Iterator[tuple[str, str]]:
    """Page and query, of every PromQL line."""
    for each in pages():
        for block in each.blocks("promql"):
            for line in block.splitlines():
                yield each.name, line
