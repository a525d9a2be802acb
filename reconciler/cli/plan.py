"""Print what a pass would find, and do nothing.

One pass that takes no lease and writes no mark. Exits 3 if its findings would trip the breaker.
The table shows counts and the first findings; jsonl and csv print every one, as they are found.
--at judges as if it were later: what will be past its retention then, of what is there now. --prefix,
--virtual-key and --verdict choose what is shown and written; the breaker is asked about all.

$ reconciler plan
$ reconciler plan --format jsonl | jq -r .storage_key
$ reconciler plan --format csv > plan.csv
$ reconciler plan --at 7d --verdict expired
$ reconciler plan -o plan.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, TextIO

from reconciler.cli import running
from reconciler.cli.arguments import Commands, command
from reconciler.cli.reports import ended, one_sided, print_kept
from reconciler.cli.types import Group, Output
from reconciler.errors import ConfigError
from reconciler.model import VERDICTS, Finding, KeepReason, Outcome, Report, Verdict
from reconciler.planning.formatting import counted, human_bytes, looked_at, shortened

EXAMPLES = 2


def add(commands: Commands) -> None:
    made = command(commands, "plan", __doc__, run)
    made.add_argument("--format", choices=("table", "jsonl", "csv"), default="table", help="default: table")
    made.add_argument("--json", action="store_const", dest="format", const="jsonl", help="the same as jsonl")
    made.add_argument(
        "--output",
        "-o",
        type=Path,
        metavar="FILE",
        help="write every finding that is asked for to a file too, as jsonl",
    )
    made.add_argument("--at", metavar="TIME", help="as of then: in so long, as in 7d, or ISO 8601")
    verdicts = [verdict.value for verdict in (*VERDICTS, Verdict.MISMATCH)]
    made.add_argument(
        "--verdict",
        choices=verdicts,
        action="append",
        metavar="VERDICT",
        help=f"only these: {', '.join(verdicts)}; may be repeated",
    )
    made.add_argument("--prefix", default="", metavar="P", help="only keys that begin with it")
    made.add_argument("--virtual-key", metavar="ID", help="only the media of this virtual key")


def run(args: argparse.Namespace) -> int:
    settings = running.settings_of(args)
    if args.virtual_key is not None and not settings.catalog.media_columns.virtual_key_id:
        raise ConfigError(
            "--virtual-key: no row has one, for RECONCILER_CATALOG__MEDIA_COLUMNS__VIRTUAL_KEY_ID is empty"
        )
    from reconciler import app
    from reconciler.cli.output import console
    from reconciler.cli.progress import ProgressBar

    ahead = _ahead(args.at)
    due_at = datetime.now(UTC) + ahead + settings.delete_delay
    shown: PlanWriter
    if args.format == "jsonl":
        shown = JsonLines(sys.stdout, due_at)
    elif args.format == "csv":
        shown = Csv(sys.stdout, due_at)
    else:
        shown = PlanTable(console())
    with ExitStack() as stack:
        file: PlanFile | None = None
        if args.output is not None:
            file = stack.enter_context(PlanFile.open(args.output, due_at))
            shown = Both(file, shown)

        def emit(findings: Sequence[Finding]) -> None:
            shown.emit([each for each in findings if _is_wanted(each, args)])

        with ProgressBar() as bar:
            report = running.wait_unless_ended(lambda: app.plan(settings, emit, bar, ahead))
        if report.outcome in {Outcome.FAILED, Outcome.HALTED}:
            sys.stdout.flush()
        else:
            shown.finish(report)
            if file is not None and args.format == "table":
                console().say(f"{args.output} has {counted(file.written, 'finding')}.")
    if report.outcome is Outcome.TRIPPED:
        report = replace(report, detail=f"the breaker would trip: {report.detail}")
    return ended(report)


def _is_wanted(finding: Finding, args: argparse.Namespace) -> bool:
    return (
        finding.storage_key.startswith(args.prefix)
        and (args.verdict is None or finding.verdict in args.verdict)
        and (args.virtual_key is None or finding.virtual_key_id == args.virtual_key)
    )


def _ahead(text: str | None) -> timedelta:
    """How far in the future. Raises ConfigError for what is no time, or past."""
    if text is None:
        return timedelta(0)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return running.duration_of(text, "--at")
    ahead = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    if ahead < timedelta(0):
        message = f"--at {text!r}: it is past; what went then is in `reconciler passes`"
        raise ConfigError(message)
    return ahead


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


class PlanFile(JsonLines):
    """Findings in a file of its own, which is there only once it is complete. `written`: how many."""

    def __init__(self, part: TextIO, path: Path, due_at: datetime) -> None:
        super().__init__(part, due_at)
        self._path = path
        self.written = 0

    @classmethod
    @contextmanager
    def open(cls, path: Path, due_at: datetime) -> Iterator[PlanFile]:
        """Raises ConfigError where it cannot be written."""
        part = path.with_name(f"{path.name}.part")
        with _about(path):
            out = part.open("w", encoding="utf-8")
        try:
            with out:
                yield cls(out, path, due_at)
        finally:
            part.unlink(missing_ok=True)

    def emit(self, findings: Sequence[Finding]) -> None:
        with _about(self._path):
            super().emit(findings)
        self.written += len(findings)

    def finish(self, report: Report) -> None:
        with _about(self._path):
            super().finish(report)
            Path(self._out.name).replace(self._path)


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Say of an error that it is this file's. Others, such as a reader of stdout that is gone, are not."""
    try:
        yield
    except OSError as error:
        message = f"--output {path}: {error}"
        raise ConfigError(message) from None


class Both:
    """A file, and what is shown. The file becomes whole also where the reader of stdout goes away."""

    def __init__(self, file: PlanFile, shown: PlanWriter) -> None:
        self._file = file
        self._shown = shown
        self._gone: BrokenPipeError | None = None

    def emit(self, findings: Sequence[Finding]) -> None:
        self._file.emit(findings)
        if self._gone is None:
            try:
                self._shown.emit(findings)
            except BrokenPipeError as error:
                self._gone = error

    def finish(self, report: Report) -> None:
        self._file.finish(report)
        if self._gone is not None:
            raise self._gone
        self._shown.finish(report)


class Csv(JsonLines):
    """One finding a line, as `CsvRows` writes it."""

    def __init__(self, out: TextIO, due_at: datetime) -> None:
        super().__init__(out, due_at)
        from reconciler.cli.output import CsvRows
        from reconciler.operations.as_json import FINDING

        self._rows = CsvRows(out, FINDING)

    def emit(self, findings: Sequence[Finding]) -> None:
        self._rows.write(self._as_json(each, self._due_at) for each in findings)


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
            details(groups, out)
            out.say()
        if any(group.going + group.kept > FIRST for group in groups.values()):
            out.say(f"The first {FIRST} of each verdict; --format jsonl prints every finding.")
        print_kept(report, out)
        out.say(
            f"{looked_at(report.objects, report.records)} in {report.duration_seconds:.1f} s; no mark was"
            " written, nothing was deleted.",
            hang=0,
        )
        others = sum(report.found.values()) if not groups else 0
        if others:
            out.say(f"Of {counted(others, 'finding')} none is among those asked for.")
        if report.outcome is Outcome.TRIPPED:
            out.say(("The breaker would trip.", "red"))
        elif strange := one_sided(report):
            out.say((strange, "yellow"), hang=0)
        elif groups or others:
            return
        elif report.kept.get(KeepReason.PENDING):
            out.say("Nothing is old enough to go yet; `reconciler plan --at 7d` looks ahead.")
        else:
            out.say(("No drift was found.", "green"))


def summary(groups: Mapping[Verdict, Group], out: Output) -> None:
    """One row for each verdict: how many, how large, for example which."""
    from reconciler.cli.output import KEY_WIDTH

    rows: list[tuple[str, ...]] = []
    for verdict, group in groups.items():
        examples = ", ".join(shortened(one.storage_key, KEY_WIDTH) for one in group.first[:EXAMPLES])
        counts = (f"{group.going:,}", f"{group.kept:,}", human_bytes(group.bytes))
        rows.append((verdict, *counts, examples))
    if len(groups) > 1:
        going, kept = (sum(getattr(each, name) for each in groups.values()) for name in ("going", "kept"))
        size = human_bytes(sum(each.bytes for each in groups.values()))
        rows.append(("total", f"{going:,}", f"{kept:,}", size, ""))
    numbers = ("to go", "kept", "bytes")
    out.table(("verdict", *numbers, "for example"), rows, right=numbers)


def details(groups: Mapping[Verdict, Group], out: Output) -> None:
    """The first findings of each verdict, one a line, with the reason."""
    for verdict, group in groups.items():
        for each in group.first:
            kept = f" [kept: {each.kept}]" if each.kept else ""
            size = "" if verdict is Verdict.DANGLING else f"  {human_bytes(each.bytes)}"
            style = "yellow" if each.kept else "bold"
            about = (f"{size}  {each.reason}{kept}", "dim")
            out.say((f"{verdict:<9}  ", style), each.storage_key, about, hang=2)
