"""What a start costs in processor time, and what a replica costs that has nothing to do."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tools.benchmarks.figures import Figure, at_most, for_comparison
from tools.benchmarks.programs import ROOT, ProgramFailed, listing_server, measure
from tools.benchmarks.site import CREDENTIALS, RECONCILER, Site, environment

ROUNDS = 5
SETTLED_SECONDS = 15.0
"""By then a replica has run its first passes, and given back the memory that its start took."""
READY_SECONDS = 60.0
_KIB_PER_MIB = 1024
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A running daemon, and the port of its web server."""

    pid: int
    port: int

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident(self) -> float:
        """MiB of memory now."""
        status = Path(f"/proc/{self.pid}/status").read_text("utf-8")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / _KIB_PER_MIB


def start(site: Site, cache: Path) -> list[Figure]:
    """Processor time of commands from start to end, with an empty bucket and no rows."""
    commands = (("--help",), ("migrate",), ("plan",))
    spent: dict[tuple[str, ...], list[float]] = {command: [] for command in commands}
    with listing_server(0, cache) as endpoint, site.database(0) as database:
        surroundings = environment(database, endpoint, {}, CREDENTIALS)
        for _ in range(ROUNDS):
            for command in commands:
                spent[command].append(measure([*RECONCILER, *command], surroundings).cpu)
    took = {" ".join(command): median(seconds) for command, seconds in spent.items()}
    title = "processor time, nothing to do"
    return [
        at_most(title, "reconciler plan", took.pop("plan"), 1, " s"),
        *(for_comparison(title, f"reconciler {name}", seconds, " s") for name, seconds in took.items()),
    ]


def idle(site: Site, cache: Path, seconds: float) -> list[Figure]:
    """A leader and a standby side by side, after their first passes, for so many seconds."""
    with listing_server(0, cache) as endpoint, site.database(0) as database, ExitStack() as running:
        surroundings = environment(database, endpoint, {}, CREDENTIALS)
        replicas = {
            name: running.enter_context(replica(surroundings, leads=name == "leader"))
            for name in ("leader", "standby")
        }
        time.sleep(SETTLED_SECONDS)
        before = {name: replica.cpu() for name, replica in replicas.items()}
        begun = time.perf_counter()
        time.sleep(seconds)
        passed = time.perf_counter() - begun
        shares = {name: 100 * (replica.cpu() - before[name]) / passed for name, replica in replicas.items()}
        resident = {name: replica.resident() for name, replica in replicas.items()}
    return [
        figure
        for name in replicas
        for figure in (
            at_most(f"idle {name}", "of one core", shares[name], 0.5, " %"),
            at_most(f"idle {name}", "resident memory", resident[name], 75, " MiB"),
        )
    ]


@contextmanager
def replica(surroundings: Mapping[str, str], *, leads: bool) -> Iterator[Replica]:
    """A daemon that is ready, and leads if it is to; ended with the context."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    daemon = subprocess.Popen(
        [*RECONCILER, "run"],
        cwd=ROOT,
        env={
            "PATH": os.defpath,
            "HOME": "/nonexistent",
            "PYTHONPATH": str(ROOT),
            "RECONCILER_WEB__HOST": "127.0.0.1",
            "RECONCILER_WEB__PORT": str(port),
            **surroundings,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        replica = Replica(pid=daemon.pid, port=port)
        deadline = time.monotonic() + READY_SECONDS
        wanted = re.compile(rf"^media_reconciler_leader{{?.*}}? {int(leads)}(?:\.0)?$", re.MULTILINE)
        while not _shows(replica, wanted):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise ProgramFailed(f"the {'leader' if leads else 'standby'} did not get ready")
            time.sleep(0.2)
        yield replica
    finally:
        daemon.terminate()
        daemon.wait()


def _shows(replica: Replica, wanted: re.Pattern[str]) -> bool:
    try:
        return wanted.search(replica.metrics()) is not None
    except OSError:
        return False
