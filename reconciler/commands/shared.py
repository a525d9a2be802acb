"""What commands share: how they read settings, start logging, run to their end, and print."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.errors import ConfigError
from reconciler.terminal.complaints import complain

if TYPE_CHECKING:
    from rich.console import Console

    from reconciler.settings import DatabaseSettings, SchemaSettings, Settings, SettingsSource

T = TypeVar("T")


class Terminated(Exception):
    """SIGTERM asked a command that only looks to end."""


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
    asked = "log_level" in settings.model_fields_set
    level = args.log_level or (settings.log_level if asked or daemon else "warning")
    configure(settings.log_format, level, secrets=known_secrets(None, *urls))


def log_until_settings_are_read(args: argparse.Namespace) -> None:
    from reconciler.settings.secrets import known_secrets
    from reconciler.telemetry.logs import configure

    configure("auto", args.log_level or "warning", secrets=known_secrets())


def duration_of(text: str, option: str) -> timedelta:
    from reconciler.settings.values import duration

    try:
        return duration(text)
    except ValueError as error:
        message = f"{option} {text!r}: {error}"
        raise ConfigError(message) from None


def wait_for(act: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """For what sees to signals itself."""
    import anyio

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


def console() -> Console:
    """stdout; where that is no terminal, lines are as long as they need to be."""
    from reconciler.terminal.output import Output

    return Output(highlight=False, width=None if sys.stdout.isatty() else 200)
