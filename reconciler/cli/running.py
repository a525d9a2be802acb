"""How commands read settings, start logging, and run to their end."""

from __future__ import annotations

import argparse
import functools
import gc
import getpass
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.cli.errors import Terminated, complain
from reconciler.errors import ConfigError

if TYPE_CHECKING:
    from reconciler.app import Catalog
    from reconciler.settings import DatabaseSettings, SchemaSettings, Settings, SettingsSource

T = TypeVar("T")


def on_database(
    act: Callable[[Catalog, argparse.Namespace], Awaitable[T]],
) -> Callable[[argparse.Namespace], T]:
    """A command, or a part of one, that needs the database alone: reads its settings, opens its catalog."""

    def opened(settings: DatabaseSettings) -> AbstractAsyncContextManager[Catalog]:
        from reconciler import app

        return app.open_database(settings)

    return _on(opened, act)


def looking(
    act: Callable[[Catalog, argparse.Namespace], Awaitable[T]],
) -> Callable[[argparse.Namespace], T]:
    """The same for a command that only looks, and does so whatever is wrong with further columns."""

    def opened(settings: DatabaseSettings) -> AbstractAsyncContextManager[Catalog]:
        from reconciler import app

        return app.open_to_look(settings, complain)

    return _on(opened, act)


def _on(
    opened: Callable[[DatabaseSettings], AbstractAsyncContextManager[Catalog]],
    act: Callable[[Catalog, argparse.Namespace], Awaitable[T]],
) -> Callable[[argparse.Namespace], T]:
    @functools.wraps(act)
    def run(args: argparse.Namespace) -> T:
        database = opened(database_of(args))

        async def use() -> T:
            async with database as catalog:
                return await act(catalog, args)

        return wait_unless_ended(use)

    return run


def settings_of(args: argparse.Namespace) -> Settings:
    from reconciler.settings import load

    settings = load(warn=complain)
    log_as(settings, args)
    return settings


def database_of(args: argparse.Namespace) -> DatabaseSettings:
    from reconciler.settings import DatabaseSettings, load

    settings = load(kind=DatabaseSettings, warn=complain)
    log_as(settings, args)
    return settings


def source_of(args: argparse.Namespace, *, daemon: bool = False) -> SettingsSource:
    from reconciler.settings import SettingsSource

    source = SettingsSource(warn=complain)
    log_as(source.current(), args, daemon=daemon)
    return source


def log_as(settings: SchemaSettings, args: argparse.Namespace, *, daemon: bool = False) -> None:
    """The option, else the setting, else `info` for the daemon and `warning` for what a person watches."""
    from reconciler.settings import DatabaseSettings, known_secrets
    from reconciler.telemetry.logs import configure

    urls = [settings.database_url.get_secret_value()] if isinstance(settings, DatabaseSettings) else []
    args.operator = settings.operator if isinstance(settings, DatabaseSettings) else ""
    asked = "log_level" in settings.model_fields_set
    level = args.log_level or (settings.log_level if asked or daemon else "warning")
    configure(settings.log_format, level, secrets=known_secrets(None, *urls))


def log_until_settings_are_read(args: argparse.Namespace) -> None:
    from reconciler.settings.secrets import known_secrets
    from reconciler.telemetry.logs import configure

    configure("auto", args.log_level or "warning", secrets=known_secrets())


def duration_of(text: str, option: str, least: str = "0s") -> timedelta:
    """Raises ConfigError for what is no duration, or shorter than `least`."""
    from reconciler.settings.values import at_least, duration

    try:
        return at_least(duration(least), least)(text)
    except (ValueError, OverflowError) as error:
        message = f"{option} {text!r}: {error}"
        raise ConfigError(message) from None


def past_time(text: str | None, option: str, now: datetime) -> datetime | None:
    """An instant in ISO 8601, or one so long ago. Raises ConfigError for what is neither."""
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - duration_of(text, option)
        except ConfigError:
            message = f"{option} {text!r}: must be ISO 8601, or how long ago, such as 2h"
            raise ConfigError(message) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def span(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """What --since and --until say. Raises ConfigError where the end is not behind the beginning."""
    now = datetime.now(UTC)
    begin, end = past_time(since, "--since", now), past_time(until, "--until", now)
    if begin and end and end <= begin:
        raise ConfigError(f"--until {until!r}: must be later than --since {since!r}")
    return begin, end


def operator(args: argparse.Namespace) -> str:
    """Who gives an order, for what is written down about it: the option, else the setting, else
    `user@host`, or the number of a user without a name. The settings have to be read before.
    """
    if given := getattr(args, "by", None) or args.operator:
        return str(given)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def asks(args: argparse.Namespace) -> bool:
    """Whether a person is to be asked: not without a terminal, nor with --yes."""
    here = bool(sys.stdin and sys.stdin.isatty() and sys.stderr.isatty())
    return here and not args.yes and not args.json


def sure(args: argparse.Namespace, question: str) -> bool:
    """Whether the person at the terminal says yes, or is not to be asked.

    Called before an event loop runs, whose handler would keep the first ^C from ending the question.
    """
    if not asks(args):
        return True
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in {"y", "yes"}:
        return True
    complain("nothing was done")
    return False


def wait_for(act: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """For what sees to signals itself."""
    import anyio

    gc.collect()
    gc.freeze()
    return anyio.run(act)


def wait_unless_ended(act: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """For what only looks, or may end anywhere: SIGTERM cancels it. Raises Terminated."""
    return wait_for(lambda: _until_sigterm(act()))


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
