"""How a pass ended: its report, whatever happened, and the exit status that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from reconciler.commands import shared
from reconciler.errors import ConfigError, Halt, ReconcilerError
from reconciler.terminal.complaints import complain, leaf, unexpected
from reconciler.terminal.statuses import DONE

if TYPE_CHECKING:
    from reconciler.model import Report
    from reconciler.settings import SettingsSource


def report_of(act: Callable[[], Coroutine[Any, Any, Report]], source: SettingsSource) -> Report:
    """What `act` reports; an error of the program is a report too, since a script waits for one."""
    from reconciler.model import Outcome, Report

    try:
        return shared.wait_for(act)
    except (ConfigError, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it was, the report says it
        cause = leaf(error)
        told = unexpected(cause)
        return Report(
            mode=source.current().mode(),
            outcome=Outcome.HALTED if isinstance(cause, Halt) else Outcome.FAILED,
            detail=str(cause) if isinstance(cause, ReconcilerError) else told,
        )


def ended(report: Report) -> int:
    """Say on stderr why a report is not what was hoped for. Returns its exit status."""
    from reconciler.terminal.report import EXIT_STATUS

    status = EXIT_STATUS[report.outcome]
    if report.notice:
        complain(report.notice)
    if status != DONE or report.detail:
        complain(report.detail or f"{report.outcome}")
    return status
