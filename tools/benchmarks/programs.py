"""Programs run to their end, with the time they took and the memory they held at most."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_KIB_PER_MIB = 1024


class ProgramFailed(Exception):
    """A program under measurement exited otherwise than it should; nothing can be said of its speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`seconds` of wall clock from start to end, `cpu` of processor time; `peak_mib`, its own resident
    memory at most.
    """

    seconds: float
    cpu: float
    peak_mib: float
    output: bytes

    def lines(self) -> int:
        return self.output.count(b"\n")

    def report(self) -> dict[str, Any]:
        """Standard output as JSON."""
        report: dict[str, Any] = json.loads(self.output)
        return report


def program(name: str) -> str:
    """A wheel's program, which pip puts beside the interpreter."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise ProgramFailed(f"{name} is not installed: pip install '.[bench]'")
    return str(path)


def measure(command: Sequence[str], environment: Mapping[str, str], expected: Sequence[int] = (0,)) -> Run:
    """Run a program alone. Raises ProgramFailed unless it exits with an expected status.

    The peak is the kernel's `ru_maxrss`, which a child starts at what its parent held. So the parent is a
    small process of its own: the harness grows larger than what it measures.
    """
    return _small_parent().submit(_measure, command, environment, expected).result()


@cache
def _small_parent() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn"))


def _measure(command: Sequence[str], environment: Mapping[str, str], expected: Sequence[int]) -> Run:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begun = time.perf_counter()
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env={"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
        )
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        seconds = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if child.returncode not in expected:
            raise ProgramFailed(
                f"{' '.join(command[:6])} exited with {child.returncode}:\n"
                f"{output.read()[-2000:].decode()}\n{errors.read()[-4000:].decode()}"
            )
        return Run(
            seconds=seconds,
            cpu=usage.ru_utime + usage.ru_stime,
            peak_mib=usage.ru_maxrss / _KIB_PER_MIB,
            output=output.read(),
        )


def processor_time(server: int) -> float:
    """Seconds of processor time of a server so far, with its children's, by its process id."""
    ticks = _ticks(server, ended_children=True)
    for child in Path(f"/proc/{server}/task/{server}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):
            ticks += _ticks(int(child), ended_children=False)
    return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(process: int, *, ended_children: bool) -> int:
    """See proc(5): user and system time are fields 14 and 15, and those of ended children follow."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if ended_children else 13]))


def listing_server(
    keys: int, cache: Path, *, delay_ms: float = 0, reports: Path | None = None
) -> AbstractContextManager[str]:
    """A listing server in a process of its own; its address. `reports`: it has that inventory, too."""
    options = ["--keys", str(keys), "--cache", str(cache), "--delay-ms", str(delay_ms)]
    options += ["--reports", str(reports)] if reports else []
    return _serving("tools.benchmarks.listing_server", "--end-with-stdin", *options)


def slow_way(url: str, delay_ms: float) -> AbstractContextManager[str]:
    """A way to the server on which each request arrives so much later; its address."""
    return _serving("tools.benchmarks.slow_way", url, "--delay-ms", str(delay_ms))


@contextmanager
def _serving(module: str, *options: str) -> Iterator[str]:
    """The address of a server that prints its port. It ends with the context, or with us."""
    command = [sys.executable, "-m", module, *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            port = server.stdout.readline().strip()
            if not port:
                raise ProgramFailed(f"{module} did not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.stdin.close()
            server.wait()
