"""Bring the database's schema to this version's.

Makes the reconciler's own schema. Nothing of the gateway's is altered, except where
--create-index asks for an index and --install-triggers for triggers that hold off writers of
keys that are being deleted. --create-tables is for a new gateway that has no tables yet: next to
tables of its own, empty ones would make every object an orphan, so it stops where it finds any.
Needs RECONCILER_DATABASE_URL, and RECONCILER_CATALOG__... where tables have other names.

$ reconciler migrate
$ reconciler migrate --create-index
$ reconciler migrate --install-triggers
$ reconciler migrate --create-tables
$ reconciler migrate --sql > schema.sql
"""

import argparse
import io
import sys

from reconciler.cli import running
from reconciler.cli.arguments import Commands, command
from reconciler.cli.errors import DONE, FAILED, complain
from reconciler.errors import Halt


def add(commands: Commands) -> None:
    made = command(commands, "migrate", __doc__, run)
    printed = made.add_mutually_exclusive_group()
    printed.add_argument("--sql", action="store_true", help="print the SQL instead; needs no database")
    printed.add_argument("--json", action="store_true", help="print what was done as JSON, alone on stdout")
    made.add_argument(
        "--create-tables",
        action="store_true",
        help='also make "MediaRecords" and "VirtualKeys", for a new gateway that has neither',
    )
    made.add_argument(
        "--create-index",
        action="store_true",
        help="also build the index on the storage key in byte order (CONCURRENTLY, without a lock)",
    )
    guarding = made.add_mutually_exclusive_group()
    guarding.add_argument(
        "--install-triggers",
        action="store_true",
        help="also install the triggers that refuse a row whose object is being deleted (needs the owner)",
    )
    guarding.add_argument("--remove-triggers", action="store_true", help="remove those triggers again")


def run(args: argparse.Namespace) -> int:
    from reconciler.settings import DatabaseSettings, SchemaSettings, load

    settings = load(kind=SchemaSettings if args.sql else DatabaseSettings, warn=complain)
    running.log_as(settings, args)
    from reconciler import app
    from reconciler.cli.output import print_json

    said = io.StringIO() if args.json else sys.stdout
    try:
        app.migrate(
            settings,
            sql=args.sql,
            create_tables=args.create_tables,
            create_index=args.create_index,
            with_triggers=True if args.install_triggers else False if args.remove_triggers else None,
            out=said,
        )
    except Halt as error:  # such as a right that is missing: this ends, and nothing is halted
        complain(str(error))
        return FAILED
    if isinstance(said, io.StringIO):
        print_json({"done": said.getvalue().splitlines()})
    return DONE
