"""Withdraw the marks of a tripped pass.

Nothing of it goes; the next pass looks at everything again, and is released if it is in order. For
when the cause is mended. Who discarded it and when is recorded, and of each mark that it was
withdrawn. Works while a daemon runs; takes no lease. Exits 1 where the pass is not tripped.

$ reconciler discard 12
"""

import argparse

from reconciler.cli.arguments import Commands, command, yes
from reconciler.cli.errors import FAILED
from reconciler.cli.passes import agreed, decision, extent, tell
from reconciler.cli.running import on_database, operator
from reconciler.cli.types import Catalog
from reconciler.model import PassDetail


def add(commands: Commands) -> None:
    made = command(commands, "discard", __doc__, run)
    decision(made)
    yes(made, "discard")


def run(args: argparse.Namespace) -> int:
    return _run(args) if agreed(args, "discard", _question) else FAILED


def _question(detail: PassDetail, _: argparse.Namespace) -> str:
    return f"Discard pass {detail.current.id}? It withdraws {extent(detail)}, and nothing of it goes."


@on_database
async def _run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.operations import passes

    return tell(await passes.discard(catalog, args.pass_id, by=operator(args)), args)
