"""End a pause.

What is due goes at once, at the set rate: look at `reconciler plan` first. Claims that a pause
held up are carried on. Needs RECONCILER_DATABASE_URL alone.

$ reconciler resume
"""

import argparse

from reconciler.cli import running
from reconciler.cli.arguments import Commands, as_json, by, command
from reconciler.cli.errors import DONE
from reconciler.model import Pause
from reconciler.planning import formatting


def add(commands: Commands) -> None:
    made = command(commands, "resume", __doc__, run)
    by(made, "who lets it go on")
    as_json(made, "the pause that ended")


def run(args: argparse.Namespace) -> int:
    settings = running.database_of(args)
    from reconciler import app
    from reconciler.cli.output import print_json
    from reconciler.operations import as_json, pause

    async def act() -> Pause:
        async with app.pause_switch(settings) as switch:
            return await pause.resume(switch, by=running.operator(args))

    before = running.wait_for(act)
    described = formatting.printable(formatting.pause(before))
    if args.json:
        print_json(as_json.pause(before))
        return DONE
    print(f"resumed; it was {described}" if before.paused else "it was not paused")
    return DONE
