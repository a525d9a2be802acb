"""The command line: commands, exit statuses, and errors in one line that says what to do.

Nothing heavy is imported before it is needed: `--help` answers at once, and faults of the settings are
told before the adapters are loaded.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.errors import ConfigError, Halt, ReconcilerError
from reconciler.terminal.arguments import parser

if TYPE_CHECKING:
    from reconciler.model import Report
    from reconciler.settings import DatabaseSettings, SchemaSettings, Settings, SettingsSource
    from reconciler.terminal.plan import PlanWriter

T = TypeVar("T")

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 3
"""Exit statuses of the contract; STOPPED is halted or tripped."""
INTERRUPTED = 130
"""Ctrl-C, as shells report it (128 + SIGINT)."""
TERMINATED = 143
"""SIGTERM (128 + SIGTERM) of a command that only looks. `once` answers with its report, `run` with 0."""
NO_READER = 141
"""Whoever read our output has gone (128 + SIGPIPE)."""


class Terminated(Exception):
    """SIGTERM asked a command that only looks to end."""


SILENT: Mapping[type[BaseException], int] = {
    KeyboardInterrupt: INTERRUPTED,
    Terminated: TERMINATED,
    BrokenPipeError: NO_READER,
}
"""What needs no words, and its exit status."""

TOLD: Mapping[type[BaseException], int] = {ConfigError: USAGE, Halt: STOPPED, ReconcilerError: FAILED}
"""Errors whose message is for the reader, and their exit status; the first that applies."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A key that the terminal's encoding lacks must not end the listing.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # text streams have it
    # What is imported stays, and a listed page holds thousands of short-lived tuples: looking through
    # them at Python's own threshold took a quarter of a sweep's processor time (measured, 3.11).
    gc.set_threshold(50_000)
    args = parser().parse_args(argv)
    try:
        _log_until_settings_are_read(args)
        status = COMMANDS[args.command](args)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the last place that can turn an error into a line
        return _failed(error)
    return status


def _failed(error: BaseException) -> int:
    """Say the error, and give the exit status that it stands for."""
    error = _leaf(error)
    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, BrokenPipeError):
        _forget_stdout()
    for kind, status in SILENT.items():
        if isinstance(error, kind):
            return status
    for kind, status in TOLD.items():
        if isinstance(error, kind):
            complain(str(error))
            return status
    _log_unexpected(error)
    return FAILED


def _leaf(error: BaseException) -> BaseException:
    """The error itself, or the first one inside a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _log_unexpected(error: BaseException) -> None:
    import structlog

    from reconciler.telemetry.logs import describe

    structlog.get_logger(__name__).debug("unexpected error", exc_info=error)
    complain(f"{describe(error)} (unexpected; --log-level debug shows where)")


def _forget_stdout() -> None:
    """Point stdout at nothing, else the interpreter fails once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str) -> None:
    """One line on stderr for each line of the message, without the secrets that it may quote."""
    from reconciler.telemetry.masking import mask
    from reconciler.terminal.text import printable

    for line in mask(message).splitlines() or ["failed"]:
        print(f"reconciler: {printable(line)}", file=sys.stderr)


# --- commands ---------------------------------------------------------------------------------------


def migrate(args: argparse.Namespace) -> int:
    from reconciler.settings import DatabaseSettings, SchemaSettings, load

    settings = load(kind=SchemaSettings if args.sql else DatabaseSettings, warn=complain)
    _log_as(settings, args)
    from reconciler import app

    triggers = True if args.install_triggers else False if args.remove_triggers else None
    app.migrate(
        settings, sql=args.sql, create_index=args.create_index, with_triggers=triggers, out=sys.stdout
    )
    return DONE


def config(args: argparse.Namespace) -> int:
    source = _source(args)
    from reconciler.terminal.output import Output
    from reconciler.terminal.settings import as_json, print_settings

    if args.json:
        print(as_json(source.loaded))
    else:
        print_settings(source.loaded, _console(Output))
    return DONE


def doctor(args: argparse.Namespace) -> int:
    source = _source(args)
    from reconciler import app
    from reconciler.model import CheckStatus
    from reconciler.terminal.checks import print_checks
    from reconciler.terminal.output import Output

    checks = _wait_for(lambda: _until_sigterm(app.doctor(source)))
    print_checks(checks, Output(highlight=False))
    return FAILED if any(check.status is CheckStatus.FAIL for check in checks) else DONE


def plan(args: argparse.Namespace) -> int:
    settings = _settings(args)
    from reconciler import app
    from reconciler.model import Outcome
    from reconciler.terminal.progress import ProgressBar

    writer = _plan_writer(args.format, datetime.now(UTC) + settings.delete_delay)
    with ProgressBar() as bar:
        report = _wait_for(lambda: _until_sigterm(app.plan(settings, writer.emit, bar)))
    if report.outcome in {Outcome.FAILED, Outcome.HALTED}:
        sys.stdout.flush()
    else:
        writer.finish(report)
    return _ended(report)


def _plan_writer(form: str, due_at: datetime) -> PlanWriter:
    from reconciler.terminal.output import Output
    from reconciler.terminal.plan import Csv, JsonLines, PlanTable

    if form == "jsonl":
        return JsonLines(sys.stdout, due_at)
    if form == "csv":
        return Csv(sys.stdout, due_at)
    return PlanTable(_console(Output))


def once(args: argparse.Namespace) -> int:
    wait = _duration(args.wait, "--wait")
    source = _source(args)
    from reconciler import app
    from reconciler.terminal.output import Output
    from reconciler.terminal.progress import ProgressBar
    from reconciler.terminal.report import as_json, print_report

    with ProgressBar() as bar:
        report = _report_of(lambda: app.once(source, wait=wait, observer=bar), source)
    if args.json:
        print(as_json(report))
    else:
        print_report(report, _console(Output))
    return _ended(report)


def _report_of(act: Callable[[], Coroutine[Any, Any, Report]], source: SettingsSource) -> Report:
    """What `act` reports; an error of the program is a report too, since a script waits for one."""
    import structlog

    from reconciler.model import Outcome, Report
    from reconciler.telemetry.logs import describe

    try:
        return _wait_for(act)
    except (ConfigError, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it was, the report says it
        cause = _leaf(error)
        structlog.get_logger(__name__).debug("unexpected error", exc_info=cause)
        known = isinstance(cause, ReconcilerError)
        return Report(
            mode=source.current().mode(),
            outcome=Outcome.HALTED if isinstance(cause, Halt) else Outcome.FAILED,
            detail=str(cause) if known else f"{describe(cause)} (unexpected; --log-level debug shows where)",
        )


def _ended(report: Report) -> int:
    """Say on stderr why a report is not what was hoped for. Returns its exit status."""
    from reconciler.terminal.report import EXIT_STATUS

    status = EXIT_STATUS[report.outcome]
    if report.notice:
        complain(report.notice)
    if status != DONE:
        complain(report.detail or f"{report.outcome}")
    return status


def pause(args: argparse.Namespace) -> int:
    settings = _database(args)
    from reconciler import app
    from reconciler.planning.wording import pause as told
    from reconciler.terminal.operator import operator
    from reconciler.terminal.text import printable

    standing, ours = _wait_for(lambda: app.pause(settings, by=operator(), reason=args.reason))
    if not ours:
        kept = "that pause and its reason are kept, and nothing of this one is; `reconciler resume` ends it"
        print(printable(f"already {told(standing)}: {kept}"))
        return DONE
    print(printable(f"{told(standing)}: within a second nothing more is deleted, until `reconciler resume`"))
    return DONE


def resume(args: argparse.Namespace) -> int:
    settings = _database(args)
    from reconciler import app
    from reconciler.planning.wording import pause as told
    from reconciler.terminal.operator import operator
    from reconciler.terminal.text import printable

    before = _wait_for(lambda: app.resume(settings, by=operator()))
    print(printable(f"resumed; it was {told(before)}") if before.paused else "it was not paused")
    return DONE


def run(args: argparse.Namespace) -> int:
    source = _source(args, daemon=True)
    from reconciler.app import daemon

    _wait_for(lambda: daemon.run(source))
    return DONE


def adopt_bucket(args: argparse.Namespace) -> int:
    wait = _duration(args.wait, "--wait")
    settings = _settings(args)
    from reconciler import app

    def tell(line: str) -> None:
        from reconciler.terminal.text import printable

        print(printable(line))

    _wait_for(lambda: app.adopt(settings, yes=args.yes, wait=wait, tell=tell))
    return DONE


def decide(args: argparse.Namespace) -> int:
    settings = _database(args)
    from reconciler.terminal import deciding
    from reconciler.terminal.output import Output

    act = {"passes": deciding.passes, "approve": deciding.approve, "discard": deciding.discard}[args.command]
    _wait_for(lambda: _until_sigterm(act(settings, args, _console(Output))))
    return DONE


def marks(args: argparse.Namespace) -> int:
    settings = _database(args)
    from reconciler.terminal.marking import marks as act
    from reconciler.terminal.output import Output

    return _wait_for(lambda: _until_sigterm(act(settings, args, _console(Output), complain)))


def hold(args: argparse.Namespace) -> int:
    settings = _database(args)
    from reconciler.terminal.holding import hold as act
    from reconciler.terminal.output import Output

    return _wait_for(lambda: _until_sigterm(act(settings, args, _console(Output), complain)))


def storage(args: argparse.Namespace) -> int:
    settings = _database(args)
    from reconciler.terminal.output import Output
    from reconciler.terminal.storage import storage as act

    _wait_for(lambda: _until_sigterm(act(settings, args, _console(Output))))
    return DONE


def undo(args: argparse.Namespace) -> int:
    source = _source(args)
    from reconciler.terminal.output import Output
    from reconciler.terminal.undoing import undo as act

    return _wait_for(lambda: _until_sigterm(act(source, args, _console(Output), complain)))


def erase(args: argparse.Namespace) -> int:
    settings = _database(args)
    from reconciler.terminal.erasing import erase as act

    return _wait_for(lambda: _until_sigterm(act(settings, args, complain)))


def demo(args: argparse.Namespace) -> int:
    from reconciler import demo as shown

    return _wait_for(lambda: shown.demo(shown.DemoOptions(objects=args.objects, keep=args.keep)))


# --- what commands share ----------------------------------------------------------------------------


def _wait_for(act: Callable[[], Coroutine[Any, Any, T]]) -> T:
    import anyio

    gc.freeze()
    return anyio.run(act)


async def _until_sigterm(act: Coroutine[Any, Any, T]) -> T:
    """Cancelled by SIGTERM, instead of dying in the middle with scratch keys left in the bucket."""
    import anyio

    async def watch() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                raise Terminated

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        result = await act
        group.cancel_scope.cancel()
    return result


def _settings(args: argparse.Namespace) -> Settings:
    from reconciler.settings import load

    settings = load(warn=complain)
    _log_as(settings, args)
    return settings


def _database(args: argparse.Namespace) -> DatabaseSettings:
    from reconciler.settings import DatabaseSettings, load

    settings = load(kind=DatabaseSettings, warn=complain)
    _log_as(settings, args)
    return settings


def _source(args: argparse.Namespace, *, daemon: bool = False) -> SettingsSource:
    from reconciler.settings import SettingsSource

    source = SettingsSource(warn=complain)
    _log_as(source.current(), args, daemon=daemon)
    return source


def _log_as(settings: SchemaSettings, args: argparse.Namespace, *, daemon: bool = False) -> None:
    """The option, else the setting, else `info` for the daemon and `warning` for what a person watches."""
    from reconciler.settings import DatabaseSettings, known_secrets
    from reconciler.telemetry.logs import configure

    urls = [settings.database_url.get_secret_value()] if isinstance(settings, DatabaseSettings) else []
    asked = "log_level" in settings.model_fields_set
    level = args.log_level or (settings.log_level if asked or daemon else "warning")
    configure(settings.log_format, level, secrets=known_secrets(None, *urls))


def _log_until_settings_are_read(args: argparse.Namespace) -> None:
    from reconciler.settings.secrets import known_secrets
    from reconciler.telemetry.logs import configure

    configure("auto", args.log_level or "warning", secrets=known_secrets())


def _duration(text: str, option: str) -> timedelta:
    from reconciler.settings.values import duration

    try:
        return duration(text)
    except ValueError as error:
        message = f"{option} {text!r}: {error}"
        raise ConfigError(message) from None


def _console(make: Callable[..., Any]) -> Any:  # noqa: ANN401 - rich is imported where it is used
    """stdout; where that is no terminal, lines are as long as they need to be."""
    return make(highlight=False, width=None if sys.stdout.isatty() else 200)


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "demo": demo,
    "migrate": migrate,
    "config": config,
    "doctor": doctor,
    "plan": plan,
    "once": once,
    "run": run,
    "adopt-bucket": adopt_bucket,
    "passes": decide,
    "approve": decide,
    "discard": decide,
    "marks": marks,
    "hold": hold,
    "storage": storage,
    "pause": pause,
    "resume": resume,
    "undo": undo,
    "erase": erase,
}


if __name__ == "__main__":
    sys.exit(main())
