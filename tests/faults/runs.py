"""Runs of the reconciler as processes of their own, which may die: by a chosen kill, or by a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.integration.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended: its exit status, or the negative number of the signal that killed it.

    `sends` is how often it sent, 0 where it was killed. `told` is what it printed.
    """

    status: int
    sends: int
    told: str

    @property
    def outcome(self) -> str | None:
        """None where it printed no report."""
        reports = [json.loads(line) for line in self.told.splitlines() if line.startswith('{"mode"')]
        return reports[-1]["outcome"] if reports else None


class Mortals:
    """Runs `once`, one run at a time; `log` is what all of them said."""

    def __init__(self, forker: anyio.abc.Process, log: Path) -> None:
        self._forker = forker
        self._log = log
        assert forker.stdout
        self._answers = BufferedByteReceiveStream(forker.stdout)

    async def once(
        self,
        site: Site,
        settings: Mapping[str, str],
        *,
        dies_at: int | None = None,
        how: str = "after",
        probes: bool = False,
        impatient: bool = False,
    ) -> Ended:
        """The request of `tests.faults.mortal`, for that site with these settings changed."""
        request = {
            "environment": {**os.environ, **site.settings(**settings)},
            "command": ["once", "--json", "--wait", "20s"],
            "log": str(self._log),
            "dies_at": dies_at,
            "how": how,
            "probes": probes,
            "impatient": impatient,
        }
        before = self._log.stat().st_size
        assert self._forker.stdin
        await self._forker.stdin.send(json.dumps(request).encode() + b"\n")
        answer: dict[str, int] = json.loads(await self._answers.receive_until(b"\n", 1000))
        return Ended(**answer, told=self._log.read_bytes()[before:].decode())


@asynccontextmanager
async def mortals(directory: Path) -> AsyncIterator[Mortals]:
    """Started once for many runs; the log is in that directory."""
    log = directory / "log"
    log.touch()
    command = [sys.executable, "-m", "tests.faults.mortal"]
    async with await anyio.open_process(command, stdin=subprocess.PIPE, stderr=None) as forker:
        yield Mortals(forker, log)
        assert forker.stdin
        await forker.stdin.aclose()
        await forker.wait()
