"""What has to work in the image, on a real Postgres and a real S3 server, told line by line."""

from __future__ import annotations

import errno
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from reconciler.embedded.client import free_ports, start_supervisor
from reconciler.embedded.postgres import start_postgres
from reconciler.embedded.seaweedfs import start_s3
from tests.integration.site import Site, make_site
from tests.servers import S3Server, fresh_bucket, fresh_database
from tools.image.jail import Jail, Ran, terminate
from tools.image.program import Tell
from tools.image.running import CheckFailed, require

_LOOK_AROUND = """
import importlib.util, json, os, pathlib, reconciler, shutil

def writable(path):
    try:
        pathlib.Path(path, ".written").touch()
    except OSError as error:
        return os.strerror(error.errno)
    return True

status = dict(line.split(":\\t", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
package = os.path.dirname(reconciler.__file__)
print(json.dumps({
    "user": [os.getuid(), os.getgid(), os.getgroups()],
    "capabilities": status["CapEff"], "no_new_privileges": status["NoNewPrivs"], "pid": os.getpid(),
    "writable": {path: writable(path) for path in ("/", "/tmp", "/dev", package)},
    "modules": [name for name in "pip setuptools wheel hatchling".split() if importlib.util.find_spec(name)],
    "page": sorted(os.listdir(os.path.join(package, "api", "page", "assets"))),
    "jinja2": importlib.util.find_spec("jinja2") is not None,
    "programs": [name for name in "pip pip3 gcc cc make git".split() if shutil.which(name)],
    "package": package,
}))
"""


@contextmanager
def site() -> Iterator[Site]:
    """A gateway's site without our schema, on servers that go with us."""
    supervisor = start_supervisor()
    try:
        started = start_s3(supervisor)
        server = S3Server(
            kind="seaweedfs",
            endpoint_url=started.endpoint_url,
            access_key=started.access_key,
            secret_key=started.secret_key,
            region=started.region,
        )
        with fresh_database(start_postgres(supervisor)) as database, fresh_bucket(server) as bucket:
            yield make_site(database, bucket)
    finally:
        supervisor.close()


def confined(jail: Jail, python: str, tell: Tell, *, bare: bool) -> None:
    """The program is where it may do nothing but write to /tmp; `bare`: and has no build tools beside it."""
    seen = json.loads(_done(jail.run([python, "-c", _LOOK_AROUND], {}), "looking around").out)
    uid, gid = (int(part) for part in jail.user.split(":"))
    require(seen["user"] == [uid, gid, []], f"runs as {seen['user']}")
    require(int(seen["capabilities"], 16) == 0, f"has capabilities {seen['capabilities']}")
    require(seen["no_new_privileges"] == "1", "may gain privileges")
    require(seen["pid"] == 1, "is not the first process of its namespace")
    written = {path for path, answer in seen["writable"].items() if answer is True}
    require(written == {"/tmp"}, f"can write to {sorted(written)}, not to /tmp alone")
    read_only = {path for path, answer in seen["writable"].items() if answer == os.strerror(errno.EROFS)}
    require(read_only == {"/", seen["package"]}, f"read-only are {sorted(read_only)}, not the root")
    require(seen["modules"] == [], f"carries {seen['modules']}")
    page = ["icon.svg", "page.css", "page.js"]
    require(seen["jinja2"] and seen["page"] == page, f"the status page lacks something: {seen['page']}")
    tell(
        f"as {uid}:{gid}, without capabilities, root read-only but for /tmp; the program in {seen['package']}"
    )
    if bare:
        require(seen["programs"] == [], f"carries {seen['programs']}")
        tell("neither pip nor a compiler, nor git")


def works(jail: Jail, command: str, site: Site, tell: Tell) -> None:
    """Migrate, doctor, a pass that deletes an orphan, and the daemon from its start to its SIGTERM."""
    _done(jail.run([command, "migrate", "--create-tables"], site.environment), "migrate")
    checks = _done(jail.run([command, "doctor"], site.environment), "doctor").out
    tell(f"doctor: exit 0, {len(checks.splitlines())} lines")
    anyio.run(_seed, site)
    report = json.loads(_done(jail.run([command, "once", "--json"], site.environment), "once").out)
    left = anyio.run(site.keys)
    require(left == {"image/tracked"}, f"after the pass the bucket holds {sorted(left)}")
    require(report["outcome"] == "converged", f"the pass ended {report['outcome']}")
    require(report["deleted"]["objects"] == 1, f"it deleted {report['deleted']}")
    tell("once --json: converged; the orphan has gone, the tracked object is there")
    _daemon(jail, command, site, tell)


async def _seed(site: Site) -> None:
    await site.tracked("image/tracked")
    await site.put("image/orphan")


def _daemon(jail: Jail, command: str, site: Site, tell: Tell) -> None:
    port = free_ports(1)
    started = jail.start([command, "run"], site.settings(web__host="127.0.0.1", web__port=str(port)))
    try:
        while not _answers(f"http://127.0.0.1:{port}/readyz"):
            if started.poll() is not None:
                raise CheckFailed(f"the daemon ended: {started.communicate()[1][-2000:]}")
            time.sleep(0.1)
        ended = terminate(started)
    finally:
        started.kill()
    require(ended.status == 0, f"the daemon ended with {ended.status} after SIGTERM: {ended.told[-2000:]}")
    require("Traceback" not in ended.told + ended.out, f"the daemon said {ended.told[-2000:]}")
    tell("run: ready, and gone with 0 after SIGTERM")


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _done(ran: Ran, what: str) -> Ran:
    require(ran.status == 0, f"{what} ended with {ran.status}: {ran.told[-2000:]}{ran.out[-2000:]}")
    return ran
