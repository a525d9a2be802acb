"""The checks of `doctor`, one line each, with what mends a fault on the next."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from reconciler.model import Check, CheckStatus
from reconciler.terminal.text import printable

STYLES = {CheckStatus.OK: "green", CheckStatus.WARN: "yellow", CheckStatus.FAIL: "red"}


def print_checks(checks: Sequence[Check], console: Console) -> None:
    """Every check, then how many failed."""
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        line = Text(f"{check.status:<4}  ", style=STYLES[check.status])
        line.append(f"{check.name:<{width}}  {printable(check.detail)}", style="default")
        if check.advice and check.status is not CheckStatus.OK:
            line.append(f"\n      {'':<{width}}  → {printable(check.advice)}", style="default")
        console.print(line, soft_wrap=True)
    failed = sum(check.status is CheckStatus.FAIL for check in checks)
    warned = sum(check.status is CheckStatus.WARN for check in checks)
    console.print(
        f"{len(checks)} checks, {failed} failed, {warned} with a warning", style="red" if failed else "green"
    )
