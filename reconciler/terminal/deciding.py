"""`passes`, `approve` and `discard`: what the commands do."""

from __future__ import annotations

import argparse

from rich.console import Console

from reconciler import app
from reconciler.model import PassDetail
from reconciler.settings import DatabaseSettings
from reconciler.terminal import passes as shown
from reconciler.terminal.operator import operator


async def passes(settings: DatabaseSettings, args: argparse.Namespace, console: Console) -> None:
    """List the passes, or show one. Raises NotDone where there is no such pass."""
    async with app.open_database(settings) as catalog:
        if args.action == "show":
            detail = await catalog.approvals.show(args.pass_id)
            if args.json:
                print(shown.show_as_json(detail))
            else:
                shown.print_pass(detail, console)
            return
        listed = await catalog.approvals.listed(args.limit, everything=args.all)
    if args.json:
        print(shown.list_as_json(listed))
    else:
        shown.print_list(listed, console)


async def approve(settings: DatabaseSettings, args: argparse.Namespace, console: Console) -> None:
    """Arm a tripped pass. Raises NotDone where that cannot be."""
    async with app.open_database(settings) as catalog:
        who = args.by or operator()
        marks = await catalog.approvals.approve(args.pass_id, who, understood=args.i_understand)
        detail = await catalog.approvals.show(args.pass_id, 0)
    _tell(detail, marks, args, console)


async def discard(settings: DatabaseSettings, args: argparse.Namespace, console: Console) -> None:
    """Withdraw a tripped pass. Raises NotDone where that cannot be."""
    async with app.open_database(settings) as catalog:
        marks = await catalog.approvals.discard(args.pass_id, args.by or operator())
        detail = await catalog.approvals.show(args.pass_id, 0)
    _tell(detail, marks, args, console)


def _tell(detail: PassDetail, marks: int, args: argparse.Namespace, console: Console) -> None:
    if args.json:
        print(shown.decision_as_json(detail, marks))
    else:
        shown.print_decision(detail, marks, console)
