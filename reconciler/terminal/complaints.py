"""What goes wrong, as lines on stderr. Imports nothing heavy before there is something to say."""

from __future__ import annotations

import sys


def complain(message: str) -> None:
    """One line on stderr for each line of the message, without the secrets that it may quote."""
    from reconciler.telemetry.masking import mask
    from reconciler.terminal.text import printable

    for line in mask(message).splitlines() or ["failed"]:
        print(f"reconciler: {printable(line)}", file=sys.stderr)


def leaf(error: BaseException) -> BaseException:
    """The error itself, or the first one inside a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def unexpected(error: BaseException) -> str:
    """What to say of an error that no message was written for; the log has its traceback."""
    import structlog

    from reconciler.telemetry.logs import describe

    structlog.get_logger(__name__).debug("unexpected error", exc_info=error)
    return f"{describe(error)} (unexpected; --log-level debug shows where)"
