"""The demo's output: lines, a plan as a table, progress; plain lines where the output is not a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reconciler.model import Mode, ObjectResult, Report, Verdict
from reconciler.operations.findings import Group
from reconciler.telemetry.observers import NullObserver

PLAIN_WIDTH = 120


class Counter:
    """Counts towards a total: a bar on a terminal, a line at each quarter elsewhere."""

    def __init__(self, console: Console, what: str, total: int) -> None:
        self._console = console
        self._what = what
        self._total = max(1, total)
        self._done = 0
        self._quarters = 0
        self._bar = Progress(
            TextColumn(f"  {what}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=self._total)

    def add(self, number: int) -> None:
        self._done += number
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._done)
        elif (quarters := 4 * self._done // self._total) > self._quarters:
            self._quarters = quarters
            self._console.print(f"  {self._what}: {self._done:,} of {self._total:,}", soft_wrap=True)

    @contextmanager
    def shown(self) -> Iterator[Counter]:
        with self._bar:
            yield self


class Deletions(NullObserver):
    """Implements `ports.Observer`: feeds the keys that are done with to a counter."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def deleted(self, mode: Mode, verdict: Verdict, result: str, keys: int, size: int) -> None:  # noqa: ARG002
        # The results of a key's rows are counted separately from the key's own.
        if result in frozenset(ObjectResult):
            self._counter.add(keys)


class Screen:
    """A console, and what prints the findings of a plan on it."""

    def __init__(self, console: Console, table: Callable[[Mapping[Verdict, Group]], None]) -> None:
        if not console.is_terminal:
            console.width = PLAIN_WIDTH
        self._console = console
        self._table = table

    def step(self, text: str) -> None:
        """What happens next, after an empty line."""
        self._console.print(f"\n{text}", style="bold", markup=False, soft_wrap=not self._console.is_terminal)

    def say(self, text: str) -> None:
        self._console.print(f"  {text}", markup=False, soft_wrap=not self._console.is_terminal)

    def verdict(self, text: str, *, good: bool) -> None:
        """The line that everything was done for."""
        style = "bold green" if good else "bold red"
        self._console.print(f"\n{text}", style=style, markup=False, soft_wrap=not self._console.is_terminal)

    def plan(self, groups: Mapping[Verdict, Group], report: Report) -> None:
        """A row for each verdict, then what looks like drift and stays."""
        self._table(groups)
        kept = ", ".join(f"{number:,} {reason}" for reason, number in report.kept.items() if number)
        self.say(f"kept, and why: {kept or 'nothing'}")

    @contextmanager
    def waiting(self, why: str) -> Iterator[None]:
        """Say why, with something that moves on a terminal."""
        self.say(why)
        with self._console.status("waiting"):
            yield

    def counter(self, what: str, total: int) -> Counter:
        return Counter(self._console, what, total)

    def shell(self, command: str) -> None:
        """A line to be copied, with nothing before or behind it."""
        self._console.print(command, markup=False, soft_wrap=True)
