"""Withdraw the marks of a tripped pass.

Nothing of it goes; the next pass looks at everything again, and is released if it is in order. For
when the cause is mended. Who discarded it and when is recorded. Works while a daemon runs;
takes no lease. Exits 1 where the pass is not tripped.

$ reconciler discard 12
"""

import argparse

from reconciler.cli.arguments import Commands, command
from reconciler.cli.passes import decision, tell
from reconciler.cli.running import on_database, operator
from reconciler.cli.types import Catalog


def add(commands: Commands) -> None:
    decision(command(commands, "discard", __doc__, run))


@on_database
async def run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.operations import passes

    return tell(await passes.discard(catalog, args.pass_id, by=operator(args)), args)
