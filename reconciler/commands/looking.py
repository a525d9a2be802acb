"""What looks and changes nothing: `config`, `doctor`, `plan`, `storage`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.commands import shared
from reconciler.commands.reports import ended
from reconciler.terminal.statuses import DONE, FAILED

if TYPE_CHECKING:
    from reconciler.terminal.plan import PlanWriter


def config(args: argparse.Namespace) -> int:
    source = shared.source_of(args)
    from reconciler.terminal.settings import as_json, print_settings

    if args.json:
        print(as_json(source.loaded))
    else:
        print_settings(source.loaded, shared.console())
    return DONE


def doctor(args: argparse.Namespace) -> int:
    source = shared.source_of(args)
    from reconciler import app
    from reconciler.model import CheckStatus
    from reconciler.terminal.checks import print_checks
    from reconciler.terminal.output import Output

    checks = shared.wait_unless_ended(lambda: app.doctor(source))
    print_checks(checks, Output(highlight=False))
    return FAILED if any(check.status is CheckStatus.FAIL for check in checks) else DONE


def plan(args: argparse.Namespace) -> int:
    settings = shared.settings_of(args)
    from reconciler import app
    from reconciler.model import Outcome
    from reconciler.terminal.progress import ProgressBar

    writer = _plan_writer(args.format, datetime.now(UTC) + settings.delete_delay)
    with ProgressBar() as bar:
        report = shared.wait_unless_ended(lambda: app.plan(settings, writer.emit, bar))
    if report.outcome in {Outcome.FAILED, Outcome.HALTED}:
        sys.stdout.flush()
    else:
        writer.finish(report)
    if report.outcome is Outcome.TRIPPED:
        report = replace(report, detail=f"the breaker would trip: {report.detail}")
    return ended(report)


def _plan_writer(form: str, due_at: datetime) -> PlanWriter:
    from reconciler.terminal.plan import Csv, JsonLines, PlanTable

    if form == "jsonl":
        return JsonLines(sys.stdout, due_at)
    if form == "csv":
        return Csv(sys.stdout, due_at)
    return PlanTable(shared.console())


def storage(args: argparse.Namespace) -> int:
    settings = shared.database_of(args)
    from reconciler.terminal.storage import storage as act

    shared.wait_unless_ended(lambda: act(settings, args, shared.console()))
    return DONE
