"""Settle which database a bucket belongs to.

Bucket and database name each other, and each leader writes a new nonce to both. Where they do not agree,
everything halts: two copies of one database act on the bucket, or this one was restored from a backup or
failed over, or the bucket lost its identity, or the settings name another bucket than before. Only a person
can know which database is the right one.

Run this with the settings of the database that is to go on. Without --yes it says what it found and
changes nothing. With --yes the bucket becomes this database's under a new site id: every other database
that acted on it halts. All marks are withdrawn; later passes find them again after their delay. A database
restored from an old backup lacks newer rows, whose objects then look like orphans: see that its rows are
complete first, and keep RECONCILER_DRY_RUN on until `reconciler plan` shows what you expect.

Exits 0 when it was settled or nothing had to be, 1 where it could not be done now or --yes is missing,
3 where the identity cannot be read.

$ reconciler adopt-bucket
$ reconciler adopt-bucket --yes
"""

import argparse

from reconciler.cli import running
from reconciler.cli.arguments import Commands, as_json, by, command, wait
from reconciler.cli.errors import DONE, FAILED, complain
from reconciler.planning.formatting import counted, printable


def add(commands: Commands) -> None:
    made = command(commands, "adopt-bucket", __doc__, run)
    made.add_argument("--yes", action="store_true", help="do it; otherwise only say what was found")
    wait(made)
    by(made, "who says so")
    as_json(made, "what was found and done")


def run(args: argparse.Namespace) -> int:
    patience = running.duration_of(args.wait, "--wait")
    settings = running.settings_of(args)
    from reconciler import app
    from reconciler.cli.output import print_json
    from reconciler.operations import ownership

    async def act() -> int:
        name = settings.bucket.name
        async with app.open_both(settings) as (ports, catalog):
            situation = await ownership.look(ports, name)
            found = {"bucket": name, "fault": situation.fault or None, "adopted": False, "withdrawn": 0}
            if not args.json:
                for line in situation.lines():
                    print(printable(line))
            if not situation.fault or not args.yes:
                if args.json:
                    print_json(found)
                if not situation.fault:
                    return DONE
                complain("nothing was changed; to make the bucket this database's, add --yes (see --help)")
                return FAILED
            withdrawn = await ownership.adopt(
                ports,
                name,
                settings.bucket.prefixes,
                app.limits_of(settings),
                upload_window=settings.upload_window,
                wait=patience,
            )
            done = f"bucket {name!r}, {counted(withdrawn, 'mark')} withdrawn"
            await catalog.orders.note(running.operator(args), "adopt-bucket", done)
        if args.json:
            print_json({**found, "adopted": True, "withdrawn": withdrawn})
            return DONE
        until = f"{counted(withdrawn, 'mark')} withdrawn until found again"
        done = f"bucket {name!r} is this database's now; {until}"
        print(printable(done))
        return DONE

    return running.wait_for(act)
