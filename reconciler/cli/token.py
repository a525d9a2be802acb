"""Make tokens for the admin API.

$ reconciler token new ada@ops --role approver --file tokens
"""

import argparse
from pathlib import Path

from reconciler.cli.arguments import Commands, actions, command
from reconciler.cli.errors import DONE
from reconciler.model import Role


def add(commands: Commands) -> None:
    made = command(actions(command(commands, "token", __doc__)), "new", new.__doc__, new)
    made.add_argument("name", metavar="NAME", help="whose it is: what is written down about each order")
    roles, file = [role.value for role in Role], "the file of hashes (RECONCILER_ADMIN__TOKENS_FILE)"
    made.add_argument("--role", required=True, choices=roles, help="what it may do; each may do more")
    made.add_argument("--file", required=True, type=Path, metavar="F", help=file)


def new(args: argparse.Namespace) -> int:
    """Make a token and print it, alone on stdout.

    The file gets a line with its name, its role and its hash, so the token cannot be read from there, and
    is shown this once. A running daemon takes the new line up at the next request. To revoke a token, take
    its line out. Needs no setting.

    $ reconciler token new ada@ops --role approver --file tokens
    $ reconciler token new dashboards --role viewer --file tokens > token
    """
    from reconciler.operations import tokens

    print(tokens.issue(args.file, args.name, Role(args.role)))
    return DONE
