"""Runs the real program, as a shell would."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler import cli
from tests.support.abilities import kind_in, tell_by_environment
from tests.support.forks import FORKER


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended. `told` is stderr, a line each."""

    status: int
    out: str
    told: list[str]


def reconciler(*args: str, env: Mapping[str, str] | None = None, cwd: str | None = None) -> Ran:
    """Run one command with `env` on top of this process's environment, in a process of its own.

    All but `doctor` are told what the tests' own stores can do.
    """
    environment = {**os.environ, **(env or {})}
    if args[:1] != ("doctor",):
        environment |= kind_in(environment)
    ended = FORKER.run(__name__, *args, environment=environment, cwd=cwd)
    return Ran(status=ended.status, out=ended.out, told=ended.told.splitlines())


def main() -> int:
    """What runs there."""
    tell_by_environment()
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
