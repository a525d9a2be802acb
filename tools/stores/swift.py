"""OpenStack Swift behind its own s3api: one node, one replica, no replicators, updaters or auditors."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from reconciler.embedded.client import HOST, Supervisor, free_ports
from tests.servers import S3Server
from tools.stores.running import require, run, status

PROGRAMS = (
    "swift-ring-builder",
    "swift-proxy-server",
    "swift-account-server",
    "swift-container-server",
    "swift-object-server",
    "memcached",
)
INSTALL = (
    "apt-get install --no-install-recommends swift-proxy swift-account swift-container swift-object memcached"
)
RINGS = ("account", "container", "object")

NODE = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = root
swift_dir = {home}
devices = {home}/node
mount_check = false
log_level = WARNING
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""

PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = root
swift_dir = {home}
log_level = WARNING
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck proxy-logging cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin .reseller_admin
[filter:s3api]
use = egg:swift#s3api
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{cache}
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:symlink]
use = egg:swift#symlink
"""  # noqa: E501 - the pipeline is one line


def start(supervisor: Supervisor) -> S3Server:
    """Start it; some five seconds. /etc/swift/swift.conf is read as the package has it."""
    require(PROGRAMS, INSTALL)
    home = supervisor.directory / "swift"
    (home / "node" / "sdb1").mkdir(parents=True)
    first = free_ports(5)
    ports = {name: first + place for place, name in enumerate((*RINGS, "proxy", "memcached"))}
    for name in RINGS:
        _make_ring(home, name, ports[name])
        _write(home, name, NODE.format(name=name, port=ports[name], home=home))
    _write(home, "proxy", PROXY.format(port=ports["proxy"], cache=ports["memcached"], home=home))
    cache = ["memcached", "-u", "nobody", "-l", HOST, "-p", str(ports["memcached"]), "-U", "0"]
    supervisor.start("memcached", cache)
    for name in (*RINGS, "proxy"):
        supervisor.start(name, [f"swift-{name}-server", str(home / f"{name}.conf")])
    for name in (*RINGS, "proxy"):
        supervisor.wait_for(name, partial(_answers, ports[name]), f"Swift's {name} server")
    return S3Server(
        kind="swift",
        endpoint_url=f"http://{HOST}:{ports['proxy']}",
        access_key="test:tester",
        secret_key="testing",
        region="us-east-1",
    )


def _answers(port: int) -> bool:
    return status(port) is not None


def _make_ring(home: Path, name: str, port: int) -> None:
    builder = f"{name}.builder"
    for asked in (
        ("create", "8", "1", "1"),
        ("add", f"r1z1-{HOST}:{port}/sdb1", "1"),
        ("rebalance",),
    ):
        run(["swift-ring-builder", builder, *asked], cwd=home)


def _write(home: Path, name: str, text: str) -> None:
    (home / f"{name}.conf").write_text(text)
