"""The findings of `plan`: streamed as JSON lines or CSV, or gathered into a table of bounded size."""

from __future__ import annotations

import bisect
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler.model import Finding, Outcome, Report, Verdict
from reconciler.terminal.report import one_sided, print_kept
from reconciler.terminal.text import human_bytes, printable, shortened, timestamp

FIELDS = (
    "verdict",
    "storage_key",
    "bytes",
    "reason",
    "virtual_key_id",
    "object_last_modified",
    "record_created_at",
    "due_at",
)
"""The fields of a finding in JSON lines and CSV, in order."""

LISTED = 10
"""Findings of each verdict that the table spells out; all of them are in the other formats."""

EXAMPLES = 2
KEY_WIDTH = 60


class PlanWriter(Protocol):
    """What becomes of the findings, page by page, and of the report at the end."""

    def emit(self, findings: Sequence[Finding]) -> None: ...

    def finish(self, report: Report) -> None: ...


def row(finding: Finding, due_at: datetime) -> Mapping[str, str | int | None]:
    """A finding as the contract names its fields. What is kept is never due.

    `due_at` is when a mark written now would be due.
    """
    return {
        "verdict": finding.verdict,
        "storage_key": finding.storage_key,
        "bytes": finding.bytes,
        "reason": finding.reason,
        "virtual_key_id": finding.virtual_key_id,
        "object_last_modified": timestamp(finding.object_last_modified),
        "record_created_at": timestamp(finding.record_created_at),
        "due_at": timestamp(due_at) if finding.kept is None else None,
    }


class JsonLines:
    """One JSON object a line; ASCII, so that no key can break the line or the terminal."""

    def __init__(self, out: TextIO, due_at: datetime) -> None:
        self._out = out
        self._due_at = due_at

    def emit(self, findings: Sequence[Finding]) -> None:
        self._out.writelines(json.dumps(row(finding, self._due_at)) + "\n" for finding in findings)

    def finish(self, report: Report) -> None:
        del report
        self._out.flush()


class Csv:
    """RFC 4180 with a header; control characters are written as escapes, backslashes doubled.

    So a finding is always one line, whatever its key holds.
    """

    def __init__(self, out: TextIO, due_at: datetime) -> None:
        self._out = out
        self._due_at = due_at
        self._writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
        self._writer.writeheader()

    def emit(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            cells = row(finding, self._due_at)
            self._writer.writerow(
                {name: printable(cell) if isinstance(cell, str) else cell for name, cell in cells.items()}
            )

    def finish(self, report: Report) -> None:
        del report
        self._out.flush()


@dataclass(slots=True)
class Group:
    """The findings of one verdict: counted, and the first few of them by key."""

    going: int = 0
    kept: int = 0
    bytes: int = 0
    first: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        self.going += finding.kept is None
        self.kept += finding.kept is not None
        self.bytes += finding.bytes
        bisect.insort(self.first, finding, key=lambda one: (one.kept is not None, one.storage_key))
        del self.first[LISTED:]


class PlanTable:
    """A table by verdict, then the first findings of each. Memory is bounded however much is found."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._groups: dict[Verdict, Group] = {}

    def emit(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            self._groups.setdefault(finding.verdict, Group()).add(finding)

    def finish(self, report: Report) -> None:
        console, groups = self._console, [(v, self._groups[v]) for v in Verdict if v in self._groups]
        if groups:
            console.print(summary(groups))
            console.print()
            console.print(listing(groups), soft_wrap=True)
        if any(group.going + group.kept > LISTED for _, group in groups):
            console.print(f"The first {LISTED} of each verdict; --format jsonl prints every finding.")
        print_kept(report, console)
        console.print(
            f"{report.objects:,} objects and {report.records:,} records looked at in"
            f" {report.duration_seconds:.1f} s; nothing was written, nothing was deleted."
        )
        if report.outcome is Outcome.TRIPPED:
            console.print("The breaker would trip.", style="red")
        elif strange := one_sided(report):
            console.print(strange, style="yellow")
        elif not groups:
            console.print("No drift was found.", style="green")


def summary(groups: Sequence[tuple[Verdict, Group]]) -> Table:
    """One row for each verdict: how many, how large, for example which."""
    table = Table("verdict", box=None, pad_edge=False)
    for heading in ("to go", "kept", "bytes"):
        table.add_column(heading, justify="right")
    table.add_column("for example", overflow="fold")
    for verdict, group in groups:
        examples = [shortened(printable(one.storage_key), KEY_WIDTH) for one in group.first[:EXAMPLES]]
        table.add_row(
            verdict,
            f"{group.going:,}",
            f"{group.kept:,}",
            human_bytes(group.bytes),
            Text(", ".join(examples)),
        )
    return table


def listing(groups: Sequence[tuple[Verdict, Group]]) -> Text:
    """The first findings of each verdict, one a line, with the reason."""
    lines = Text()
    for verdict, group in groups:
        for finding in group.first:
            kept = f" [kept: {finding.kept}]" if finding.kept else ""
            lines.append(f"{verdict:<9}  ", style="yellow" if finding.kept else "bold")
            lines.append(printable(finding.storage_key))
            lines.append(f"  {human_bytes(finding.bytes)}  {printable(finding.reason)}{kept}\n", style="dim")
    return lines
