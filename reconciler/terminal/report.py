"""The report of `once`: as the contract's JSON, and as a few lines for people."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from reconciler.model import KeepReason, Mode, Outcome, Report, Verdict
from reconciler.terminal.text import human_bytes

EXIT_STATUS = {
    Outcome.FAILED: 1,
    Outcome.HALTED: 3,
    Outcome.TRIPPED: 3,
    Outcome.PENDING: 0,
    Outcome.CONVERGED: 0,
}
"""The exit status of `once`, by outcome."""


def as_json(report: Report) -> str:
    """One line of JSON; every key is there, zero included."""
    return json.dumps(
        {
            "mode": report.mode,
            "outcome": report.outcome,
            "objects": report.objects,
            "records": report.records,
            "found": {verdict: report.found.get(verdict, 0) for verdict in Verdict},
            "deleted": {
                "objects": report.removed.objects,
                "records": report.removed.records,
                "bytes": report.removed.bytes,
            },
            "kept": {reason: report.kept.get(reason, 0) for reason in KeepReason},
            "failed": report.removed.failed,
            "duration_seconds": round(report.duration_seconds, 3),
        }
    )


def print_report(report: Report, console: Console) -> None:
    """What was found, what went, what stayed and why, and how it ended."""
    if any(report.found.values()):
        console.print(_found(report))
    elif report.outcome not in {Outcome.FAILED, Outcome.HALTED}:  # those may not have looked at all
        console.print(one_sided(report) or "no drift found")
    removed = report.removed
    went = "deleted" if report.mode is Mode.LIVE else "dry run, nothing was deleted; would have gone"
    console.print(
        f"{went}: {removed.objects:,} objects ({human_bytes(removed.bytes)}), {removed.records:,} records"
    )
    print_kept(report, console)
    if removed.failed:
        console.print(f"failed: {removed.failed:,}", style="red")
    console.print(
        f"{report.outcome} in {report.duration_seconds:.1f} s:"
        f" {report.objects:,} objects and {report.records:,} records looked at",
        style="green" if EXIT_STATUS[report.outcome] == 0 else "red",
    )


def one_sided(report: Report) -> str | None:
    """What to say instead of "no drift" where nothing could be compared: one side is empty."""
    outside = report.kept.get(KeepReason.OUTSIDE_PREFIX, 0)
    if report.records == 0 and outside:
        return (
            f"Nothing was compared: no row is in the managed prefixes, and {outside:,} are outside them."
            " Correct RECONCILER_BUCKET__PREFIXES, or see `reconciler doctor`."
        )
    if report.records == 0 and report.objects:
        return (
            f"Nothing was compared: there is no row, and {report.objects:,} objects. Is this the right"
            " database and table? See `reconciler doctor`."
        )
    if report.objects == 0 and report.records:
        return (
            f"Nothing was compared: there is no object, and {report.records:,} rows. Is this the right"
            " bucket? See `reconciler doctor`."
        )
    return None


def print_kept(report: Report, console: Console) -> None:
    """What looks like drift and stays, by reason; nothing where there is none."""
    kept = [f"{number:,} {_why(reason)}" for reason, number in sorted(report.kept.items()) if number]
    if kept:
        console.print(f"kept: {', '.join(kept)}")


def _why(reason: KeepReason) -> str:
    """Its name in the JSON; the one that could be taken for a virtual key's state is explained."""
    return "disabled (clean-up switched off)" if reason is KeepReason.DISABLED else str(reason)


def _found(report: Report) -> Table:
    table = Table("verdict", box=None, pad_edge=False)
    table.add_column("found", justify="right")
    for verdict in Verdict:
        if number := report.found.get(verdict, 0):
            table.add_row(verdict, f"{number:,}")
    return table
