"""Runs the real program, as a shell would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended. `told` is stderr, a line each."""

    status: int
    out: str
    told: list[str]


def reconciler(*args: str, env: Mapping[str, str] | None = None, cwd: str | None = None) -> Ran:
    """Run one command with `env` on top of this process's environment."""
    ended = subprocess.run(
        [sys.executable, "-m", "reconciler", *args],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        cwd=cwd,
    )
    return Ran(status=ended.returncode, out=ended.stdout, told=ended.stderr.splitlines())
