"""What programs under test leave behind: processes and directories below a directory of the test's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from reconciler.embedded.client import reachable_by_all, unprivileged_account

ROOT = Path(__file__).parent.parent
SECONDS_TO_END = 20.0


@dataclass(frozen=True, slots=True)
class Playground:
    """TMPDIR of the programs under test, so that whatever they start names it or runs in it."""

    directory: Path

    def spawn(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, **identity: Any
    ) -> subprocess.Popen[str]:
        """A Python program in a session of its own, its output line by line."""
        environment = {**os.environ, "TMPDIR": str(self.directory), "PYTHONUNBUFFERED": "1", **(env or {})}
        return subprocess.Popen(
            [sys.executable, *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            text=True,
            start_new_session=True,
            **identity,
        )

    def processes(self) -> list[psutil.Process]:
        """Those that are alive and have to do with the directory."""
        return [process for process in psutil.process_iter() if self._ours(process)]

    def _ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return any(str(self.directory) in text for text in (*process.cmdline(), process.cwd()))
        except psutil.Error:
            return False

    def sockets(self) -> set[Path]:
        """The sockets outside the directory that its `weed` processes have made."""
        ports = {
            argument.rpartition("=")[2]
            for process in self.processes()
            for argument in process.cmdline()
            if ".port=" in argument
        }
        made = Path("/tmp").glob("seaweedfs-*-grpc-*.sock")
        return {path for path in made if any(str(int(port) + 10_000) in path.name for port in ports)}

    def files(self) -> list[Path]:
        return list(self.directory.iterdir())

    def is_clean(self) -> bool:
        """Whether everything has ended and gone, within the time that it may take."""
        deadline = time.monotonic() + SECONDS_TO_END
        while self.processes() or self.files():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


@contextmanager
def playground(owner: Mapping[str, int] | None = None) -> Iterator[Playground]:
    """A directory that any account can enter, of the owner if given; emptied by force at the end."""
    directory = Path(tempfile.mkdtemp(prefix="playground-"))
    directory.chmod(0o755)
    if owner:
        os.chown(directory, owner["user"], owner["group"])
    ground = Playground(directory)
    try:
        yield ground
    finally:
        ground.is_clean()  # a supervisor that is killed cannot remove what lies outside the directory
        for process in ground.processes():
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)


def ordinary_user() -> dict[str, Any] | None:
    """How to start a program as an ordinary user; {} if we are one, None where we cannot."""
    account = unprivileged_account()
    if account is None:
        return {}
    interpreter = Path(sys.executable)
    # A virtual environment's is a link, often to below somebody's home.
    needed = (interpreter.parent, interpreter.resolve().parent, ROOT)
    reachable = all(reachable_by_all(directory) for directory in needed)
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if reachable else None
