"""Keep a temporary directory and the servers in it, and outlive the parent just long enough to remove both.

This runs as a separate program (standard library only). It reads requests from its standard input, one
JSON document per line, and answers each with one line. At end of file, which comes when the parent
closes the pipe or dies in any way, it ends every process it started, waits for them, removes
the directory and exits. Everything that could be left behind is made only here, so it is registered
at the moment it is made. The supervisor has its own session, so a ^C at the terminal does not reach it,
nor does it reach the servers, which have their own sessions too.

Requests: `{"op": "start", "name", "argv", "log", "env", "cwd", "uid", "gid", "stop_signal", "scraps"}`
answers `{"pid"}`; `{"op": "poll", "name"}` answers `{"status"}`, null while running;
`{"op": "stop", "name"}` answers `{}` once it has ended. Where something fails: `{"error"}`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STOP_SECONDS = 8.0
"""How long a server may take to end before it is killed."""


@dataclass(slots=True)
class Child:
    """A started program, the signal that ends it, and the files that it leaves outside the directory."""

    popen: subprocess.Popen[bytes]
    stop_signal: int
    scraps: list[str]

    def ask(self) -> None:
        """Send the signal to its process group, unless it has ended."""
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, self.stop_signal)

    def stop(self, deadline: float) -> None:
        """Ask, wait until the deadline (monotonic seconds), then kill its process group."""
        self.ask()
        try:
            self.popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
        for scrap in self.scraps:
            Path(scrap).unlink(missing_ok=True)


def start(request: dict[str, Any]) -> Child:
    """Start one program in a session of its own, its output going to the log file."""
    identity: dict[str, Any] = {}
    if request["uid"] is not None:
        identity = {"user": request["uid"], "group": request["gid"], "extra_groups": []}
    with Path(request["log"]).open("ab") as log:
        popen = subprocess.Popen(
            request["argv"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=request["cwd"],
            env=request["env"],
            start_new_session=True,
            **identity,
        )
    return Child(popen, request["stop_signal"], request["scraps"])


def answer(request: dict[str, Any], children: dict[str, Child]) -> dict[str, Any]:
    """Do what one request asks for."""
    name = request["name"]
    if request["op"] == "start":
        if name in children:  # an attempt that failed, with other ports
            children.pop(name).stop(time.monotonic() + STOP_SECONDS)
        children[name] = start(request)
        return {"pid": children[name].popen.pid}
    if request["op"] == "poll":
        return {"status": children[name].popen.poll()}
    children.pop(name).stop(time.monotonic() + STOP_SECONDS)
    return {}


def serve(directory: Path, children: dict[str, Child]) -> None:
    """Answer requests until the parent is gone."""
    print(json.dumps({"directory": str(directory)}), flush=True)
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), children)
        except OSError as error:
            reply = {"error": str(error)}
        print(json.dumps(reply), flush=True)


def clean_up(directory: Path, children: dict[str, Child]) -> None:
    """End every child and remove the directory."""
    deadline = time.monotonic() + STOP_SECONDS
    for child in children.values():
        child.ask()
    for child in children.values():
        child.stop(deadline)
    for _ in range(50):  # a server's last grandchild may still be writing as it ends
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1)


def main(base: str) -> None:
    """`base` is where the directory is made."""
    # Only the parent's end ends this program. A function, because the children would inherit SIG_IGN.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    children: dict[str, Child] = {}
    directory = Path(tempfile.mkdtemp(prefix="media-reconciler-", dir=base))
    try:
        serve(directory, children)
    finally:
        clean_up(directory, children)


if __name__ == "__main__":
    main(sys.argv[1])
