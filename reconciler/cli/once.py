"""Run every kind and the collector once, then exit.

Takes the lease as any replica does. In dry run, which is the default, nothing is deleted:
set RECONCILER_DRY_RUN=false to let it. What is found is deleted after RECONCILER_DELETE_DELAY,
by a later run.

$ reconciler once
$ reconciler once --json | jq .outcome
$ RECONCILER_DRY_RUN=false reconciler once --wait 5m
"""

import argparse

from reconciler.cli import running
from reconciler.cli.arguments import Commands, as_json, command, wait
from reconciler.cli.errors import leaf, message_of
from reconciler.cli.reports import EXIT_STATUS, ended, one_sided, print_kept
from reconciler.cli.types import Output
from reconciler.errors import ConfigError, Halt, NoLogin
from reconciler.model import KeepReason, Mode, Outcome, Report, Verdict
from reconciler.planning.formatting import counted, human_bytes, looked_at


def add(commands: Commands) -> None:
    made = command(commands, "once", __doc__, run)
    as_json(made, "the report")
    wait(made)


def run(args: argparse.Namespace) -> int:
    patience = running.duration_of(args.wait, "--wait")
    source = running.source_of(args)
    from reconciler import app
    from reconciler.cli.output import console, print_json
    from reconciler.cli.progress import ProgressBar
    from reconciler.operations import as_json

    try:
        with ProgressBar() as bar:
            report = running.wait_for(lambda: app.once(source, wait=patience, observer=bar))
    except (ConfigError, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it was, a script waits for a report that says it
        cause = leaf(error)
        halted = isinstance(cause, Halt) and not isinstance(cause, NoLogin)
        outcome = Outcome.HALTED if halted else Outcome.FAILED
        report = Report(mode=source.current().mode(), outcome=outcome, detail=message_of(cause))
    if args.json:
        print_json(as_json.report(report))
    else:
        print_report(report, console())
    return ended(report)


def print_report(report: Report, out: Output) -> None:
    """What was found, what went, what stayed and why, and how it ended."""
    found = [(verdict, f"{report.found[verdict]:,}") for verdict in Verdict if report.found.get(verdict)]
    if found:
        out.table(("verdict", "found"), found, right=("found",))
    elif report.outcome not in {Outcome.FAILED, Outcome.HALTED}:  # those may not have looked at all
        pending = report.kept.get(KeepReason.PENDING)
        out.say(one_sided(report) or ("nothing is old enough to go yet" if pending else "no drift found"))
    removed = report.removed
    went = "deleted" if report.mode is Mode.LIVE else "dry run, nothing was deleted; would have gone"
    out.say(
        f"{went}: {counted(removed.objects, 'object')} ({human_bytes(removed.bytes)}),"
        f" {counted(removed.records, 'record')}",
        hang=2,
    )
    print_kept(report, out)
    if removed.failed:
        out.say((f"failed: {removed.failed:,}", "red"))
    looked = looked_at(report.objects, report.records)
    style = "red" if EXIT_STATUS[report.outcome] else "green"
    out.say((f"{report.outcome} in {report.duration_seconds:.1f} s: {looked}", style))
