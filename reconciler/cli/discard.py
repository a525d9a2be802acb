"""Withdraw the marks of a tripped pass.

Nothing of it goes; the next pass looks at everything again, and is released if it is in order. For
when the cause is mended. Who discarded it and when is recorded, and of each mark that it was
withdrawn. Works while a daemon runs; takes no lease. Exits 1 where the pass is not tripped.

$ reconciler discard 12
"""

import argparse

from reconciler.cli.arguments import Commands, command, yes
from reconciler.cli.errors import FAILED
from reconciler.cli.passes import decision, tell
from reconciler.cli.running import on_database, operator, sure
from reconciler.cli.types import Catalog


def add(commands: Commands) -> None:
    made = command(commands, "discard", __doc__, run)
    decision(made)
    yes(made, "discard")


def run(args: argparse.Namespace) -> int:
    if not sure(args, f"Discard pass {args.pass_id}? Its marks are withdrawn, and nothing of it goes."):
        return FAILED
    return _run(args)


@on_database
async def _run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.operations import passes

    return tell(await passes.discard(catalog, args.pass_id, by=operator(args)), args)
