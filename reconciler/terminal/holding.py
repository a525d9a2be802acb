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
from reconciler.model import Hold, HoldFilter, HoldKind
from reconciler.planning.wording import counted
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
        wanted = HoldFilter(
            kind=kind, prefix=args.prefix, author=args.author, pass_id=args.pass_id, reason=args.reason
        )
        await _list(_pages(catalog.holds, wanted), args, console)
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
    total = await (_remove_named(holds, args) if any(_targets(args).values()) else _lift(holds, args))
    if not total:
        complain("no such hold is in force; `reconciler hold list` shows those that are")
        return FAILED
    print(f"{counted(total, 'hold')} {'would be lifted' if args.dry_run else 'lifted'}")
    return DONE


async def _remove_named(holds: Holds, args: argparse.Namespace) -> int:
    if args.pass_id is not None or args.reason is not None or args.all or args.dry_run:
        raise ConfigError(
            "--pass, --reason, --all and --dry-run are for many holds at once; a hold that is named by --key,"
            " --prefix or --virtual-key is narrowed by --author alone"
        )
    return sum(
        [
            await holds.remove(kind, targets, args.author, by=operator())
            for kind, targets in _named(args).items()
        ]
    )


async def _lift(holds: Holds, args: argparse.Namespace) -> int:
    """Holds by what they have in common."""
    given = (args.author, args.pass_id, args.reason)
    if args.all == any(each is not None for each in given):
        raise ConfigError(
            "say which: --key KEY, --prefix P or --virtual-key ID; or --author NAME, --pass ID, --reason TEXT"
            " (all that is given has to apply); or --all alone"
        )
    wanted = HoldFilter(author=args.author, pass_id=args.pass_id, reason=args.reason)
    if args.dry_run:
        return sum([len(page) async for page in _pages(holds, wanted)])
    return await holds.lift(wanted, by=operator())


def _targets(args: argparse.Namespace) -> Mapping[HoldKind, Sequence[str]]:
    return {HoldKind.KEY: args.key, HoldKind.PREFIX: args.prefix, HoldKind.VIRTUAL_KEY: args.virtual_key}


def _named(args: argparse.Namespace) -> Mapping[HoldKind, Sequence[str]]:
    """The targets by kind. Raises ConfigError for none, and for an empty one."""
    found = _targets(args)
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


async def _pages(holds: Holds, wanted: HoldFilter) -> AsyncIterator[Sequence[Hold]]:
    after: Hold | None = None
    while page := await holds.page(wanted, after, PAGE):
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


def as_dict(each: Hold) -> Mapping[str, str | int | None]:
    """A hold as scripts see it."""
    return {
        "kind": each.kind,
        "target": each.target,
        "reason": each.reason,
        "author": each.author,
        "until": timestamp(each.until),
        "added_at": timestamp(each.added_at),
        "pass_id": each.pass_id,
    }


def _table(shown: Sequence[Hold]) -> Table:
    table = Table("kind", "target", "until", "author", "reason", box=None, pad_edge=False)
    for each in shown:
        cells = (shortened(printable(each.target), TARGET_WIDTH), timestamp(each.until) or "no end")
        named = (each.kind.replace("_", " "), *cells, printable(each.author), printable(each.reason))
        table.add_row(*(Text(cell, overflow="fold") for cell in named))
    return table
