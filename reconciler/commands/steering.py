"""What people decide: `pause`, `resume`, `passes`, `approve`, `discard`, `marks`, `hold`."""

from __future__ import annotations

import argparse

from reconciler.commands import shared
from reconciler.terminal.complaints import complain
from reconciler.terminal.statuses import DONE


def pause(args: argparse.Namespace) -> int:
    settings = shared.database_of(args)
    from reconciler import app
    from reconciler.planning.wording import pause as told
    from reconciler.terminal.operator import operator
    from reconciler.terminal.text import printable

    standing, ours = shared.wait_for(lambda: app.pause(settings, by=operator(), reason=args.reason))
    if not ours:
        kept = "that pause and its reason are kept, and nothing of this one is; `reconciler resume` ends it"
        print(printable(f"already {told(standing)}: {kept}"))
        return DONE
    print(printable(f"{told(standing)}: within a second nothing more is deleted, until `reconciler resume`"))
    return DONE


def resume(args: argparse.Namespace) -> int:
    settings = shared.database_of(args)
    from reconciler import app
    from reconciler.planning.wording import pause as told
    from reconciler.terminal.operator import operator
    from reconciler.terminal.text import printable

    before = shared.wait_for(lambda: app.resume(settings, by=operator()))
    print(printable(f"resumed; it was {told(before)}") if before.paused else "it was not paused")
    return DONE


def decide(args: argparse.Namespace) -> int:
    settings = shared.database_of(args)
    from reconciler.terminal import deciding

    act = {"passes": deciding.passes, "approve": deciding.approve, "discard": deciding.discard}[args.command]
    shared.wait_unless_ended(lambda: act(settings, args, shared.console()))
    return DONE


def marks(args: argparse.Namespace) -> int:
    settings = shared.database_of(args)
    from reconciler.terminal.marking import marks as act

    return shared.wait_unless_ended(lambda: act(settings, args, shared.console(), complain))


def hold(args: argparse.Namespace) -> int:
    settings = shared.database_of(args)
    from reconciler.terminal.holding import hold as act

    return shared.wait_unless_ended(lambda: act(settings, args, shared.console(), complain))
