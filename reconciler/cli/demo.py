"""Show the whole of it on embedded servers.

Starts a Postgres and an S3 server of its own, fills them with every kind of drift, prints the
plan of a dry run, then converges and verifies the outcome. Needs no settings; touches nothing
of yours; leaves nothing behind. Needs the extra: pip install 'media-reconciler[demo]'.

$ reconciler demo
$ reconciler demo --objects 20000
$ reconciler demo --keep
"""

import argparse

from reconciler.cli import running
from reconciler.cli.arguments import Commands, command, whole


def add(commands: Commands) -> None:
    made = command(commands, "demo", __doc__, run)
    made.add_argument("--objects", type=whole, default=2000, metavar="N", help="how many (default 2000)")
    made.add_argument(
        "--keep",
        action="store_true",
        help="leave the servers up until Ctrl-C, with a daemon and its page, and say how to reach them",
    )


def run(args: argparse.Namespace) -> int:
    from reconciler import demo
    from reconciler.cli.output import Output
    from reconciler.cli.plan import summary

    options = demo.DemoOptions(objects=args.objects, keep=args.keep)
    out = Output(highlight=False)
    return running.wait_for(lambda: demo.demo(options, out, lambda groups: summary(groups, out)))
