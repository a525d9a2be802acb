"""What goes wrong: lines on stderr, and an exit status. Imports nothing heavy before there is need to."""

import os
import shlex
import sys
from collections.abc import Mapping

from reconciler.errors import ConfigError, ErrorKind, Halt, NoLogin, NotDone, ReconcilerError
from reconciler.planning.formatting import printable

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 3
"""Exit statuses of the contract; STOPPED is halted or tripped."""
INTERRUPTED, NO_READER, TERMINATED = 130, 141, 143
"""As shells report SIGINT, SIGPIPE and SIGTERM. `once` answers SIGTERM with its report, `run` with 0."""

HINTS: Mapping[str, str] = {
    "no_such_pass": "{message}; reconciler passes lists them",
    "later_pass_first": "{message} (reconciler passes show {later})",
    "both_sides": "{message}: reconciler approve {pass_id} --i-understand",
    "not_swept": "{message}: `reconciler once` does, or name a number with --objects",
    "no_owner_source": "{message}: set RECONCILER_ADOPTION__OWNER_FROM, or name one for all with --owner",
    "no_target": "{message}: --key KEY, --prefix P or --virtual-key ID",
    "holds_of_others": "{message}; --author NAME lifts one author's, --all-authors everybody's",
    "empty_target": "{message}; `reconciler pause` stops it all",
    "end_is_past": "--until: {message}",
    "reason_missing": "--reason: {message}",
    "key_refused": "{message}; `reconciler history {key}` says what was done",
    "no_receiver": "{message}; `reconciler doctor` looks at RECONCILER_EVENTS__WEBHOOK_URL",
    "deleted_recoverably": "{message}; `reconciler undo --key {key}` brings it back",
}
"""What can be done on the command line about a request that was not done, by the error's code."""


class Terminated(Exception):
    """SIGTERM asked a command that only looks to end."""


SILENT: Mapping[type[BaseException], int] = {
    KeyboardInterrupt: INTERRUPTED,
    Terminated: TERMINATED,
    BrokenPipeError: NO_READER,
}
"""What needs no words, and its exit status."""


def complain(message: str) -> None:
    """One line on stderr for each line of the message, without the secrets that it may quote."""
    from reconciler.telemetry.masking import mask

    for line in mask(message).splitlines() or ["failed"]:
        print(f"reconciler: {printable(line)}", file=sys.stderr)


def failed(error: BaseException) -> int:
    """Say the error, and give the exit status that it stands for."""
    error = leaf(error)
    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, BrokenPipeError):
        # Point stdout at nothing, else the interpreter fails once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for kind, status in SILENT.items():
        if isinstance(error, kind):
            return status
    complain(message_of(error))
    return status_of(error)


def status_of(error: BaseException) -> int:
    if isinstance(error, NoLogin):
        return FAILED
    if isinstance(error, Halt):
        return STOPPED
    if isinstance(error, NotDone):
        return USAGE if error.kind in {ErrorKind.INVALID, ErrorKind.NOT_READY} else FAILED
    return USAGE if isinstance(error, ConfigError) else FAILED


def message_of(error: BaseException) -> str:
    """What a person is to read, with the command or option that helps."""
    if isinstance(error, NotDone):
        fields = {name: shlex.quote(str(value)) for name, value in error.fields.items()}
        return HINTS.get(error.code, "{message}").format(**fields, message=error)
    return str(error) if isinstance(error, ReconcilerError) else _unexpected(error)


def leaf(error: BaseException) -> BaseException:
    """The error itself, or the first one inside a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _unexpected(error: BaseException) -> str:
    """What to say of an error that no message was written for; the log has its traceback."""
    import structlog

    from reconciler.telemetry.logs import describe

    structlog.get_logger(__name__).debug("unexpected error", exc_info=error)
    return f"{describe(error)} (unexpected; --log-level debug shows where)"
