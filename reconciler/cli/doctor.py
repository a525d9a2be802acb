"""Check settings, database, schema, bucket and permissions.

Looks at everything that a pass needs and at what the store can do, and says what mends a fault.
Writes nothing but scratch keys under .reconciler/ in the bucket, which it removes again.

$ reconciler doctor
"""

import argparse
from collections.abc import Sequence

from reconciler.cli import running
from reconciler.cli.arguments import Commands, command
from reconciler.cli.errors import DONE, FAILED
from reconciler.cli.types import Output
from reconciler.model import Check, CheckStatus

STYLES = {CheckStatus.OK: "green", CheckStatus.WARN: "yellow", CheckStatus.FAIL: "red"}


def add(commands: Commands) -> None:
    command(commands, "doctor", __doc__, run)


def run(args: argparse.Namespace) -> int:
    source = running.source_of(args)
    from reconciler import app
    from reconciler.cli.output import Output

    checks = running.wait_unless_ended(lambda: app.doctor(source))
    print_checks(checks, Output(highlight=False))
    return FAILED if any(check.status is CheckStatus.FAIL for check in checks) else DONE


def print_checks(checks: Sequence[Check], out: Output) -> None:
    """Every check, one line each, with what mends a fault on the next; then how many failed."""
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        out.say((f"{check.status:<4}", STYLES[check.status]), f"  {check.name:<{width}}  {check.detail}")
        if check.advice and check.status is not CheckStatus.OK:
            out.say(f"      {'':<{width}}  → {check.advice}")
    failed = sum(check.status is CheckStatus.FAIL for check in checks)
    warned = sum(check.status is CheckStatus.WARN for check in checks)
    style = "red" if failed else "green"
    out.say((f"{len(checks)} checks, {failed} failed, {warned} with a warning", style))
