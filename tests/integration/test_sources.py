"""What may not be read from: a pooler that drops a session's settings, and a standby that lags."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from reconciler.catalog import migrate
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.connections import server_settings
from reconciler.embedded.client import HOST, Account, Supervisor, free_ports, unprivileged_account
from reconciler.embedded.postgres import start_postgres
from reconciler.errors import ConfigError
from tests.conftest import DEBIAN_POSTGRES
from tests.integration.site import Site, make_site
from tests.servers import Bucket

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

DROPS = f"ignore_startup_parameters = {', '.join(server_settings(CatalogConfig(database_url='')))}\n"


@pytest.fixture(params=["", DROPS], ids=["refuses settings", "drops settings"])
def pgbouncer(request: pytest.FixtureRequest, supervisor: Supervisor, database: str) -> str:
    """The database's address by way of PgBouncer in transaction mode."""
    at = urlsplit(database)
    port = free_ports(1)
    name = f"pgbouncer-{secrets.token_hex(4)}"
    home = supervisor.directory / name
    home.mkdir()
    (home / "users").write_text(f'"{at.username}" "{at.password}"\n')
    (home / "ini").write_text(
        f"[databases]\n* = host={at.hostname} port={at.port}\n[pgbouncer]\nlisten_addr = {HOST}\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {home}/users\n"
        f"pool_mode = transaction\n{request.param}"
    )
    account = unprivileged_account()
    if account:
        supervisor.directory.chmod(0o711)
        os.chown(home, account.uid, account.gid)
    supervisor.start(name, ["/usr/sbin/pgbouncer", str(home / "ini")], account=account)
    supervisor.wait_for(name, lambda: "process up" in supervisor.log_of(name).read_text(), "PgBouncer")
    return database.replace(f":{at.port}/", f":{port}/")


@pytest.mark.debian("pgbouncer")
async def test_a_pooler_is_refused_in_one_line_that_says_what_to_name(
    ordered_site: Site, pgbouncer: str
) -> None:
    await ordered_site.put("image/orphan")
    with pytest.raises(ConfigError, match="PgBouncer") as refused:
        await ordered_site.once(database_url=pgbouncer)
    assert "name Postgres itself" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert await ordered_site.keys() == {"image/orphan"}


@pytest.fixture
def standby(supervisor: Supervisor) -> Iterator[str]:
    """A migrated database on a standby that streams from its primary."""
    name = f"primary-{secrets.token_hex(4)}"
    made = start_postgres(supervisor, name=name, binaries=DEBIAN_POSTGRES)
    migrate.upgrade(made.url(), create_tables=True)
    supervisor.stop(name)
    home = supervisor.directory / name
    account = unprivileged_account()
    primary = replace(made, port=free_ports(1))
    _start(supervisor, f"{name}-again", home / "cluster", primary.port, account)
    copy = [f"{DEBIAN_POSTGRES}/pg_basebackup", "-d", primary.url(), "-D", f"{home}/standby", "-R"]
    supervisor.run(f"{name}-copy", [*copy, "-c", "fast", "--no-sync"], "pg_basebackup", account)
    port = free_ports(1)
    _start(supervisor, f"{name}-standby", home / "standby", port, account)
    yield replace(made, port=port).url()
    supervisor.stop(f"{name}-standby")
    supervisor.stop(f"{name}-again")


def _start(supervisor: Supervisor, name: str, cluster: Path, port: int, account: Account | None) -> None:
    command = [f"{DEBIAN_POSTGRES}/postgres", "-D", f"{cluster}", "-h", HOST, "-k", "", "-p", str(port)]
    command += ["-c", "wal_level=replica", "-c", "max_wal_senders=4", "-c", "dynamic_shared_memory_type=mmap"]
    supervisor.start(name, command, account=account, stop_signal=signal.SIGQUIT)
    supervisor.wait_for(name, lambda: _ready(supervisor.log_of(name)), name)


def _ready(log: Path) -> bool:
    return "ready to accept" in log.read_text()


@pytest.mark.debian("postgresql-15")
@pytest.mark.incident(7)
async def test_a_standby_is_refused_as_a_source(standby: str, moto_bucket: Bucket) -> None:
    site = make_site(standby, moto_bucket)
    connection = await asyncpg.connect(standby)
    assert await connection.fetchval("SELECT pg_is_in_recovery()")
    await connection.close()
    await site.put("image/orphan")
    with pytest.raises(ConfigError, match="a replica, whose lag looks like drift"):
        await site.once()
    with pytest.raises(ConfigError, match="a replica"):
        await site.plan()
    assert await site.keys() == {"image/orphan"}
