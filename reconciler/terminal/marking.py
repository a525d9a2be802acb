"""`marks`: what the command does and says."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler import app
from reconciler.catalog.open import Catalog
from reconciler.errors import ConfigError
from reconciler.model import ListedMark, MarkFilter, MarkState, UndoScope, Verdict
from reconciler.planning.wording import counted
from reconciler.settings import DatabaseSettings
from reconciler.terminal.holding import Complain, as_dict
from reconciler.terminal.listing import LISTED, PAGE, TARGET_WIDTH, print_lines
from reconciler.terminal.operator import operator
from reconciler.terminal.statuses import DONE, FAILED
from reconciler.terminal.text import human_bytes, printable, shortened, timestamp


async def marks(
    settings: DatabaseSettings, args: argparse.Namespace, console: Console, complain: Complain
) -> int:
    """One action of the command. Returns its exit status."""
    async with app.open_database(settings) as catalog:
        if args.action == "cancel":
            return await _cancel(catalog, args, complain)
        if args.action == "retry":
            return await _retry(catalog, args, complain)
        if args.action == "show":
            return await _show(catalog, args, console, complain)
        await _list(_pages(catalog, args), args, console)
    return DONE


async def _cancel(catalog: Catalog, args: argparse.Namespace, complain: Complain) -> int:
    if not args.reason.strip():
        raise ConfigError("--reason: say why, for those who find it in the ledger")
    done = await catalog.mark_list.cancel(args.keys, args.author or operator(), args.reason)
    for key in done.cancelled:
        print(printable(f"cancelled: {key}"))
    if done.cancelled:
        print("a pass that finds such a key again marks it anew; `reconciler hold add` keeps it")
    for key in done.claimed:
        complain(f"{key}: claimed for deletion already, it goes; nothing was cancelled")
    for key in done.unmarked:
        complain(f"{key}: there is no mark on this key")
    return FAILED if done.claimed or done.unmarked else DONE


async def _retry(catalog: Catalog, args: argparse.Namespace, complain: Complain) -> int:
    retried = await catalog.mark_list.retry(None if args.all else args.keys)
    if args.all or retried:
        print(f"{counted(len(retried), 'mark')} will be tried again by the next collection")
    unmarked = [key for key in dict.fromkeys(args.keys) if key not in retried]
    for key in unmarked:
        complain(f"{key}: there is no mark on this key that failed")
    return FAILED if unmarked else DONE


async def _show(catalog: Catalog, args: argparse.Namespace, console: Console, complain: Complain) -> int:
    found = await catalog.mark_list.look(args.key)
    if found is None:
        complain(f"{args.key}: there is no mark on this key{await _went(catalog, args.key)}")
        return FAILED
    if args.json:
        print(json.dumps(details(found)))
        return DONE
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in details(found).items():
        if value is not None:
            shown = (
                "; ".join(f"{k}: {v}" for k, v in value.items() if v) if isinstance(value, dict) else value
            )
            table.add_row(Text(name.replace("_", " ")), Text(printable(str(shown)), overflow="fold"))
    console.print(table)
    return DONE


async def _went(catalog: Catalog, key: str) -> str:
    """Why a key may have no mark: it went, and whether it can come back."""
    went, scope = await catalog.mark_list.went(key), UndoScope(keys=(key,))
    if went is None:
        return ""
    told = f": it went at {timestamp(went.at)}, by pass {went.pass_id}"
    if await catalog.recovery.removals(scope, limit=1):
        return f"{told}; `reconciler undo --key {shlex.quote(key)}` brings it back"
    if await catalog.recovery.gone(scope):
        return f"{told}, and cannot come back: it was deleted for good, or purged since"
    return f"{told}, and nothing of it is left to bring back"


async def _pages(catalog: Catalog, args: argparse.Namespace) -> AsyncIterator[Sequence[ListedMark]]:
    wanted = MarkFilter(
        verdict=Verdict(args.verdict) if args.verdict else None,
        state=MarkState(args.state) if args.state else None,
        prefix=args.prefix,
        pass_id=args.pass_id,
    )
    after, size = args.after, PAGE if args.format == "jsonl" else (args.limit or LISTED) + 1
    while page := await catalog.mark_list.page(wanted, after, size):
        yield page
        after = page[-1].mark.storage_key


async def _list(
    pages: AsyncIterator[Sequence[ListedMark]], args: argparse.Namespace, console: Console
) -> None:
    if args.format == "jsonl":
        await print_lines(pages, details, args.limit)
        return
    limit = args.limit or LISTED
    async for page in pages:
        console.print(_table(page[:limit]))
        if len(page) > limit:
            last = printable(page[limit - 1].mark.storage_key)
            console.print(Text(f"The first {limit:,}; go on with --after '{last}', or --format jsonl."))
        return
    chosen = (args.verdict, args.state, args.prefix, args.pass_id, args.after)
    console.print("nothing is marked" if not any(chosen) else "no such mark")


def details(found: ListedMark) -> Mapping[str, object]:
    """A mark as scripts see it; every key is always there."""
    mark = found.mark
    return {
        "storage_key": mark.storage_key,
        "state": found.state,
        "verdict": mark.verdict,
        "reason": mark.reason,
        "bytes": mark.bytes,
        "due_at": timestamp(mark.due_at),
        "not_before": timestamp(found.not_before),
        "pass": mark.pass_id,
        "pass_state": found.pass_state,
        "marker": found.marker,
        "first_seen_at": timestamp(mark.first_seen_at),
        "last_seen_at": timestamp(mark.last_seen_at),
        "sightings": mark.sightings,
        "object_etag": mark.object_etag,
        "object_last_modified": timestamp(mark.object_last_modified),
        "attempts": found.attempts,
        "refusals": found.refusals,
        "last_error": found.last_error,
        "operation_id": str(found.operation_id) if found.operation_id else None,
        "epoch": found.epoch,
        "hold": as_dict(found.hold) if found.hold else None,
    }


def _table(page: Sequence[ListedMark]) -> Table:
    table = Table("state", "verdict", "key", box=None, pad_edge=False)
    for heading in ("bytes", "pass"):
        table.add_column(heading, justify="right")
    table.add_column("due")
    table.add_column("reason")
    for each in page:
        mark = each.mark
        key = shortened(printable(mark.storage_key), TARGET_WIDTH)
        reason = f"on hold: {each.hold.reason}" if each.hold else mark.reason
        if each.last_error:
            reason = f"{mark.reason}; stays: {each.last_error}"
        cells = (each.state, mark.verdict, key, human_bytes(mark.bytes), str(mark.pass_id))
        due = mark.due_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        table.add_row(*(Text(cell, overflow="fold") for cell in (*cells, due, printable(reason))))
    return table
