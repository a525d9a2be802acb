"""Run the daemon.

Sweeps, retains and collects at their intervals while it holds the lease, and stands by while
another replica does. Serves /metrics, /healthz and /readyz. Never migrates. SIGTERM finishes
the batch in hand and exits 0. A halted daemon stays up, idle, and says so.

$ reconciler run
$ RECONCILER_WEB__PORT=9090 reconciler run
"""

import argparse

from reconciler.cli import running
from reconciler.cli.arguments import Commands, command
from reconciler.cli.errors import DONE


def add(commands: Commands) -> None:
    command(commands, "run", __doc__, run)


def run(args: argparse.Namespace) -> int:
    source = running.source_of(args, daemon=True)
    from reconciler.app import daemon

    running.wait_for(lambda: daemon.run(source))
    return DONE
