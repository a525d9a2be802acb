"""`python -m tests.faults.mortal`: forks a reconciler for each line it reads, which may die at a chosen send.

Programs talk to the outside by sending on sockets, so "the n-th send" is every point that the outside
can tell from others: before a request leaves, with half of it sent, or when all of it is and the answer
is on its way. Forked, because the imports of a fresh program take longer than a run.

A request is `{"environment": {…}, "command": […], "log": path, "dies_at": n or null, "how": …, "probes": …,
"impatient": …}`, the answer `{"status": exit status or negative signal, "sends": n}`, `sends` 0 for one that
was killed. Without `probes` it is told what SeaweedFS can do, which to find out takes longer than the rest.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

import botocore.session

from reconciler import cli
from reconciler.app import wiring
from reconciler.catalog.db.config import CatalogConfig
from reconciler.settings import DatabaseSettings
from tests.support.abilities import tell
from tests.support.descriptions import parse_once
from tests.support.forks import import_all

HOW = ("before", "half", "after")


class Lifeline:
    """Stands in for `socket.socket.send`, and kills this program at one of the calls."""

    def __init__(self, dies_at: int | None, how: str) -> None:
        self.sends = 0
        self._dies_at = dies_at
        self._how = how
        self._send: Callable[..., int] = socket.socket.send

    def send(self, sock: socket.socket, content: Any, *flags: int) -> int:
        if sock.family == socket.AF_INET:
            self.sends += 1
            if self.sends == self._dies_at:
                part = {"before": 0, "half": len(content) // 2, "after": len(content)}[self._how]
                if part:
                    self._send(sock, content[:part], *flags)
                os.kill(os.getpid(), signal.SIGKILL)
        return self._send(sock, content, *flags)


def preload() -> None:
    """What each run would do again and alike."""
    import_all()
    parse_once()
    botocore.session.get_session().create_client("s3", region_name="us-east-1")
    gc.freeze()


def lose_patience() -> None:
    """A length that was garbled makes the driver wait for what never comes: here for seconds alone."""
    configured = wiring.catalog_config

    def impatient(settings: DatabaseSettings) -> CatalogConfig:
        return replace(
            configured(settings), statement_timeout=timedelta(seconds=3), connect_timeout=timedelta(seconds=2)
        )

    wiring.catalog_config = impatient


def live(request: dict[str, Any], testament: int) -> NoReturn:
    """Be that program; its last word is how often it sent."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(request["environment"])
    if not request["probes"]:
        tell("seaweedfs")
    if request["impatient"]:
        lose_patience()
    lifeline = Lifeline(request["dies_at"], request["how"])
    socket.socket.send = lambda *args: lifeline.send(*args)  # type: ignore[method-assign]  # noqa: PLW0108 - a function is bound to its socket
    status = 1
    try:
        status = cli.main(request["command"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(testament, str(lifeline.sends).encode())
        os._exit(status)


def main() -> None:
    preload()
    for line in sys.stdin:
        request = json.loads(line)
        said, testament = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(said)
            live(request, testament)
        os.close(testament)
        with os.fdopen(said) as reading:
            sends = int(reading.read() or 0)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), "sends": sends}), flush=True)


if __name__ == "__main__":
    main()
