"""Servers of a test's own, which it may end and start again where they stood."""

from __future__ import annotations

import asyncio
import http.client
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from reconciler.embedded import seaweedfs
from reconciler.embedded.client import Account, Supervisor, unprivileged_account
from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.embedded.seaweedfs import EmbeddedS3
from tests.servers import execute


@dataclass(frozen=True, slots=True, kw_only=True)
class Restartable:
    """One program of the supervisor's. `stop` ends it without warning; `start` returns when it answers."""

    supervisor: Supervisor
    name: str
    argv: tuple[str, ...]
    stop_signal: signal.Signals
    answers: Callable[[], bool]
    account: Account | None = None
    scraps: tuple[Path, ...] = ()

    def stop(self) -> None:
        self.supervisor.stop(self.name)

    def start(self) -> None:
        self.supervisor.start(
            self.name,
            self.argv,
            account=self.account,
            stop_signal=self.stop_signal,
            env={"HOME": str(self.supervisor.directory / self.name)},
            scraps=self.scraps,
        )
        self.supervisor.wait_for(self.name, self.answers, self.name)


def restartable_postgres(supervisor: Supervisor, server: EmbeddedPostgres, name: str) -> Restartable:
    """Its crash loses nothing that was committed, as with everybody's Postgres but the demo's."""
    execute(server.url(), "ALTER ROLE postgres SET synchronous_commit = on")
    return Restartable(
        supervisor=supervisor,
        name=name,
        argv=_argv(server.pid),
        stop_signal=signal.SIGQUIT,
        answers=lambda: _connects(server.url()),
        account=unprivileged_account(),
    )


def restartable_s3(supervisor: Supervisor, server: EmbeddedS3, name: str) -> Restartable:
    argv = _argv(server.pid)
    ports = dict(flag[1:].split(".port=") for flag in argv if ".port=" in flag)
    scraps = tuple(seaweedfs.grpc_socket(part, int(port)) for part, port in ports.items() if int(port))
    return Restartable(
        supervisor=supervisor,
        name=name,
        argv=argv,
        stop_signal=signal.SIGKILL,
        answers=lambda: _answers(server.endpoint_url),
        scraps=scraps,
    )


def _argv(pid: int) -> tuple[str, ...]:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    return tuple(word.decode() for word in words)


def _connects(url: str) -> bool:
    async def ask() -> bool:
        try:
            connection = await asyncpg.connect(url, timeout=5)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    return asyncio.run(ask())


def _answers(endpoint_url: str) -> bool:
    parts = urlsplit(endpoint_url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
