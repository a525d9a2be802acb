"""Serve media over HTTP, to those to whom they belong.

The media service: a role of its own beside `run`, without a lease, in as many processes as
you like. Looks each request up in the tables, so what is deleted, disabled or expired is 404
at once. Deletes nothing. Serves /metrics, /healthz and /readyz too, at WEB__PORT. After
SIGTERM it takes no new request from 3 s on, gives those in hand 18 s, and exits 0.

$ reconciler media
$ RECONCILER_MEDIA__ACCESS=public RECONCILER_MEDIA__PORT=9082 reconciler media
"""

import argparse

from reconciler.cli import running
from reconciler.cli.arguments import Commands, command
from reconciler.cli.errors import DONE


def add(commands: Commands) -> None:
    command(commands, "media", __doc__, run)


def run(args: argparse.Namespace) -> int:
    source = running.source_of(args, daemon=True)
    from reconciler.app import media

    running.wait_for(lambda: media.run(source.current()))
    return DONE
