"""Programs of the tests as forks of one that has the imports behind it: they take longer than most commands.

A fork is a process like any other, with arguments, environment, directory, output and exit status of its
own, and can be killed. Only how long the imports take, and that they work, has to be seen elsewhere.

`python -m tests.support.forks` is the program that forks, for each line that it reads: `{"program": module,
"arguments": […], "environment": {…}, "cwd": path or null, "out": path, "told": path, "measured": bool}`. It
answers with the process's id. To `{"ended": id}` it answers with the exit status, or the negative number of a
signal, as soon as there is one.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import inspect
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import anyio

ROOT = Path(__file__).parent.parent.parent
SECONDS = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended: its exit status, or the negative number of the signal that killed it."""

    status: int
    out: str
    told: str


# --- the tests' end ------------------------------------------------------------------------------------


class Forker:
    """Started when first asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def run(
        self,
        program: str,
        *arguments: str,
        environment: Mapping[str, str],
        cwd: str | None = None,
        measured: bool = True,
    ) -> Ended:
        """Run `main()` of the module `program` to its end; blocking, and bounded by SECONDS.

        Without `measured` no coverage is taken, for a program that is killed before it could write any.
        """
        with tempfile.TemporaryDirectory(prefix="fork-") as directory:
            out, told = Path(directory, "out"), Path(directory, "told")
            fork = self.start(
                program,
                *arguments,
                environment=environment,
                cwd=cwd,
                out=str(out),
                told=str(told),
                measured=measured,
            )
            status = fork.wait_blocking()
            return Ended(status=status, out=out.read_text(), told=told.read_text())

    def start(
        self,
        program: str,
        *arguments: str,
        environment: Mapping[str, str],
        cwd: str | None = None,
        out: str,
        told: str,
        measured: bool = True,
    ) -> Fork:
        """Likewise, without waiting for its end. `out` and `told` are files that it appends to."""
        request = {
            "program": program,
            "arguments": arguments,
            "environment": dict(environment),
            "cwd": cwd,
            "out": out,
            "told": told,
            "measured": measured and "COVERAGE_PROCESS_CONFIG" in environment,
        }
        return Fork(self, self.ask(request), f"{program} {arguments}")

    def ask(self, request: Mapping[str, Any]) -> int:
        """The answer to one line. Raises AssertionError where the program that forks is gone."""
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                self.close()
                raise AssertionError(f"no answer to {request}")
            return int(answer)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forks"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                start_new_session=True,
            )
        return self._process

    def close(self) -> None:
        """Let it end, which writes down its coverage."""
        process, self._process = self._process, None
        if process is not None:
            process.communicate()


class Fork:
    """One that runs, until somebody has waited for its end."""

    def __init__(self, forker: Forker, pid: int, name: str) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._forker = forker
        self._name = name
        # Readable once it has ended. Its number is not given to another before its parent was asked for it.
        self._end = os.pidfd_open(pid)

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit status, or the negative number of a signal."""
        if self.returncode is None:
            await anyio.wait_readable(self._end)
        return self._ended()

    def wait_blocking(self) -> int:
        """Likewise; killed where it takes over SECONDS."""
        if not select.select([self._end], [], [], SECONDS)[0]:
            self.kill()
            self._ended()
            raise AssertionError(f"{self._name} took over {SECONDS:.0f} s")
        return self._ended()

    def _ended(self) -> int:
        if self.returncode is None:
            self.returncode = self._forker.ask({"ended": self.pid})
            os.close(self._end)
        return self.returncode


FORKER = Forker()
"""Of this process of the tests; `tests/conftest.py` closes it."""


# --- the program that forks ----------------------------------------------------------------------------


def import_all() -> None:
    """Every module of the program, also what a command imports late."""
    package = importlib.import_module("reconciler")
    for module in pkgutil.walk_packages(package.__path__, "reconciler."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _be(request: Mapping[str, Any]) -> NoReturn:
    """Become that program, and end as it does."""
    if request["measured"]:
        _measure_quickly()
    else:
        sys.settrace(None)
        threading.settrace(None)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream, path in ((1, request["out"]), (2, request["told"])):
        os.dup2(os.open(path, flags, 0o600), stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["cwd"] or ROOT)
    sys.argv = [request["program"], *request["arguments"]]
    try:
        status = importlib.import_module(request["program"]).main()
    except SystemExit as error:
        status = error.code
    if not isinstance(status, int):
        sys.exit(status)
    # What a program does at its end, but for taking apart each module that it shares with the program that
    # forked it, which would copy their memory: half of the processor time of a command that does little.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _measure_quickly() -> None:
    """Let a fork write down what it ran, and not look for the files that nobody ran, as its parent does."""
    from coverage.inorout import InOrOut  # noqa: PLC0415 - as said: only where coverage is taken

    InOrOut.find_possibly_unexecuted_files = lambda _: iter(())  # type: ignore[method-assign,assignment]


def main() -> None:
    from tests.support.descriptions import parse_once  # noqa: PLC0415 - botocore, which the tests' end has no use for

    import_all()
    parse_once()
    # Coverage asks in each fork who called it, and Python then looks up the file of every module, but once.
    inspect.stack()
    for line in sys.stdin:
        request = json.loads(line)
        if "ended" in request:
            _, status = os.waitpid(request["ended"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        importlib.import_module(request["program"])
        # A fork that ends looks for cycles in all that was there before: 0.4 s of processor time otherwise.
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            _be(request)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
