"""Programs that these checks start and wait for."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class CheckFailed(Exception):
    """Something is not as it has to be; the message says what."""


def run(argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """The program's standard output; CheckFailed, with the end of what it said, unless it exits with 0."""
    ended = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=dict(env) if env is not None else None,
        cwd=cwd,
    )
    if ended.returncode:
        said = "\n".join((ended.stdout + ended.stderr).splitlines()[-25:])
        raise CheckFailed(f"{argv[0]} ended with {ended.returncode}:\n{said}")
    return ended.stdout


def require(holds: object, what: str) -> None:
    """Raises CheckFailed unless it holds."""
    if not holds:
        raise CheckFailed(what)
