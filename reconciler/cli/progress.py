"""A progress bar on stderr, for a person who waits at a terminal."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from reconciler.model import Adopted, Mode, ObjectResult, Outcome, PassKind, Returned, Tally, Verdict
from reconciler.planning.formatting import counted
from reconciler.telemetry.observers import NullObserver

STAGES = {
    PassKind.SWEEP: "sweeping the bucket",
    PassKind.RETENTION: "looking for expired media",
    PassKind.DEPARTURE: "looking at what records have left",
}
NOT_ROWS = frozenset(ObjectResult)


class ProgressBar(NullObserver):
    """Listens as `ports.Observer`, and shows nothing where stderr is no terminal. A context manager.

    `total` is how many keys are expected to go, where that is known: the bar then fills.
    """

    def __init__(self, console: Console | None = None, *, total: int | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=total, counts="")
        self._keys = self._rows = self._gone = self._found = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def page_listed(self, keys: int) -> None:
        self._keys += keys
        self._show()

    def records_read(self, rows: int) -> None:
        self._rows += rows
        self._show()

    def pass_started(self, kind: PassKind) -> None:
        self._progress.update(self._task, description=STAGES[kind])

    def pass_finished(self, kind: PassKind, outcome: Outcome, seconds: float, tally: Tally) -> None:  # noqa: ARG002
        self._progress.update(self._task, description="collecting")

    def deleted(self, mode: Mode, verdict: Verdict, result: str, keys: int, size: int) -> None:  # noqa: ARG002
        if result in NOT_ROWS:
            self._gone += keys
            self._progress.advance(self._task, keys)
            self._show()

    def returned(self, each: Returned) -> None:
        """One object or row that an undo has dealt with."""
        self._keys += each.record_id is None
        self._rows += each.record_id is not None
        counts = f"{counted(self._keys, 'object')}, {counted(self._rows, 'row')}"
        self._progress.update(self._task, description="bringing back", counts=counts)

    def found_without_row(self, objects: int) -> None:
        """Objects that may be adopted, as the listing finds them."""
        self._progress.update(self._task, description="looking for objects without a row")
        self._found += objects

    def settled(self, page: Sequence[Adopted]) -> None:
        """Objects of an adoption, adopted or left."""
        self._gone += len(page)
        counts = f"{counted(self._gone, 'object')} looked at"
        self._progress.update(
            self._task, description="adopting", total=self._found or None, completed=self._gone, counts=counts
        )

    def _show(self) -> None:
        counts = f"{counted(self._keys, 'object')}, {counted(self._rows, 'record')} looked at"
        if self._gone:
            counts += f", {counted(self._gone, 'key')} dealt with"
        self._progress.update(self._task, counts=counts)
