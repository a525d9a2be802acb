"""Let a tripped pass go.

Its marks are released: they still wait for their due time, and each is decided again before it
goes. Who approved it and when is recorded. Marks of tripped passes before it go with it, as far
as it has seen them again; what later passes find is not approved. What has not gone within
RECONCILER_APPROVAL_TTL waits for a decision again. Works while a daemon runs; takes no lease.
Exits 1 where the pass is not tripped, or needs --i-understand.

$ reconciler passes show 12
$ reconciler approve 12
$ reconciler plan -o plan.jsonl && reconciler approve 12 --plan plan.jsonl
"""

import argparse
from pathlib import Path

from reconciler.cli.arguments import Commands, command, yes
from reconciler.cli.errors import FAILED
from reconciler.cli.passes import agreed, decision, extent, tell
from reconciler.cli.running import on_database, operator
from reconciler.cli.types import Catalog
from reconciler.errors import ConfigError
from reconciler.model import PassDetail
from reconciler.model.moments import moment


def add(commands: Commands) -> None:
    made = command(commands, "approve", __doc__, run)
    decision(made)
    yes(made, "approve")
    made.add_argument(
        "--plan",
        type=Path,
        metavar="FILE",
        help="release only what this file lists, as `plan -o FILE` wrote it; the rest is withdrawn",
    )
    made.add_argument(
        "--i-understand",
        action="store_true",
        help="needed where both sides were above their limits: that says that the comparison is wrong",
    )


def run(args: argparse.Namespace) -> int:
    return _run(args) if agreed(args, "approve", _question) else FAILED


def _question(detail: PassDetail, args: argparse.Namespace) -> str:
    rest = f" What {args.plan} does not list of them is withdrawn." if args.plan else ""
    first, last = detail.due or (None, None)
    until = f", the last from {moment(last)} on" if last and last != first else ""
    goes = f" They may go from {moment(first)} on{until}." if first else ""
    return f"Approve pass {detail.current.id}? It releases {extent(detail)}.{rest}{goes}"


@on_database
async def _run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.operations import passes

    by = operator(args)
    try:
        lines = args.plan.read_text(encoding="utf-8").splitlines() if args.plan else None
    except (OSError, UnicodeDecodeError) as error:
        message = f"--plan {args.plan}: {error}"
        raise ConfigError(message) from None
    only = None if lines is None else passes.planned(lines)
    done = await passes.approve(catalog, args.pass_id, by=by, understood=args.i_understand, only=only)
    return tell(done, args)
