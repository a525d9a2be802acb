"""End signed links of the media service.

A link is good for whoever has it. This ends all that were made so far to the media of a virtual key, in every
process of the media service and for its next request; what a cache was given stays there until its time is
over. The owner makes new ones as before. Needs RECONCILER_DATABASE_URL alone.

$ reconciler links revoke 7f0c… --reason "posted in a forum"
"""

import argparse

from reconciler.cli.arguments import Commands, actions, as_json, command, who_and_why
from reconciler.cli.errors import DONE
from reconciler.cli.running import on_database, operator
from reconciler.cli.types import Catalog
from reconciler.planning.formatting import printable


def add(commands: Commands) -> None:
    within = actions(command(commands, "links", __doc__))
    revoked = command(within, "revoke", revoke.__doc__, revoke)
    revoked.add_argument("virtual_keys", nargs="+", metavar="ID", help="ids of virtual keys")
    who_and_why(revoked)
    as_json(revoked, "the virtual keys")


@on_database
async def revoke(catalog: Catalog, args: argparse.Namespace) -> int:
    """End every link made so far to the media of virtual keys.

    Of all that are named, or of none where one is not known. Who ended them, and why, is written in the
    ledger.

    $ reconciler links revoke 7f0c… --reason "posted in a forum"
    """
    from reconciler.cli.output import print_json
    from reconciler.operations import links

    ended = await links.revoke(catalog, args.virtual_keys, by=operator(args), reason=args.reason)
    if args.json:
        print_json({"virtual_key_ids": list(ended)})
        return DONE
    for each in ended:
        print(printable(f"virtual key {each}: every link made so far has ended"))
    return DONE
