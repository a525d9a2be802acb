"""Check settings, database, schema, bucket and permissions.

Looks at everything that a pass needs and at what the store can do, and says what mends a fault, and what
was not looked at. Each line comes as soon as it is known. Writes nothing but scratch keys under
.reconciler/ in the bucket, which it removes again. Exits 1 where a check has failed, and 0 where there
are warnings only: --json has the status of each.

$ reconciler doctor
$ reconciler doctor --json
"""

import argparse
from collections.abc import Sequence

from reconciler.cli import running
from reconciler.cli.arguments import Commands, as_json, command
from reconciler.cli.errors import DONE, FAILED
from reconciler.cli.types import Output
from reconciler.model import Check, CheckStatus
from reconciler.planning.formatting import counted

STYLES = {
    CheckStatus.OK: "green",
    CheckStatus.WARN: "yellow",
    CheckStatus.FAIL: "red",
    CheckStatus.SKIP: "yellow",
}
WIDTH = 18
"""Of the longest name of a check."""


def add(commands: Commands) -> None:
    as_json(command(commands, "doctor", __doc__, run), "every check")


def run(args: argparse.Namespace) -> int:
    source = running.source_of(args)
    from reconciler import app
    from reconciler.cli.output import console, print_json
    from reconciler.operations.as_json import checked

    out = console()

    def emit(check: Check) -> None:
        if not args.json:
            print_check(check, out)

    checks = running.wait_unless_ended(lambda: app.doctor(source, emit))
    if args.json:
        print_json(checked(checks))
    else:
        print_counts(checks, out)
    return FAILED if any(check.status is CheckStatus.FAIL for check in checks) else DONE


def print_check(check: Check, out: Output) -> None:
    """The check in one line, and what mends a fault on the next; several statements each on a line."""
    status = (f"{check.status:<4}", STYLES[check.status])
    out.say(status, f"  {check.name:<{WIDTH}}  {check.detail}", hang=WIDTH + 8)
    if check.advice and check.status is not CheckStatus.OK:
        first, *rest = check.advice.split("\n")
        out.say(f"      {'':<{WIDTH}}  → {first}", hang=WIDTH + 10)
        for line in rest:
            out.say(f"  {line}")


def print_counts(checks: Sequence[Check], out: Output) -> None:
    """How many there were, and how many failed."""
    counts = {status: sum(check.status is status for check in checks) for status in CheckStatus}
    failed, skipped = counts[CheckStatus.FAIL], counts[CheckStatus.SKIP]
    made = [
        counted(len(checks) - skipped, "check"),
        f"{failed} failed",
        f"{counts[CheckStatus.WARN]} with a warning",
    ]
    out.say(
        (", ".join([*made, *([f"{skipped} not looked at"] if skipped else [])]), "red" if failed else "green")
    )
