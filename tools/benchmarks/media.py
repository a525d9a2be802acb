"""How fast media are served, against nginx and a plain proxy of the same store, and in how much memory."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
from botocore.config import Config

from reconciler.embedded.seaweedfs import EmbeddedS3
from tests.servers import execute
from tools.benchmarks import store as stores
from tools.benchmarks.corpus import PREFIX
from tools.benchmarks.figures import TIMES, Figure, at_least, at_most, for_comparison
from tools.benchmarks.programs import ROOT, ProgramFailed, measure, processor_time
from tools.benchmarks.resting import Replica
from tools.benchmarks.site import BUCKET, RECONCILER, Site, environment

ROUNDS = 5
OBJECTS = 256
SIZE = 64 << 10
CONNECTIONS = 32
SECONDS = 4
"""Of each program in each round."""
SLOW, SLOW_SIZE = 1_000, 16 << 20
SLOW_SECONDS = 10.0
UPLOADED = 1 << 30
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"
READY_SECONDS = 60.0
END_SECONDS = 1.0
SAMPLE_SECONDS = 0.02
NGINX = """
daemon off; worker_processes 1; pid {home}/pid; error_log {home}/errors;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f;
  uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  upstream store {{ server {store}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://store; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host {store}; proxy_set_header Authorization ""; proxy_buffers 16 16k;
    }}
  }}
}}
"""
LUA = """
local paths, next = {}, 0
for line in io.lines(os.getenv("PATHS")) do paths[#paths + 1] = line end
request = function() next = next % #paths + 1; return wrk.format("GET", paths[next]) end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %d, "microseconds": %d, "bytes": %d, "p99": %f, "failed": %d}\\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""
MEDIUM = """
INSERT INTO "MediaRecords" ("Id", "StorageKey", "VirtualKeyId", "MediaType", "ContentType", "SizeBytes",
                            "CreatedAt", "AccessCount")
SELECT gen_random_uuid(), '{key}', "Id", 'image', 'image/png', {size}, now(), 0 FROM "VirtualKeys" LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A store with media, their rows, and the token of the virtual key to which they belong."""

    store: EmbeddedS3
    database: str
    token: str
    keys: Sequence[str]

    def presigned(self) -> list[str]:
        """Paths that the store sends the media for to anybody."""
        client, seconds = _client(self.store), 24 * 3600
        urls = (
            client.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": key}, seconds)
            for key in self.keys
        )
        return [url[len(self.store.endpoint_url) :] for url in urls]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server of the media: its process, and for each medium the path that is asked for."""

    pid: int
    port: int
    paths: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Requests a second, the slowest hundredth's milliseconds, and shares of one core."""

    rate: float
    p99: float
    own: float
    client: float
    store: float
    postgres: float


def serving(site: Site) -> list[Figure]:
    """Requests a second of one process, by turns with nginx and a plain proxy, and with redirects."""
    rounds: dict[str, list[Round]] = {}
    with filled(site) as site_, ExitStack() as running, tempfile.TemporaryDirectory(prefix="wrk-") as home:
        media = [f"/v1/media/{quote(key)}" for key in site_.keys]
        servers = {
            "nginx": running.enter_context(_nginx(site_)),
            "stream": running.enter_context(_service(site_, media)),
            "plain": running.enter_context(_plain(site_)),
            "redirect": running.enter_context(_service(site_, media, MEDIA__DELIVERY="redirect")),
        }
        for name, served in servers.items():
            _asked(site, site_, served, Path(home), seconds=1, size=None if name == "redirect" else SIZE)
        for number in range(ROUNDS):
            names = list(servers)[number % len(servers) :] + list(servers)[: number % len(servers)]
            for name in names:
                size = None if name == "redirect" else SIZE
                done = _asked(site, site_, servers[name], Path(home), seconds=SECONDS, size=size)
                rounds.setdefault(name, []).append(done)
    return _compared(rounds)


def _compared(rounds: Mapping[str, Sequence[Round]]) -> list[Figure]:
    def typical(name: str, field: str) -> float:
        values: list[float] = [getattr(one, field) for one in rounds[name]]
        return median(values)

    def ratio(one: str, other: str) -> float:
        return median(a.rate / b.rate for a, b in zip(rounds[one], rounds[other], strict=True))

    title = f"media service, {SIZE >> 10} KiB each, {CONNECTIONS} connections"
    figures = [
        at_least(title, "against nginx in front of the store", ratio("stream", "nginx"), 0.35, TIMES),
        at_least(title, "against a plain Starlette proxy", ratio("stream", "plain"), 2, TIMES),
        at_least(title, "redirects against its own streaming", ratio("redirect", "stream"), 3, TIMES),
    ]
    names = {"stream": "streaming", "redirect": "redirects", "nginx": "nginx", "plain": "plain proxy"}
    for name, shown in names.items():
        figures.append(for_comparison(title, f"requests a second, {shown}", typical(name, "rate")))
        figures.append(for_comparison(title, f"p99, {shown}", typical(name, "p99"), " ms"))
        for field, whose in (("own", "own"), ("client", "the client's"), ("store", "the store's")):
            share = 100 * typical(name, field)
            figures.append(for_comparison(title, f"of one core, {shown}, {whose}", share, " %"))
    return figures


def slow_clients(site: Site, clients: int) -> list[Figure]:
    """The memory of a process that sends to so many clients which hardly read."""
    large = f"{PREFIX}large.bin"
    limits = {"MEDIA__REQUESTS": str(clients), "MEDIA__REQUESTS_PER_OWNER": str(clients)}
    with filled(site) as site_:
        _put(site_, large, SLOW_SIZE)
        path = f"/v1/media/{large}"
        with _service(site_, [f"/v1/media/{quote(site_.keys[0])}"], **limits) as served:
            replica = Replica(pid=served.pid, port=served.port)
            idle, peaks = replica.resident(), [0.0]
            options = [str(served.port), path, site_.token, "--clients", str(clients)]
            command = [sys.executable, "-m", "tools.benchmarks.slow_clients", *options]
            with (
                _sampled(replica, peaks),
                subprocess.Popen(
                    command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                ) as program,
            ):
                assert program.stdin is not None
                assert program.stdout is not None
                if program.stdout.readline().strip() != "answered":
                    raise ProgramFailed("a slow client was not answered")
                time.sleep(SLOW_SECONDS)
                program.stdin.close()
            if program.returncode:
                raise ProgramFailed("a slow client was cut off")
    title = f"media service, {clients:,} slow clients"
    return [
        at_most(title, "resident memory", max(peaks), 150, " MiB"),
        for_comparison(title, "resident memory before", idle, " MiB"),
    ]


def upload(site: Site, size: int) -> list[Figure]:
    """The memory of a process that takes an upload of that size."""
    settings = {
        "MEDIA__UPLOADS": "true",
        "MEDIA__UPLOAD_LIMITS": json.dumps({"video/": f"{size}B"}),
        "MEDIA__UPLOAD_KEY": f"{PREFIX}{{date}}/{{id}}{{extension}}",
        "MEDIA__UPLOAD_COLUMNS": json.dumps({"ContentType": "{content_type}"}),
    }
    with filled(site) as site_, _service(site_, [f"/v1/media/{quote(site_.keys[0])}"], **settings) as served:
        replica, peaks = Replica(pid=served.pid, port=served.port), [0.0]
        idle, began = replica.resident(), time.perf_counter()
        with _sampled(replica, peaks):
            _upload(served.port, site_.token, size)
        seconds = time.perf_counter() - began
    title = f"media service, upload of {size >> 20:,} MiB"
    return [
        at_most(title, "memory beyond an idle process's", max(peaks) - idle, 80, " MiB"),
        for_comparison(title, "MiB a second", (size >> 20) / seconds),
    ]


def _upload(port: int, token: str, size: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "video/mp4",
        "Content-Length": str(size),
    }
    part = os.urandom(1 << 20)
    parts = (MP4.ljust(1 << 20, b"\0") if number == 0 else part for number in range(size >> 20))
    connection.request("POST", "/v1/media", body=parts, headers=headers)
    answer = connection.getresponse()
    told = answer.read()
    if answer.status != HTTPStatus.CREATED:
        raise ProgramFailed(f"the upload was answered with {answer.status}: {told[:500].decode()}")


@contextmanager
def filled(site: Site) -> Iterator[Filled]:
    """A store and a database with as many media as are asked for in turn."""
    token = f"condt_{secrets.token_hex(16)}"
    digest = hashlib.sha256(token.encode()).hexdigest()
    with stores.opened() as store, site.database(0) as database:
        execute(database, f'UPDATE "VirtualKeys" SET "KeyHash" = \'{digest}\'')
        keys = [f"{PREFIX}2026/11/30/{number:06}.png" for number in range(OBJECTS)]
        made = Filled(store=store, database=database, token=token, keys=keys)
        _client(store).create_bucket(Bucket=BUCKET)
        for key in keys:
            _put(made, key, SIZE)
        yield made


def _put(site: Filled, key: str, size: int) -> None:
    _client(site.store).put_object(Bucket=BUCKET, Key=key, Body=os.urandom(size), ContentType="image/png")
    execute(site.database, MEDIUM.format(key=key, size=size))


def _client(store: EmbeddedS3) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint_url,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        region_name=store.region,
        config=Config(signature_version="s3v4"),
    )


@contextmanager
def _service(site: Filled, paths: Sequence[str], **settings: str) -> Iterator[Served]:
    """One process of the media service."""
    port, watched = _free_port(), _free_port()
    own = {
        "MEDIA__HOST": "127.0.0.1",
        "MEDIA__PORT": str(port),
        "MEDIA__REQUESTS_PER_OWNER": "1000",
        "WEB__HOST": "127.0.0.1",
        "WEB__PORT": str(watched),
        **settings,
    }
    told = environment(site.database, site.store.endpoint_url, own, site.store.environment())
    with _running([*RECONCILER, "media"], told) as pid:
        _await(f"http://127.0.0.1:{port}{paths[0]}", site.token)
        yield Served(pid=pid, port=port, paths=paths)


@contextmanager
def _plain(site: Filled) -> Iterator[Served]:
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "tools.benchmarks.plain_proxy:app", "--no-access-log"]
    told = {"ENDPOINT": site.store.endpoint_url, "BUCKET": BUCKET, **site.store.environment()}
    with _running([*command, "--host", "127.0.0.1", "--port", str(port)], told) as pid:
        _await(f"http://127.0.0.1:{port}/{quote(site.keys[0])}", site.token)
        yield Served(pid=pid, port=port, paths=[f"/{quote(key)}" for key in site.keys])


@contextmanager
def _nginx(site: Filled) -> Iterator[Served]:
    """Nginx with one worker. Who may have a medium, the store decides, by presigned paths."""
    program, port, paths = _debian("nginx", "nginx-light"), _free_port(), site.presigned()
    with tempfile.TemporaryDirectory(prefix="nginx-") as home:
        place = Path(home) / "nginx.conf"
        place.write_text(NGINX.format(home=home, port=port, store=urlsplit(site.store.endpoint_url).netloc))
        with _running([program, "-p", home, "-c", str(place), "-e", f"{home}/errors"], {}) as pid:
            _await(f"http://127.0.0.1:{port}{paths[0]}", site.token)
            yield Served(pid=pid, port=port, paths=paths)


@contextmanager
def _running(command: Sequence[str], told: Mapping[str, str]) -> Iterator[int]:
    """A server until the context ends; its process id."""
    surroundings = {"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), **told}
    server = subprocess.Popen(command, cwd=ROOT, env=surroundings, stdin=subprocess.DEVNULL)
    try:
        yield server.pid
    finally:
        server.terminate()  # nginx would leave its worker behind if it were killed
        with suppress(subprocess.TimeoutExpired):
            server.wait(END_SECONDS)
        server.kill()
        server.wait()


def _await(url: str, token: str) -> None:
    """Ask until it is answered."""
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    opener = urllib.request.build_opener(_NoRedirect)
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            opener.open(asked, timeout=5).read()
            return
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.FOUND:
                return
            answer = f"{error.code} {error.read(500).decode()}"
        except OSError as error:
            answer = str(error)
        if time.monotonic() > deadline:
            raise ProgramFailed(f"{url} is not answered: {answer}")
        time.sleep(0.1)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _asked(site: Site, site_: Filled, served: Served, home: Path, *, seconds: int, size: int | None) -> Round:
    """As many requests as are answered in so many seconds; where a size is given, each with so much."""
    script, paths = home / "wrk.lua", home / "paths"
    script.write_text(LUA)
    paths.write_text("".join(f"{path}\n" for path in served.paths))
    counted = (served.pid, site_.store.pid, site.postgres.pid)
    before = [processor_time(pid) for pid in counted]
    run = measure(
        [
            _debian("wrk", "wrk"),
            *("-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "20s"),
            *("-H", f"Authorization: Bearer {site_.token}", "-s", str(script)),
            f"http://127.0.0.1:{served.port}",
        ],
        {"PATHS": str(paths)},
    )
    own, store, postgres = (processor_time(pid) - then for pid, then in zip(counted, before, strict=True))
    found = json.loads(run.output.splitlines()[-1])
    if found["failed"] or (size and found["bytes"] < found["requests"] * size):
        raise ProgramFailed(f"requests failed: {run.output.decode()}")
    took = found["microseconds"] / 1e6
    return Round(
        rate=found["requests"] / took,
        p99=found["p99"] / 1_000,
        own=own / took,
        client=run.cpu / took,
        store=store / took,
        postgres=postgres / took,
    )


@contextmanager
def _sampled(replica: Replica, peaks: list[float]) -> Iterator[None]:
    """Note what the process holds, again and again until the context ends."""
    ending = threading.Event()

    def sample() -> None:
        while not ending.wait(SAMPLE_SECONDS):
            peaks.append(replica.resident())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def _debian(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        raise ProgramFailed(f"{name} is not installed: apt-get install --no-install-recommends {package}")
    return found
