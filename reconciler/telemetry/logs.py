"""Configure structlog once: console on a terminal, JSON elsewhere; to stderr; without secrets."""

import logging
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, TextIO

from reconciler.lean import without
from reconciler.telemetry.masking import HIDDEN, KNOWN, mask

# For tracebacks that we write otherwise, and for threads of a kind that never run here: 5 MiB.
with without("rich", "greenlet"):
    import structlog
    from structlog.typing import EventDict, Processor

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

SECRET_NAMES = re.compile(r"(?i)password|secret|token$|credential|authorization")
FIRST = ("timestamp", "level", "event", "logger")
"""The first fields of every line, in this order; `logger` names the library that logged the line."""


def configure(
    log_format: str = "auto",
    log_level: str = "info",
    stream: TextIO | None = None,
    *,
    secrets: Iterable[str] = (),
) -> None:
    """Set up structlog and the standard library's logging. It may be called again; the last call wins.

    `log_format` is auto, console or json; `log_level` debug, info, warning or error. `secrets` are
    values that nothing may print.
    """
    KNOWN.set(secrets)
    out = sys.stderr if stream is None else stream
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    level = LEVELS[log_level]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _errors_in_full if level <= LEVELS["debug"] else _errors_in_one_line,
        mask_secrets,
        _in_order,
    ]
    last: Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    _configure_standard_library([*shared, last], level, out)


def _configure_standard_library(processors: list[Processor], level: int, out: TextIO) -> None:
    # Libraries log through logging. Their lines below warning are useful only when debugging.
    stream = logging.StreamHandler(out)
    stream.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, _in_one_line, *processors[:-1]],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, processors[-1]],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [stream]
    # Never at debug: there botocore logs the headers that it signs, and asyncpg what it sends.
    root.setLevel(max(level, LEVELS["warning"]) if level > LEVELS["debug"] else LEVELS["info"])
    logging.captureWarnings(capture=True)


def mask_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Processor that masks credentials in values of any depth."""
    for name in event:
        event[name] = _masked(name, event[name])
    return event


def _in_order(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {name: event.pop(name) for name in FIRST if name in event} | dict(event)


def _in_one_line(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Processor for a library's message: the event is its text, which may have several lines."""
    event["event"] = " ".join(str(event["event"]).split())
    return event


def _masked(name: str, value: Any) -> Any:  # noqa: ANN401 - any logged value
    if SECRET_NAMES.search(name) and value:
        return HIDDEN
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {key: _masked(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked("", inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask(str(value))


def _exception_of(event: MutableMapping[str, Any]) -> BaseException | None:
    given = event.pop("exc_info", None)
    if given is True:
        return sys.exc_info()[1]
    if isinstance(given, tuple):
        found = given[1]
        return found if isinstance(found, BaseException) else None
    return given if isinstance(given, BaseException) else None


def _errors_in_one_line(_logger: object, _method: str, event: EventDict) -> EventDict:
    if error := _exception_of(event):
        event["error"] = describe(error)
    return event


def _errors_in_full(_logger: object, _method: str, event: EventDict) -> EventDict:
    if error := _exception_of(event):
        event["exception"] = "".join(traceback.format_exception(error)).rstrip()
    return event


def describe(error: BaseException) -> str:
    """The error's type and message in one line; for a group, those of the errors inside it."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(describe(inner) for inner in error.exceptions))
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
