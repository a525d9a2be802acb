"""Stop every deletion, on every replica, within a second.

The stop is kept in the database: it outlives restarts, and holds until `reconciler resume`.
Sweeps and marks go on, so that what is found stays visible; nothing is claimed, no request that
deletes is sent, and what was claimed before waits. Needs RECONCILER_DATABASE_URL alone.

$ reconciler pause --reason "restoring the database"
"""

import argparse

from reconciler.cli import running
from reconciler.cli.arguments import Commands, as_json, by, command, words
from reconciler.cli.errors import DONE
from reconciler.planning import formatting


def add(commands: Commands) -> None:
    made = command(commands, "pause", __doc__, run)
    made.add_argument(
        "--reason", type=words, default="", metavar="TEXT", help="why, for those who find it stopped"
    )
    by(made, "who stops it")
    as_json(made, "the pause")


def run(args: argparse.Namespace) -> int:
    settings = running.database_of(args)
    from reconciler import app
    from reconciler.cli.output import print_json
    from reconciler.operations import as_json, pause

    async def act() -> pause.Paused:
        async with app.pause_switch(settings) as switch:
            return await pause.pause(switch, by=running.operator(args), reason=args.reason)

    done = running.wait_for(act)
    described = formatting.printable(formatting.pause(done.standing))
    if args.json:
        print_json({**as_json.pause(done.standing), "ours": done.ours})
    elif done.ours:
        print(f"{described}: within a second nothing more is deleted, until `reconciler resume`")
    else:
        print(
            f"already {described}: that pause and its reason are kept, and nothing of this one is;"
            " `reconciler resume` ends it"
        )
    return DONE
