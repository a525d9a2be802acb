"""Ceph's RADOS Gateway: one monitor, one manager, one OSD in memory, and a gateway with http and https."""

from __future__ import annotations

import secrets
import uuid
from pathlib import Path

from reconciler.embedded.client import HOST, Supervisor, free_ports
from tests.servers import S3Server
from tools.stores.running import require, run, status

PROGRAMS = ("ceph", "ceph-mon", "ceph-mgr", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin", "openssl")
INSTALL = "apt-get install --no-install-recommends ceph-mon ceph-mgr ceph-osd radosgw ceph-common openssl"

CONFIGURATION = """
[global]
fsid = {fsid}
mon_host = {monitors}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
mon_allow_pool_size_one = true
mon_allow_pool_delete = true
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = 6442450944
mon_data = {home}/mon
mgr_data = {home}/mgr
osd_data = {home}/osd
rgw_data = {home}/rgw
log_file = {home}/$name.log
admin_socket = {home}/$name.asok
pid_file = {home}/$name.pid
crash_dir = {home}/crash
rgw_frontends = beast endpoint=127.0.0.1:{http} ssl_endpoint=127.0.0.1:{https} ssl_certificate={home}/tls.pem
"""
"""`ms_mon_client_mode = crc`: what the gateway takes by itself does not fit a cluster without keys."""


def start(supervisor: Supervisor, *, tls: bool = False) -> S3Server:
    """Start it; some twenty seconds."""
    require(PROGRAMS, INSTALL)
    home = supervisor.directory / "ceph"
    for part in ("mon", "mgr", "osd", "rgw", "crash"):
        (home / part).mkdir(parents=True)
    first = free_ports(4)
    _certificate(home)
    monitors = f"[v2:{HOST}:{first},v1:{HOST}:{first + 1}]"
    fsid, conf = str(uuid.uuid4()), str(home / "ceph.conf")
    Path(conf).write_text(
        CONFIGURATION.format(fsid=fsid, monitors=monitors, home=home, http=first + 2, https=first + 3)
    )
    _start_cluster(supervisor, home, conf, fsid, monitors)
    supervisor.start("radosgw", ["radosgw", "-c", conf, "-n", "client.rgw", "-f"])
    supervisor.wait_for("radosgw", lambda: status(first + 2) is not None, "the RADOS gateway")
    access_key, secret_key = secrets.token_hex(10).upper(), secrets.token_hex(20)
    _admin(
        conf, "user", "create", "--uid=test", "--display-name=test",
        f"--access-key={access_key}", f"--secret-key={secret_key}",
    )  # fmt: skip
    return S3Server(
        kind="ceph",
        endpoint_url=f"https://{HOST}:{first + 3}" if tls else f"http://{HOST}:{first + 2}",
        access_key=access_key,
        secret_key=secret_key,
        region="us-east-1",
        trusted=str(home / "tls.crt") if tls else None,
    )


def _start_cluster(supervisor: Supervisor, home: Path, conf: str, fsid: str, monitors: str) -> None:
    monmap = str(home / "monmap")
    run(["monmaptool", "--create", "--addv", "a", monitors, "--fsid", fsid, monmap])
    run(["ceph-mon", "-c", conf, "--mkfs", "-i", "a", "--monmap", monmap])
    supervisor.start("ceph-mon", ["ceph-mon", "-c", conf, "-i", "a", "-f"])
    supervisor.start("ceph-mgr", ["ceph-mgr", "-c", conf, "-i", "x", "-f"])
    disk = str(uuid.uuid4())
    number = run(["ceph", "-c", conf, "--connect-timeout", "60", "osd", "new", disk])
    run(["ceph-osd", "-c", conf, "-i", number, "--mkfs", "--osd-uuid", disk])
    supervisor.start("ceph-osd", ["ceph-osd", "-c", conf, "-i", number, "-f"])


def _admin(conf: str, *asked: str) -> None:
    run(["radosgw-admin", "-c", conf, "-n", "client.rgw", *asked])


def _certificate(home: Path) -> None:
    """A certificate that the tests trust, and key and certificate in one file, as the gateway reads them."""
    key, certificate = home / "tls.key", home / "tls.crt"
    run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}",
         "-addext", f"subjectAltName=IP:{HOST}", "-keyout", str(key), "-out", str(certificate)]
    )  # fmt: skip
    (home / "tls.pem").write_text(key.read_text() + certificate.read_text())
