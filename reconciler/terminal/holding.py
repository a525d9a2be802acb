"""`hold`: what the command does and says."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler import app
from reconciler.errors import ConfigError
from reconciler.model import Hold, HoldKind
from reconciler.ports import Holds
from reconciler.settings import DatabaseSettings
from reconciler.settings.values import duration
from reconciler.terminal.listing import LISTED, PAGE, TARGET_WIDTH, print_lines
from reconciler.terminal.operator import operator
from reconciler.terminal.statuses import DONE, FAILED
from reconciler.terminal.text import printable, shortened, timestamp

NAMED = 10
"""Keys that a warning spells out."""

Complain = Callable[[str], None]


async def hold(
    settings: DatabaseSettings, args: argparse.Namespace, console: Console, complain: Complain
) -> int:
    """One action of the command. Returns its exit status."""
    async with app.open_database(settings) as catalog:
        if args.action == "add":
            return await _add(catalog.holds, args, await catalog.records.now(), complain)
        if args.action == "remove":
            return await _remove(catalog.holds, args, complain)
        kind = HoldKind(args.kind) if args.kind else None
        await _list(_pages(catalog.holds, kind, args), args, console)
    return DONE


async def _add(holds: Holds, args: argparse.Namespace, now: datetime, complain: Complain) -> int:
    until, author = _end(args, now), args.author or operator()
    added = [
        Hold(kind=kind, target=target, reason=args.reason, author=author, until=until)
        for kind, targets in _named(args).items()
        for target in targets
    ]
    claimed = await holds.add(added)
    for each in added:
        print(printable(f"on hold{_until(until)}: {each.kind.replace('_', ' ')} {each.target}"))
    if not claimed:
        return DONE
    more = f" and {len(claimed) - NAMED:,} more" if len(claimed) > NAMED else ""
    complain(
        f"{len(claimed):,} of these keys were claimed for deletion before the hold, and may still go:"
        f" {', '.join(claimed[:NAMED])}{more}. `reconciler marks show KEY` tells how each ends"
    )
    return FAILED


async def _remove(holds: Holds, args: argparse.Namespace, complain: Complain) -> int:
    total = 0
    for kind, targets in _named(args).items():
        total += await holds.remove(kind, targets, args.author, by=operator())
    if not total:
        complain("no such hold is in force; `reconciler hold list` shows those that are")
        return FAILED
    print(f"{total:,} {'hold' if total == 1 else 'holds'} lifted")
    return DONE


def _named(args: argparse.Namespace) -> Mapping[HoldKind, Sequence[str]]:
    """The targets by kind. Raises ConfigError for none, and for an empty one."""
    found: dict[HoldKind, Sequence[str]] = {
        HoldKind.KEY: args.key,
        HoldKind.PREFIX: args.prefix,
        HoldKind.VIRTUAL_KEY: args.virtual_key,
    }
    if not any(found.values()):
        raise ConfigError("say what: --key KEY, --prefix P or --virtual-key ID")
    if "" in (target for targets in found.values() for target in targets):
        raise ConfigError("an empty name would hold everything or nothing; `reconciler pause` stops it all")
    return {kind: targets for kind, targets in found.items() if targets}


def _end(args: argparse.Namespace, now: datetime) -> datetime | None:
    """By the database's clock, which is the one that ends it."""
    if args.lasting is not None:
        try:
            return now + duration(args.lasting)
        except (ValueError, OverflowError) as error:
            message = f"--for {args.lasting!r}: {error}"
            raise ConfigError(message) from None
    if args.until is None:
        return None
    try:
        until = datetime.fromisoformat(args.until)
    except ValueError:
        message = f"--until {args.until!r}: write a time as 2027-01-01 or 2027-01-01T12:00Z"
        raise ConfigError(message) from None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    if until <= now:
        message = f"--until {args.until!r}: is past; the database's clock says {timestamp(now)}"
        raise ConfigError(message)
    return until


def _until(until: datetime | None) -> str:
    return f" until {timestamp(until)}" if until else ""


async def _pages(
    holds: Holds, kind: HoldKind | None, args: argparse.Namespace
) -> AsyncIterator[Sequence[Hold]]:
    after: Hold | None = None
    while page := await holds.page(kind, args.prefix, after, PAGE):
        yield page
        after = page[-1]


async def _list(pages: AsyncIterator[Sequence[Hold]], args: argparse.Namespace, console: Console) -> None:
    if args.format == "jsonl":
        await print_lines(pages, as_dict, args.limit)
        return
    limit = args.limit or LISTED
    shown: list[Hold] = []
    async for page in pages:
        shown += page
        if len(shown) > limit:
            break
    if not shown:
        console.print("no hold is in force")
        return
    console.print(_table(shown[:limit]))
    if len(shown) > limit:
        console.print(f"The first {limit:,}; --limit shows more, --format jsonl every one.")


def as_dict(each: Hold) -> Mapping[str, str | None]:
    """A hold as scripts see it."""
    return {
        "kind": each.kind,
        "target": each.target,
        "reason": each.reason,
        "author": each.author,
        "until": timestamp(each.until),
        "added_at": timestamp(each.added_at),
    }


def _table(shown: Sequence[Hold]) -> Table:
    table = Table("kind", "target", "until", "author", "reason", box=None, pad_edge=False)
    for each in shown:
        cells = (shortened(printable(each.target), TARGET_WIDTH), timestamp(each.until) or "no end")
        named = (each.kind.replace("_", " "), *cells, printable(each.author), printable(each.reason))
        table.add_row(*(Text(cell, overflow="fold") for cell in named))
    return table
