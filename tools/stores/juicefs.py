"""JuiceFS's S3 gateway, over a file system whose metadata is in SQLite: a store with directories."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from reconciler.embedded.client import HOST, Supervisor, free_ports
from tests.servers import S3Server
from tools.stores.running import require, run, status

INSTALL = 'pip install ".[stores]"'


def start(supervisor: Supervisor, *, etags: bool = True) -> S3Server:
    """Start it; some two seconds. Without `etags` it is as it comes: no object has one."""
    beside = Path(sys.executable).with_name("juicefs")
    program = str(beside) if beside.exists() else "juicefs"
    require([program], INSTALL)
    home = supervisor.directory / "juicefs"
    home.mkdir()
    metadata, port = f"sqlite3://{home}/meta.db", free_ports(1)
    run([program, "format", "--storage", "file", "--bucket", f"{home}/blocks/", metadata, "volume"])
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    # Unless told not to, it reports its use to its maker.
    flags = ["--no-usage-report", "--multi-buckets", *(["--keep-etag"] if etags else [])]
    supervisor.start(
        "juicefs",
        [program, "gateway", *flags, "--cache-dir", f"{home}/cache", metadata, f"{HOST}:{port}"],
        env={"MINIO_ROOT_USER": access_key, "MINIO_ROOT_PASSWORD": secret_key, "HOME": str(home)},
    )
    supervisor.wait_for("juicefs", lambda: status(port) is not None, "JuiceFS's gateway")
    return S3Server(
        kind="juicefs" if etags else "juicefs without etags",
        endpoint_url=f"http://{HOST}:{port}",
        access_key=access_key,
        secret_key=secret_key,
        region="us-east-1",
    )
