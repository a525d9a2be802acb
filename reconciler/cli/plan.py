"""Print what a pass would find, and do nothing.

One pass that takes no lease and writes no mark. Exits 3 if its findings would trip the breaker.
The table shows counts and the first findings; jsonl and csv print every one, as they are found.

$ reconciler plan
$ reconciler plan --format jsonl | jq -r .storage_key
$ reconciler plan --format csv > plan.csv
"""

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol, TextIO

from reconciler.cli import running
from reconciler.cli.arguments import Commands, command
from reconciler.cli.reports import ended, one_sided, print_kept
from reconciler.cli.types import Group, Output
from reconciler.model import Finding, Outcome, Report, Verdict
from reconciler.planning.formatting import human_bytes, printable, shortened

EXAMPLES = 2


def add(commands: Commands) -> None:
    made = command(commands, "plan", __doc__, run)
    made.add_argument("--format", choices=("table", "jsonl", "csv"), default="table", help="default: table")


def run(args: argparse.Namespace) -> int:
    settings = running.settings_of(args)
    from reconciler import app
    from reconciler.cli.output import console
    from reconciler.cli.progress import ProgressBar

    due_at = datetime.now(UTC) + settings.delete_delay
    writer: PlanWriter
    if args.format == "jsonl":
        writer = JsonLines(sys.stdout, due_at)
    elif args.format == "csv":
        writer = Csv(sys.stdout, due_at)
    else:
        writer = PlanTable(console())
    with ProgressBar() as bar:
        report = running.wait_unless_ended(lambda: app.plan(settings, writer.emit, bar))
    if report.outcome in {Outcome.FAILED, Outcome.HALTED}:
        sys.stdout.flush()
    else:
        writer.finish(report)
    if report.outcome is Outcome.TRIPPED:
        report = replace(report, detail=f"the breaker would trip: {report.detail}")
    return ended(report)


class PlanWriter(Protocol):
    """What becomes of the findings, page by page, and of the report at the end."""

    def emit(self, findings: Sequence[Finding]) -> None: ...

    def finish(self, report: Report) -> None: ...


class JsonLines:
    """One JSON object a line; ASCII, so that no key can break the line or the terminal."""

    def __init__(self, out: TextIO, due_at: datetime) -> None:
        from reconciler.operations import as_json

        self._out = out
        self._due_at = due_at
        self._as_json = as_json.finding

    def emit(self, findings: Sequence[Finding]) -> None:
        self._out.writelines(json.dumps(self._as_json(each, self._due_at)) + "\n" for each in findings)

    def finish(self, report: Report) -> None:
        del report
        self._out.flush()


class Csv(JsonLines):
    """RFC 4180 with a header; control characters are written as escapes, backslashes doubled.

    So a finding is always one line, whatever its key holds.
    """

    def __init__(self, out: TextIO, due_at: datetime) -> None:
        super().__init__(out, due_at)
        from reconciler.operations.as_json import FINDING

        self._writer = csv.DictWriter(out, FINDING, lineterminator="\n")
        self._writer.writeheader()

    def emit(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            cells = self._as_json(finding, self._due_at)
            self._writer.writerow(
                {name: printable(cell) if isinstance(cell, str) else cell for name, cell in cells.items()}
            )


class PlanTable:
    """A table by verdict, then the first findings of each. Memory is bounded however much is found."""

    def __init__(self, out: Output) -> None:
        from reconciler.operations.findings import Findings

        self._out = out
        self._findings = Findings()
        self.emit = self._findings.add

    def finish(self, report: Report) -> None:
        from reconciler.operations.findings import FIRST

        out, groups = self._out, self._findings.groups
        if groups:
            summary(groups, out)
            out.say()
            _list(groups, out)
            out.say()
        if any(group.going + group.kept > FIRST for group in groups.values()):
            out.say(f"The first {FIRST} of each verdict; --format jsonl prints every finding.")
        print_kept(report, out)
        out.say(
            f"{report.objects:,} objects and {report.records:,} records looked at in"
            f" {report.duration_seconds:.1f} s; nothing was written, nothing was deleted."
        )
        if report.outcome is Outcome.TRIPPED:
            out.say(("The breaker would trip.", "red"))
        elif strange := one_sided(report):
            out.say((strange, "yellow"))
        elif not groups:
            out.say(("No drift was found.", "green"))


def summary(groups: Mapping[Verdict, Group], out: Output) -> None:
    """One row for each verdict: how many, how large, for example which."""
    from reconciler.cli.output import KEY_WIDTH

    rows = []
    for verdict, group in groups.items():
        examples = ", ".join(shortened(one.storage_key, KEY_WIDTH) for one in group.first[:EXAMPLES])
        counts = (f"{group.going:,}", f"{group.kept:,}", human_bytes(group.bytes))
        rows.append((verdict, *counts, examples))
    numbers = ("to go", "kept", "bytes")
    out.table(("verdict", *numbers, "for example"), rows, right=numbers)


def _list(groups: Mapping[Verdict, Group], out: Output) -> None:
    """The first findings of each verdict, one a line, with the reason."""
    for verdict, group in groups.items():
        for each in group.first:
            kept = f" [kept: {each.kept}]" if each.kept else ""
            about = f"  {human_bytes(each.bytes)}  {each.reason}{kept}"
            style = "yellow" if each.kept else "bold"
            out.say((f"{verdict:<9}  ", style), each.storage_key, (about, "dim"))
