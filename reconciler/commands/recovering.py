"""What is for after a deletion: `undo` brings back, `erase` makes sure that nothing comes back."""

from __future__ import annotations

import argparse

from reconciler.commands import shared
from reconciler.terminal.complaints import complain


def undo(args: argparse.Namespace) -> int:
    source = shared.source_of(args)
    from reconciler.terminal.undoing import undo as act

    return shared.wait_unless_ended(lambda: act(source, args, shared.console(), complain))


def erase(args: argparse.Namespace) -> int:
    settings = shared.database_of(args)
    from reconciler.terminal.erasing import erase as act

    return shared.wait_unless_ended(lambda: act(settings, args, complain))
