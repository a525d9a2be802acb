"""Leave to the bucket's own lifecycle rules what the store can do by itself.

A store knows nothing but prefix and age: what rows, holds, pauses and undo decide is not left to it.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from reconciler.cli import running
from reconciler.cli.arguments import Commands, actions, command
from reconciler.cli.errors import DONE, FAILED
from reconciler.errors import ConfigError
from reconciler.planning.formatting import printable

if TYPE_CHECKING:
    from reconciler.app.lifecycle import Rules

EXAMPLE = "reconciler lifecycle export --apply --dry-run"


def add(commands: Commands) -> None:
    within = actions(command(commands, "lifecycle", f"{__doc__}\n$ {EXAMPLE}"))
    made = command(within, "export", export.__doc__, export)
    made.add_argument("--apply", action="store_true", help="show the difference, then write the rules")
    made.add_argument("--expire", action="store_true", help="with objects, where age alone decides of them")
    made.add_argument("--dry-run", action="store_true", help="with --apply: only show the difference")


def export(args: argparse.Namespace) -> int:
    """Print rules for the bucket as JSON, and on stderr what they cannot do.

    Uploads that nobody completes end, and superseded versions go where deletions are direct. --apply shows
    how they differ from the bucket's rules, and writes them beside those of others: a line begins with +
    for a rule that comes, with - for one that goes. Writes nothing while RECONCILER_DRY_RUN is on. Needs the
    daemon's settings, and reaches the bucket alone.

    --expire also lets the store expire objects by their age, as a backstop: after the longest retention, the
    grace period and the undo window together. Only under prefixes where the database shows that nothing else
    decides: no access, quota, hold, longer rule of an owner. Exits 1 where it left one out, and says why. A
    hold that is added later does not stop the store.

    $ reconciler lifecycle export > rules.json
    $ reconciler lifecycle export --apply --dry-run
    $ reconciler lifecycle export --expire
    """
    if args.dry_run and not args.apply:
        message = "--dry-run goes with --apply: without it nothing is written"
        raise ConfigError(message)
    settings = running.settings_of(args)
    from reconciler.app import lifecycle

    refused = False

    def tell(rules: Rules) -> None:
        nonlocal refused
        refused = rules.exported.refused
        for each in rules.exported.not_left:
            print(f"not left to the store: {each}", file=sys.stderr)
        if args.apply:
            _print_difference(rules)
        else:
            print(json.dumps({"Rules": rules.exported.rules}, indent=2))

    apply, expire = args.apply and not args.dry_run, args.expire
    running.wait_unless_ended(lambda: lifecycle.export(settings, tell, apply=apply, expire=expire))
    return FAILED if refused else DONE


def _print_difference(rules: Rules) -> None:
    from reconciler.planning.lifecycle_export import difference

    for sign, rule in difference(rules.present, rules.wanted):
        print(printable(f"{sign} {json.dumps(rule, default=str)}"))
    if list(rules.present) == list(rules.wanted):
        print("The bucket has these rules.", file=sys.stderr)
