"""What the reports of `plan` and `once` have in common."""

from reconciler.cli.errors import DONE, FAILED, STOPPED, complain
from reconciler.cli.types import Output
from reconciler.model import KeepReason, Outcome, Report
from reconciler.planning.formatting import counted

EXIT_STATUS = {
    Outcome.FAILED: FAILED,
    Outcome.SUPERSEDED: FAILED,
    Outcome.HALTED: STOPPED,
    Outcome.TRIPPED: STOPPED,
    Outcome.PENDING: DONE,
    Outcome.CONVERGED: DONE,
}


EXPLAINED = {
    KeepReason.DISABLED: "clean-up switched off",
    KeepReason.PENDING: "their grace period or delay is not over",
}


def ended(report: Report) -> int:
    """Say on stderr why a report is not what was hoped for. Returns its exit status."""
    status = EXIT_STATUS[report.outcome]
    if report.notice:
        complain(report.notice)
    if status != DONE or report.detail:
        complain(report.detail or f"{report.outcome}")
    return status


def one_sided(report: Report) -> str | None:
    """What to say instead of "no drift" where nothing could be compared: one side is empty."""
    outside = report.kept.get(KeepReason.OUTSIDE_PREFIX, 0)
    if report.records == 0 and outside:
        return (
            "Nothing was compared: no row is in the managed prefixes, and"
            f" {outside:,} {'is' if outside == 1 else 'are'} outside them."
            " Correct RECONCILER_BUCKET__PREFIXES, or see `reconciler doctor`."
        )
    if report.records == 0 and report.objects:
        return (
            f"Nothing was compared: there is no row, and {counted(report.objects, 'object')}. Is this"
            " the right database and table? See `reconciler doctor`."
        )
    if report.objects == 0 and report.records:
        return (
            f"Nothing was compared: there is no object, and {counted(report.records, 'row')}. Is this"
            " the right bucket? See `reconciler doctor`."
        )
    return None


def print_kept(report: Report, out: Output) -> None:
    """What looks like drift and stays, by reason; nothing where there is none."""
    kept = [f"{number:,} {_why(reason)}" for reason, number in sorted(report.kept.items()) if number]
    if kept:
        out.say(f"kept: {', '.join(kept)}", hang=2)


def _why(reason: KeepReason) -> str:
    """Its name in the JSON; those that can be misread are explained."""
    return f"{reason} ({EXPLAINED[reason]})" if reason in EXPLAINED else str(reason)
