"""What is printed: lines and tables for people, JSON for scripts."""

import csv
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from itertools import compress
from typing import Never, TextIO, TypeAlias, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler.planning.formatting import printable

T = TypeVar("T")

Part: TypeAlias = str | tuple[str, str]
"""Some text, or with its style."""

LISTED = 50
"""Rows of a table; in jsonl all are printed."""

KEY_WIDTH = 60
"""Of a key, or of another name, in a table."""


PIPED = 1_000
"""The width of what no terminal shows: a row is a line there, whatever it holds, unless COLUMNS is set."""


WIDE = 140
"""Columns from which on a table with many columns breaks no name."""


WORD = re.compile(r"\s*(?:\d{4}-\d\d-\d\d \d\d:\S+|\S+)")
"""A word with the blanks before it; a day and its hour are one."""


class Output(Console):
    """A console on which every character is made visible, and whose reader may go away: that raises
    BrokenPipeError where rich ends the program, which has servers and a lease to give back.
    """

    def on_broken_pipe(self) -> Never:
        self.quiet = True  # what is still said on the way out must not fail once more
        raise BrokenPipeError

    def say(self, *parts: Part, hang: int | None = None) -> None:
        """One line, as long as it needs to be. With `hang`, a terminal that is narrower gets it in several
        lines, the later ones indented by so much; no word is broken, so that a key can be copied.
        """
        text = _text(*parts)
        if hang is not None and self.width < PIPED:
            text = _hung(text, self.width, hang)
        self.print(text, soft_wrap=True)

    def table(
        self,
        headings: Sequence[str],
        rows: Iterable[Sequence[Part]],
        *,
        right: Collection[str] = (),
        header: bool = True,
    ) -> None:
        """The columns in `right` are numbers."""
        made = Table(box=None, pad_edge=False, show_header=header)
        for heading in headings:
            made.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
        for row in rows:
            made.add_row(*map(_text, row))
        self.print(made)

    def records(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        first: Collection[str],
        named: Collection[str],
        right: Collection[str] = (),
    ) -> None:
        """A table without the columns that no row fills. Where a terminal has no room for it, paragraphs: on
        the first line the columns in `first`, below it the others, with the headings of those in `named`.
        """
        filled = [any(row[place] for row in rows) for place in range(len(headings))]
        if self.width >= WIDE:
            cut = [list(compress(row, filled)) for row in rows]
            self.table(list(compress(headings, filled)), cut, right=right)
            return
        for row in rows:
            cells = [(heading, cell) for heading, cell in zip(headings, row, strict=True) if cell]
            self.say(("  ".join(cell for heading, cell in cells if heading in first), "bold"), hang=2)
            rest = [(heading, cell) for heading, cell in cells if heading not in first]
            words = "; ".join(f"{heading} {cell}" if heading in named else cell for heading, cell in rest)
            self.say(f"  {words}", hang=2)


def _text(*parts: Part) -> Text:
    text = Text()
    for part in parts:
        words, style = (part, "") if isinstance(part, str) else part
        text.append(printable(words), style=style)
    return text


def _hung(text: Text, width: int, indent: int) -> Text:
    """The text in lines of that width, broken between words, all but the first of them indented."""
    breaks, used = [], 0
    for word in WORD.finditer(text.plain):
        size = cell_len(word[0])
        if used and used + size > width:
            breaks.append(word.start())
            used, size = indent, cell_len(word[0].lstrip())
        used += size
    first, *below = text.divide(breaks)
    lines = [line[len(line) - len(line.plain.lstrip()) :] for line in below]
    return Text("\n").join([first, *(Text(" " * indent) + line for line in lines)])


def console() -> Output:
    """stdout; where that is no terminal and COLUMNS is not set, lines are as long as they need to be."""
    asked = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Output(highlight=False, width=None if asked else PIPED)


def print_json(what: object) -> None:
    """One line; ASCII, so that no key can break the line or the terminal."""
    print(json.dumps(what))


async def print_lines(
    pages: AsyncIterator[Sequence[T]], as_json: Callable[[T], Mapping[str, object]], limit: int | None
) -> None:
    """One line of JSON each, the first `limit` of them; None for every one."""
    async for page in limited(pages, limit):
        sys.stdout.writelines(json.dumps(as_json(each)) + "\n" for each in page)


async def limited(pages: AsyncIterator[Sequence[T]], limit: int | None) -> AsyncIterator[Sequence[T]]:
    """The pages up to that number of their parts in all; None for every one."""
    left = limit
    async for page in pages:
        yield page[:left]
        left = None if left is None else left - len(page)
        if left is not None and left <= 0:
            return


class CsvRows:
    """RFC 4180 with a header; control characters are written as escapes, backslashes doubled.

    So a row is always one line, whatever its key holds. A list is written with blanks between its parts.
    """

    def __init__(self, out: TextIO, names: Sequence[str]) -> None:
        self._writer = csv.DictWriter(out, names, lineterminator="\n")
        self._writer.writeheader()

    def write(self, rows: Iterable[Mapping[str, object]]) -> None:
        for row in rows:
            self._writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: object) -> object:
    text = " ".join(map(str, value)) if isinstance(value, list) else value
    return printable(text) if isinstance(text, str) else text


async def first(pages: AsyncIterator[Sequence[T]], limit: int) -> tuple[Sequence[T], bool]:
    """The first `limit` of them, and whether there are more."""
    found: list[T] = []
    async for page in pages:
        found += page
        if len(found) > limit:
            break
    return found[:limit], len(found) > limit
