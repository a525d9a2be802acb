"""`undo`: what the command does and says."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler import app
from reconciler.engine.recover.undo import Undone
from reconciler.errors import ConfigError
from reconciler.model import Mode, Return, Returned, UndoScope
from reconciler.planning import wording
from reconciler.settings import SettingsSource
from reconciler.settings.values import at_least, duration
from reconciler.terminal.operator import operator
from reconciler.terminal.statuses import DONE, FAILED
from reconciler.terminal.text import human_bytes, printable, shortened, timestamp

LISTED = 50
"""Lines of the table; the sums below it are of all."""
NAMED = 20
"""Refusals that are spelled out on stderr."""
KEY_WIDTH = 60

Complain = Callable[[str], None]


async def undo(source: SettingsSource, args: argparse.Namespace, console: Console, complain: Complain) -> int:
    """The command. Returns its exit status."""
    if args.until and not args.since:
        raise ConfigError("--until needs --since")
    now = datetime.now(UTC)
    scope = UndoScope(
        keys=tuple(args.key or ()),
        pass_id=args.pass_id,
        since=_time(args.since, now, "--since"),
        until=_time(args.until, now, "--until"),
    )
    if scope.since and scope.until and scope.until <= scope.since:
        raise ConfigError(f"--until {args.until!r}: must be later than --since {args.since!r}")
    lasts = _lasting(args.hold_for)
    mode = Mode.DRY_RUN if args.dry_run else source.current().mode()
    if mode is Mode.DRY_RUN and not args.dry_run:
        complain("RECONCILER_DRY_RUN is true: this only tells what would come back")
    table, started = _Table(console, quiet=args.json), time.monotonic()
    undone = await app.undo(
        source, scope, author=args.author or operator(), mode=mode, emit=table.add, hold_for=lasts
    )
    table.show()
    if args.json:
        print(_as_json(undone, mode, time.monotonic() - started))
    elif undone.touched or not undone.unknown:
        print(_summary(undone, mode, scope))
    return _ended(undone, complain)


def _lasting(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        return at_least(timedelta(hours=1), "1h")(text)
    except ValueError as error:
        message = f"--hold-for {text!r}: {error}"
        raise ConfigError(message) from None


def _time(text: str | None, now: datetime, option: str) -> datetime | None:
    """An instant, or one so long ago."""
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - duration(text)
        except ValueError:
            message = f"{option} {text!r}: must be ISO 8601, or how long ago, such as 2h"
            raise ConfigError(message) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


class _Table:
    """The first lines of what came back, or did not."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._lines: list[Returned] = []
        self._total = 0

    def add(self, returned: Returned) -> None:
        self._total += 1
        if len(self._lines) < LISTED:
            self._lines.append(returned)

    def show(self) -> None:
        if self._quiet or not self._lines:
            return
        table = Table("key", "what", "outcome", "bytes", "why", box=None)
        for each in self._lines:
            table.add_row(
                Text(shortened(printable(each.storage_key), KEY_WIDTH)),
                "object" if each.record_id is None else f"row {printable(each.record_id)}",
                str(each.outcome),
                human_bytes(each.size) if each.record_id is None else "",
                Text(printable(each.reason)),
            )
        self._console.print(table)
        if self._total > len(self._lines):
            self._console.print(f"… and {self._total - len(self._lines):,} more")
        sys.stdout.flush()


def _summary(undone: Undone, mode: Mode, scope: UndoScope) -> str:
    if not undone.touched:
        return "nothing of it is left to bring back: it came back before, or was erased"
    held = f"came back, and are on hold until {timestamp(undone.held_until)}{_lifted_by(scope)}"
    would = "would come back" if mode is Mode.DRY_RUN else held
    objects = f"{wording.counted(undone.objects, 'object')} ({human_bytes(undone.bytes)})"
    told = f"{objects} and {wording.counted(undone.records, 'row')} {would}"
    there = f"; {undone.present:,} were there already" if undone.present else ""
    return f"{told}{there}"


def _lifted_by(scope: UndoScope) -> str:
    if scope.pass_id is None:
        return ""
    return f" (`reconciler hold remove --pass {scope.pass_id}` lifts that)"


def _as_json(undone: Undone, mode: Mode, seconds: float) -> str:
    refused = [
        {
            "storage_key": each.storage_key,
            "record_id": each.record_id,
            "outcome": each.outcome,
            "reason": each.reason,
        }
        for each in undone.refused
    ]
    return json.dumps(
        {
            "mode": mode,
            "outcome": "complete" if undone.complete else "incomplete",
            "objects": undone.objects,
            "records": undone.records,
            "bytes": undone.bytes,
            "present": undone.present,
            "gone": undone.gone,
            "held_until": timestamp(undone.held_until),
            "refused": refused,
            "duration_seconds": round(seconds, 3),
        }
    )


def _part(scope: UndoScope) -> str:
    if scope.keys:
        return scope.keys[0]
    if scope.pass_id is not None:
        return f"pass {scope.pass_id}"
    until = f" until {timestamp(scope.until)}" if scope.until else ""
    return f"since {timestamp(scope.since)}{until}"


def _ended(undone: Undone, complain: Complain) -> int:
    for part in undone.unknown[:NAMED]:
        complain(f"{_part(part)}: the ledger knows of no deletion that fits; nothing to bring back")
    if len(undone.unknown) > NAMED:
        complain(f"… and {len(undone.unknown) - NAMED:,} more keys of which it knows none")
    for each in undone.refused[:NAMED]:
        what = "object" if each.record_id is None else f"row {each.record_id}"
        told = "is back in part" if each.outcome is Return.PARTIAL else "is not back"
        complain(f"{each.storage_key}: the {what} {told}: {each.reason}")
    if len(undone.refused) > NAMED:
        complain(f"… and {len(undone.refused) - NAMED:,} more; --json tells all")
    if undone.gone:
        complain(f"{undone.gone:,} objects cannot come back: they were deleted for good, or purged since")
    return DONE if undone.complete else FAILED
