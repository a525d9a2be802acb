"""No secret in anything that is printed: commands in success and in failure, and a daemon, at debug level."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit
from uuid import uuid4

import asyncpg
import pytest

from reconciler.cli import main
from tests.servers import Bucket, execute

PASSWORD = "m@rked/p+ss w%rd&'1\\"
ACCESS_KEY_ID = "markedaccesskeyid"
SECRET_KEY = "marked/secret+key=for//the-store"
SESSION_TOKEN = "marked+session/token=="
OTLP_HEADER = "Bearer markedotlpheader"
MARKED = (PASSWORD, ACCESS_KEY_ID, SECRET_KEY, SESSION_TOKEN, OTLP_HEADER.split()[1])


def forms(secret: str) -> set[str]:
    """However it may be written."""
    encoded = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    in_base64 = base64.b64encode(secret.encode()).decode()
    written = {json.dumps(secret)[1:-1], repr(secret)[1:-1], in_base64}
    return {secret, *encoded, *(form.lower() for form in encoded), *written}


def assert_nothing_told(text: str) -> None:
    told = {form for secret in MARKED for form in forms(secret) if form in text}
    assert not told, text


def address(database: str, user: str, password: str = PASSWORD, **parts: str) -> str:
    """The database's, as another user, or elsewhere."""
    at = urlsplit(database)
    netloc = parts.get("netloc", f"{at.hostname}:{at.port}")
    return f"{parts.get('scheme', at.scheme)}://{user}:{quote(password, safe='')}@{netloc}{at.path}"


@pytest.fixture
def user(database: str) -> str:
    """A role of the database with a password of all sorts."""
    name = f"marked_{uuid4().hex[:8]}"
    literal = "'" + PASSWORD.replace("'", "''") + "'"
    execute(database, f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD {literal}")
    return name


@pytest.fixture
def env(database: str, user: str, moto_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Everything as it should be, with marked secrets; moto takes any."""
    moto_bucket.put("image/orphan")
    values = {
        **moto_bucket.environment(),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": SESSION_TOKEN,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={quote(OTLP_HEADER)}",
        "RECONCILER_BUCKET__PREFIXES": '["image/"]',
        "RECONCILER_BUCKET__REQUEST_TIMEOUT": "1s",
        "RECONCILER_GRACE_PERIOD": "0s",
        "RECONCILER_DELETE_DELAY": "0s",
        "RECONCILER_BREAKER__MAX_FRACTION": "1",
        "RECONCILER_DATABASE_URL": address(database, user),
        "RECONCILER_LOG_FORMAT": "json",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """A command at debug level: its exit status, and all that it printed."""

    def command(*args: str) -> tuple[int, str]:
        capfd.readouterr()
        status = main([*args, "--log-level", "debug"])
        return status, "".join(capfd.readouterr())

    return command


COMMANDS = (
    ("migrate",),
    ("config",),
    ("config", "--json"),
    ("doctor",),
    ("plan",),
    ("once",),
    ("passes",),
    ("storage",),
    ("pause", "--reason", "why"),
    ("resume",),
)


def test_commands_that_succeed_print_no_secret(
    env: Mapping[str, str], run: Callable[..., tuple[int, str]]
) -> None:
    for command in COMMANDS:
        status, text = run(*command)
        assert status == 0, (command, text)
        assert_nothing_told(text)


def faults(database: str, user: str, directory: Path) -> dict[str, tuple[dict[str, str], int]]:
    """Settings that are wrong, by what is, with the exit status of a plan."""
    url = "RECONCILER_DATABASE_URL"
    right = address(database, user)
    (directory / "url").write_text(right.replace("postgresql", "mysql"))
    (directory / "config.yaml").write_text(f"database_url: {json.dumps(right + '?sslmode=odd')}\n")
    (directory / "odd.yaml").write_text(f"database_url: [{right}\n")
    return {
        "the password": ({url: address(database, user, PASSWORD + "2")}, 1),
        "the user": ({url: address(database, "nobody-there")}, 1),
        "the host": ({url: address(database, user, netloc="nowhere.invalid:5432")}, 1),
        "the port": ({url: address(database, user, netloc="127.0.0.1:1")}, 1),
        "no port": ({url: address(database, user, netloc="127.0.0.1:port")}, 2),
        "the scheme": ({url: address(database, user, scheme="mysql")}, 2),
        "not encoded": ({url: f"postgresql://{user}:{PASSWORD}@127.0.0.1:1/x"}, 2),
        "a parameter": ({url: f"{right}?sslmode=odd"}, 2),
        "the password as a parameter": (
            {url: f"postgresql://127.0.0.1:1/x?user=u&password={quote(PASSWORD, safe='')}"},
            1,
        ),
        "in a variable of another name": ({"RECONCILER_DATABASE_PASSWORD": PASSWORD}, 2),
        "in another setting": ({"RECONCILER_BUCKET__NAME": right}, 2),
        "in the endpoint": ({"RECONCILER_BUCKET__ENDPOINT_URL": f"http://u:{SECRET_KEY}@127.0.0.1:1"}, 2),
        "the endpoint": ({"RECONCILER_BUCKET__ENDPOINT_URL": "http://127.0.0.1:1"}, 1),
        "the bucket": ({"RECONCILER_BUCKET__NAME": "no-such-bucket"}, 1),
        "a file's content": ({url: "", "RECONCILER_DATABASE_URL_FILE": str(directory / "url")}, 2),
        "a configuration file": ({url: "", "RECONCILER_CONFIG_FILE": str(directory / "config.yaml")}, 2),
        "a file's form": ({url: "", "RECONCILER_CONFIG_FILE": str(directory / "odd.yaml")}, 2),
    }


def test_commands_that_fail_print_no_secret(
    env: Mapping[str, str],
    database: str,
    user: str,
    run: Callable[..., tuple[int, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for what, (changes, expected) in faults(database, user, tmp_path).items():
        with monkeypatch.context() as patched:
            for name, value in changes.items():
                patched.setenv(name, value)
                if not value:
                    patched.delenv(name)
            status, text = run("plan")
        assert_nothing_told(text)
        assert (status, bool(text)) == (expected, True), (what, text)


def test_an_error_that_quotes_every_secret_is_printed_without_them(
    env: Mapping[str, str], run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a driver or a proxy might: in its message, in the traceback, in the report's detail."""

    async def fail(*_: object, **__: object) -> None:
        quoted = [form for secret in MARKED for form in forms(secret) if form != base64_of(secret)]
        raise ValueError(f"{quoted}; {env}; Authorization: AWS4-HMAC-SHA256 Signature=unheard-of")

    for command in ("plan", "once"):
        with monkeypatch.context() as patched:
            patched.setattr(asyncpg, "connect", fail)
            status, text = run(command)
        assert (status, "Traceback" in text) == (1, True)
        assert_nothing_told(text)
        assert "unheard-of" not in text


def base64_of(secret: str) -> str:
    return base64.b64encode(secret.encode()).decode()


# --- the daemon ---------------------------------------------------------------------------------------


def until(condition: Callable[[], bool]) -> None:
    """Poll, bounded: the daemon tells its state over HTTP and in its log alone."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def told_by_a_daemon(env: Mapping[str, str], tmp_path: Path, moto_bucket: Bucket) -> str:
    """What a daemon printed that deleted, met nonsense in its runtime file, and was stopped."""
    for number in range(50):
        moto_bucket.put(f"image/orphan-{number:03}")
    runtime, log = tmp_path / "runtime.yaml", tmp_path / "log"
    runtime.write_text("dry_run: false\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        **os.environ,
        "RECONCILER_RUNTIME_FILE": str(runtime),
        "RECONCILER_WEB__HOST": "127.0.0.1",
        "RECONCILER_WEB__PORT": str(port),
        "RECONCILER_DELETE_MODE": "direct",
        "RECONCILER_LISTING_CONCURRENCY": "2",
        "RECONCILER_BUCKET__LISTING_ORDER": "bytes",
        # On a busy machine a batch may use up a shorter one, and leave keys to the next.
        "RECONCILER_BUCKET__REQUEST_TIMEOUT": "20s",
    }
    command = [sys.executable, "-m", "reconciler", "run", "--log-level", "debug"]
    with log.open("w") as out, subprocess.Popen(command, env=settings, stdout=out, stderr=out) as daemon:
        try:
            until(lambda: not moto_bucket.keys("image/"))
            until(lambda: "batch collected" in log.read_text())
            runtime.write_text(f"database_url: {env['RECONCILER_DATABASE_URL']}\n")
            until(lambda: "runtime file refused" in log.read_text())
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                assert_nothing_told(answer.read().decode())
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(30) == 0
        finally:
            daemon.kill()
    return log.read_text()


def test_a_daemons_log_is_json_without_secrets_and_without_a_line_a_key(told_by_a_daemon: str) -> None:
    assert_nothing_told(told_by_a_daemon)
    lines: list[dict[str, Any]] = [json.loads(line) for line in told_by_a_daemon.splitlines()]
    assert all(list(line)[:3] == ["timestamp", "level", "event"] for line in lines)
    events = {line["event"]: line for line in lines}

    swept = events["range compared"]
    assert (swept["range"], swept["kind"], swept["loop"], swept["objects"]) == (0, "sweep", "sweep", 51)
    released = next(line for line in lines if line["event"] == "pass released" and line["kind"] == "sweep")
    assert swept["pass_id"] == released["pass_id"]
    assert swept["epoch"] == released["epoch"] == 1
    # One, or more where a busy store was asked for less at once.
    batches = [line for line in lines if line["event"] == "batch collected"]
    assert (sum(each["keys"] for each in batches), sum(each["bytes"] for each in batches)) == (51, 51)
    for batch in batches:
        assert (batch["epoch"], batch["failed"], batch["results"]) == (1, 0, {"deleted": batch["keys"]})
        assert batch["seconds"] > 0
        assert batch["operation"]

    above_debug = [line for line in lines if line["level"] != "debug"]
    assert "orphan-" not in json.dumps(above_debug)
    assert len(above_debug) < 51
