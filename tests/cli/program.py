"""Runs the real program, as a shell would."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.forks import FORKER


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended. `told` is stderr, a line each."""

    status: int
    out: str
    told: list[str]


def reconciler(*args: str, env: Mapping[str, str] | None = None, cwd: str | None = None) -> Ran:
    """Run one command with `env` on top of this process's environment, in a process of its own."""
    ended = FORKER.run("reconciler.cli", *args, environment={**os.environ, **(env or {})}, cwd=cwd)
    return Ran(status=ended.status, out=ended.out, told=ended.told.splitlines())
