"""What every store needs: its programs, free ports, and a directory that goes with them."""

from __future__ import annotations

import http.client
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.embedded.client import HOST
from reconciler.errors import ConfigError


def require(programs: Sequence[str], install: str) -> None:
    """Raises ConfigError, with how to install them, where a program is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not found: {install}")


def run(argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program to its end. Returns what it printed; raises ConfigError with its last line."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env, cwd=cwd)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise ConfigError(f"{' '.join(map(str, argv[:4]))} … ended with {done.returncode}: {said[-1]}")
    return done.stdout.strip()


def status(port: int, path: str = "/") -> int | None:
    """The status that a GET is answered with; None while nobody answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def version_of(package: str) -> str:
    """The version of a Debian package that is installed."""
    return run(["dpkg-query", "-W", "-f=${Version}", package])
