"""The parent's side of the supervisor: programs started in its directory end when this program does.

It also provides what every embedded server needs: an account to run as, and free ports.
"""

import json
import os
import pwd
import random
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio import to_thread

from reconciler.errors import ReconcilerError

HOST = "127.0.0.1"
START_SECONDS = 60.0
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""Nothing from the caller: initdb would fail with a locale that is not generated here."""

ATTEMPTS = 3
"""A port that was free a moment ago may be taken by the time the server binds it."""

T = TypeVar("T")


class ServerFailed(ReconcilerError):
    """An embedded server did not start; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An existing system account without rights."""

    name: str
    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """The account to run Postgres as, because it refuses to run as root. None for an ordinary user."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    message = "Postgres cannot run as root and there is no account `nobody`: run this as an ordinary user"
    raise ServerFailed(message)


def reachable_by_all(path: Path) -> bool:
    """Whether an account that owns nothing can enter the directory."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))


class Supervisor:
    """The parent's side of a supervisor process. Its calls are short, and any thread may make them."""

    def __init__(self, base: str) -> None:
        script = Path(__file__).with_name("supervisor.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(script), base],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            text=True,
            start_new_session=True,
        )
        self._lock = threading.Lock()
        self.given_up = False
        self.directory = Path(self._answer()["directory"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            message = "the supervisor of the embedded servers has ended; nothing is left running, start again"
            raise ServerFailed(message)
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ServerFailed(reply["error"])
        return reply

    def _ask(self, **request: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        with self._lock:
            if self.given_up:
                message = "the embedded servers are being shut down"
                raise ServerFailed(message)
            with suppress(OSError):  # the answer will be missing, and says so
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            return self._answer()

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        account: Account | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        env: Mapping[str, str] | None = None,
        scraps: Sequence[Path] = (),
    ) -> int:
        """Start a program and return its process id; its output goes to `log_of(name)`.

        `scraps` are files that it makes outside the directory, to be removed after its end.
        """
        reply = self._ask(
            op="start",
            name=name,
            argv=list(argv),
            log=str(self.log_of(name)),
            env={**_ENVIRONMENT, "TMPDIR": str(self.directory), **(env or {})},
            cwd="/",
            uid=account.uid if account else None,
            gid=account.gid if account else None,
            stop_signal=int(stop_signal),
            scraps=[str(scrap) for scrap in scraps],
        )
        return int(reply["pid"])

    def poll(self, name: str) -> int | None:
        """The exit status of a program, None while it runs."""
        status: int | None = self._ask(op="poll", name=name)["status"]
        return status

    def stop(self, name: str) -> None:
        """End a program and wait for its end."""
        self._ask(op="stop", name=name)

    def log_of(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.directory / f"{name}.log"

    def wait_for(self, name: str, ready: Callable[[], bool], what: str) -> None:
        """Wait until `ready()`. Raises ServerFailed where the program ends before, or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if (status := self.poll(name)) is not None:
                raise ServerFailed(f"{what} did not start (exit status {status}):\n{self.last_lines(name)}")
            if time.monotonic() > deadline:
                message = f"{what} is not ready after {START_SECONDS:.0f} s:"
                raise ServerFailed(f"{message}\n{self.last_lines(name)}")
            time.sleep(0.02)

    def run(self, name: str, argv: Sequence[str], what: str, account: Account | None) -> None:
        """Run a program to its end; raises ServerFailed unless it exits with 0."""
        self.start(name, argv, account=account)
        deadline = time.monotonic() + START_SECONDS
        while (status := self.poll(name)) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if status != 0:
            raise ServerFailed(f"{what} failed (exit status {status}):\n{self.last_lines(name)}")

    def last_lines(self, name: str) -> str:
        """The end of a program's log."""
        return tail(self.log_of(name))

    def give_up(self) -> None:
        """Let every later call fail, so that threads that start something come to an end soon."""
        self.given_up = True

    def close(self) -> None:
        """End everything, and return when it has ended. Harmless when repeated."""
        self.give_up()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def tail(path: Path, count: int = 8) -> str:
    """The last lines of a file; nothing where it cannot be read."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-count:])


@asynccontextmanager
async def supervised() -> AsyncIterator[Supervisor]:
    """A supervisor and its directory, removed when the context or this program ends."""
    supervisor = await to_thread.run_sync(start_supervisor)
    try:
        yield supervisor
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(supervisor.close)


def start_supervisor() -> Supervisor:
    """Like `supervised`, for code without an event loop; to be closed by the caller.

    The directory must be one that Postgres's account can reach and run programs in.
    """
    account = unprivileged_account()
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - mkdtemp makes the name
        if _usable(Path(base), account):
            return Supervisor(base)
    message = f"no directory for temporary files that {account.name if account else 'we'} can use; set TMPDIR"
    raise ServerFailed(message)


def _usable(base: Path, account: Account | None) -> bool:
    if not os.access(base, os.W_OK | os.X_OK) or os.statvfs(base).f_flag & os.ST_NOEXEC:
        return False
    return account is None or reachable_by_all(base)


def free_ports(count: int, offsets: Sequence[int] = (0,)) -> int:
    """The first of `count` adjacent ports that are free on loopback, at each of the offsets too.

    Below the range from which the system draws ports for outgoing connections.
    """
    draw = random.SystemRandom()
    for _ in range(200):
        first = draw.randrange(12_000, 22_000 - count)
        if all(_all_free(first + offset, count) for offset in offsets):
            return first
    message = "no free ports on 127.0.0.1 between 12000 and 32000"
    raise ServerFailed(message)


def _all_free(first: int, count: int) -> bool:
    with ExitStack() as stack:
        for port in range(first, first + count):
            probe = stack.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
    return True


def with_other_ports(attempt: Callable[[], T]) -> T:
    """Try again with other ports where another program has taken one."""
    for _ in range(ATTEMPTS - 1):
        with suppress(ServerFailed):
            return attempt()
    return attempt()
