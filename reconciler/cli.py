"""The command line: which command, and what its end means: an exit status, and errors in one line each.

Nothing heavy is imported before it is needed: `--help` answers at once, and faults of the settings are
told before the adapters are loaded.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from reconciler.commands import acting, demo, looking, recovering, steering
from reconciler.commands.shared import Terminated, log_until_settings_are_read
from reconciler.errors import ConfigError, ErrorKind, Halt, NotDone, ReconcilerError
from reconciler.terminal.arguments.root import parser
from reconciler.terminal.complaints import complain, leaf, unexpected
from reconciler.terminal.hints import with_hint
from reconciler.terminal.statuses import FAILED, INTERRUPTED, NO_READER, STOPPED, TERMINATED, USAGE

COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "demo": demo.demo,
    "migrate": acting.migrate,
    "config": looking.config,
    "doctor": looking.doctor,
    "plan": looking.plan,
    "once": acting.once,
    "run": acting.run,
    "adopt-bucket": acting.adopt_bucket,
    "passes": steering.decide,
    "approve": steering.decide,
    "discard": steering.decide,
    "marks": steering.marks,
    "hold": steering.hold,
    "storage": looking.storage,
    "pause": steering.pause,
    "resume": steering.resume,
    "undo": recovering.undo,
    "erase": recovering.erase,
}

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
    _open_streams()
    # What is imported stays, and a listed page holds thousands of short-lived tuples: looking through
    # them at Python's own threshold took a quarter of a sweep's processor time (measured, 3.11).
    gc.set_threshold(50_000)
    args = parser().parse_args(argv)
    try:
        log_until_settings_are_read(args)
        status = COMMANDS[args.command](args)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the last place that can turn an error into a line
        return _failed(error)
    return status


def _open_streams() -> None:
    """Both outputs are there, and write every key."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Closed by the shell (`>&-`): nobody reads, and no file opened later may take its number.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - open until the program ends
        # A key that the terminal's encoding lacks must not end the listing.
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _failed(error: BaseException) -> int:
    """Say the error, and give the exit status that it stands for."""
    error = leaf(error)
    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, BrokenPipeError):
        _forget_stdout()
    for kind, status in SILENT.items():
        if isinstance(error, kind):
            return status
    if isinstance(error, NotDone):
        complain(with_hint(error))
        return USAGE if error.kind in {ErrorKind.INVALID, ErrorKind.NOT_READY} else FAILED
    for kind, status in TOLD.items():
        if isinstance(error, kind):
            complain(str(error))
            return status
    complain(unexpected(error))
    return FAILED


def _forget_stdout() -> None:
    """Point stdout at nothing, else the interpreter fails once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
