"""`erase`: what the command does and says."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from reconciler import app
from reconciler.model import Hold, HoldKind
from reconciler.settings import DatabaseSettings
from reconciler.terminal.operator import operator
from reconciler.terminal.statuses import DONE, FAILED
from reconciler.terminal.text import timestamp


def _refuse(held: Mapping[str, Hold], complain: Callable[[str], None]) -> None:
    for key, hold in sorted(held.items()):
        until = f", until {timestamp(hold.until)}" if hold.until else ""
        what = "" if hold.kind is HoldKind.KEY else f" ({hold.kind.replace('_', ' ')} {hold.target})"
        complain(f"{key}: on hold by {hold.author}{what}: {hold.reason}{until}")
    complain("nothing was erased; lift the hold, or say --despite-hold where that is for you to decide")


async def erase(settings: DatabaseSettings, args: argparse.Namespace, complain: Callable[[str], None]) -> int:
    """The command. Returns its exit status."""
    async with app.open_database(settings) as catalog:
        author = args.author or operator()
        erased = await catalog.erasure.erase(args.keys, author, despite_hold=args.despite_hold)
        if erased.held:
            _refuse(erased.held, complain)
            return FAILED
        rows = await catalog.records.lookup(args.keys)
    print(
        f"hidden objects: {erased.objects:,}, purged by the next round of whoever leads;"
        f" removed rows: {erased.rows:,}, out of the ledger; neither can be undone"
        if erased.objects or erased.rows
        else "nothing of it is hidden, and no removed row is in the ledger"
    )
    for key in erased.claimed:
        complain(f"{key}: it is being deleted at this moment; erase it again in a minute")
    for key in erased.returning:
        complain(
            f"{key}: its object is being brought back; delete that once it is there, and erase the key again"
        )
    for key in sorted({row.storage_key for row in rows}):
        complain(f"{key}: a row still names it; delete that, and erase the key again once its object is gone")
    return FAILED if erased.claimed or erased.returning or rows else DONE
