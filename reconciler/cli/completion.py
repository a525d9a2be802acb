"""Print the completion of a shell.

What the shell reads to complete commands, options and their values; it asks this program for them.

$ reconciler completion bash > /etc/bash_completion.d/reconciler
$ reconciler completion zsh > "${fpath[1]}/_reconciler"
$ reconciler completion fish > ~/.config/fish/completions/reconciler.fish
"""

import argparse

from reconciler.cli.arguments import Commands, command
from reconciler.cli.errors import DONE

SHELLS = ("bash", "zsh", "fish")


def add(commands: Commands) -> None:
    made = command(commands, "completion", __doc__, run)
    made.add_argument("shell", choices=SHELLS, help="the shell")


def run(args: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["reconciler"], shell=args.shell))
    return DONE
