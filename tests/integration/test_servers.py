from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import asyncpg
import psutil
import pytest

from reconciler.embedded import seaweedfs
from reconciler.embedded import supervisor as supervisor_program
from reconciler.embedded.binaries import wheel_postgres
from reconciler.embedded.client import ServerFailed, Supervisor, free_ports, start_supervisor, supervised
from reconciler.embedded.postgres import start_postgres
from reconciler.embedded.servers import start_both
from tests.leftovers import Playground, ordinary_user, playground
from tests.servers import Bucket

SLOW = pytest.mark.soak

START_BOTH = """
import anyio
from reconciler.embedded import supervisor as supervisor_program
from reconciler.embedded.client import supervised
from reconciler.embedded.servers import start_both

async def main():
    async with supervised() as supervisor:
        await start_both(supervisor)
        print("up", flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""

KILLED_AT_A_REQUEST = """
import os, signal, sys
from reconciler.embedded import client
from reconciler.embedded.postgres import start_postgres
from reconciler.embedded.seaweedfs import start_s3

requests = 0
plain = client.Supervisor._ask

def ask(self, **request):
    global requests
    requests += request["op"] == "start"
    if request["op"] == "start":
        print(*request["scraps"], flush=True)
    when, number = sys.argv[1], int(sys.argv[2])
    if when == "before" and requests == number:
        os.kill(os.getpid(), signal.SIGKILL)
    answer = plain(self, **request)
    if when == "after" and requests == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

client.Supervisor._ask = ask
supervisor = client.start_supervisor()
start_postgres(supervisor)
start_s3(supervisor)
"""


@pytest.fixture
def ground() -> Iterator[Playground]:
    with playground() as opened:
        yield opened


def _first_line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def _ended(program: subprocess.Popen[str]) -> int:
    try:
        return program.wait(timeout=60)
    finally:
        program.kill()
        program.communicate()


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        signal.SIGTERM,
        pytest.param(signal.SIGHUP, marks=SLOW),
        pytest.param(signal.SIGINT, marks=SLOW),
    ],
)
def test_servers_go_with_whoever_started_them(ground: Playground, number: signal.Signals) -> None:
    program = ground.spawn(["-c", START_BOTH])
    assert _first_line(program) == "up"
    sockets = ground.sockets()
    assert len(ground.processes()) > 3
    assert sockets

    os.killpg(program.pid, number)

    assert _ended(program) != 0
    assert ground.is_clean()
    assert not any(path.exists() for path in sockets)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("request_number", [1, 2, 3])
def test_a_kill_between_any_two_steps_of_the_start_leaves_nothing(
    ground: Playground, when: str, request_number: int
) -> None:
    program = ground.spawn(["-c", KILLED_AT_A_REQUEST, when, str(request_number)])
    assert program.stdout is not None
    sockets = program.stdout.read().split()

    assert _ended(program) == -signal.SIGKILL
    assert ground.is_clean()
    assert not any(Path(path).exists() for path in sockets)


def test_an_ordinary_user_can_start_both() -> None:
    identity = ordinary_user()
    if identity is None:
        pytest.skip("the interpreter lies below a directory that no other account can enter")
    with playground(identity) as ground:
        program = ground.spawn(["-c", START_BOTH], **identity)
        assert _first_line(program) == "up"
        program.kill()
        _ended(program)
        assert ground.is_clean()


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0, 0.1, *(pytest.param(n, marks=SLOW) for n in (0.02, 0.05, 0.2, 0.5))])
async def test_a_start_given_up_leaves_nothing(seconds: float) -> None:
    async with supervised() as supervisor:
        with anyio.move_on_after(seconds):
            await start_both(supervisor)
    assert not supervisor.directory.exists()


@pytest.mark.anyio
async def test_one_server_that_fails_ends_the_start_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seaweedfs, "wheel_weed", lambda: Path("/bin/ls"))
    async with supervised() as supervisor:
        with pytest.raises(ServerFailed, match=r"(?s)the embedded S3 server did not start .*ls: "):
            await start_both(supervisor)
    assert not supervisor.directory.exists()


def test_the_supervisor_outlives_signals_meant_for_its_parent(ground: Playground) -> None:
    program = ground.spawn(["-c", START_BOTH])
    assert _first_line(program) == "up"
    (supervisor,) = [
        process for process in ground.processes() if "supervisor.py" in " ".join(process.cmdline())
    ]

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        supervisor.send_signal(number)
    assert supervisor.is_running()

    program.kill()
    _ended(program)
    assert ground.is_clean()


def test_no_permission_outside_our_own_directory_is_changed(ground: Playground) -> None:
    watched = [ground.directory, *ground.directory.parents, *wheel_postgres().parents]
    before = {path: path.stat().st_mode for path in watched}
    program = ground.spawn(["-c", START_BOTH])
    assert _first_line(program) == "up"
    program.kill()
    _ended(program)

    assert {path: path.stat().st_mode for path in watched} == before


def test_servers_listen_on_loopback_alone(ground: Playground) -> None:
    program = ground.spawn(["-c", START_BOTH])
    assert _first_line(program) == "up"
    listening = {
        connection.laddr.ip
        for process in ground.processes()
        for connection in process.net_connections("inet")
        if connection.status == "LISTEN"
    }
    program.kill()
    _ended(program)
    assert listening == {"127.0.0.1"}


def test_a_server_that_does_not_start_is_quoted(supervisor: Supervisor) -> None:
    with pytest.raises(ServerFailed, match=r"initdb .*failed(?s:.)*no-such-locale"):
        start_postgres(supervisor, name="broken", locale=("--locale=no-such-locale",))


def test_starting_anew_under_a_name_first_ends_what_had_it(supervisor: Supervisor, tmp_path: Path) -> None:
    scrap = tmp_path / "scrap"
    first = supervisor.start("again", ["/bin/sleep", "600"], scraps=[scrap])
    scrap.touch()

    supervisor.start("again", ["/bin/true"])

    assert not psutil.pid_exists(first)
    assert not scrap.exists()


def test_a_program_that_ends_before_it_is_ready_is_quoted(supervisor: Supervisor) -> None:
    supervisor.start("gone", ["/bin/sh", "-c", "echo the reason >&2; exit 3"])
    with pytest.raises(ServerFailed, match=r"(?s)exit status 3.*the reason"):
        supervisor.wait_for("gone", lambda: False, "the program")


def test_a_program_that_ignores_being_asked_is_killed_with_its_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    deaf = supervisor_program.start(
        {
            "argv": ["/bin/sh", "-c", "trap '' TERM; sleep 600 & echo deaf; wait; wait"],
            "log": str(log),
            "env": {"PATH": os.defpath},
            "cwd": "/",
            "uid": None,
            "gid": None,
            "stop_signal": int(signal.SIGTERM),
            "scraps": [],
        }
    )
    while "deaf" not in log.read_text():
        time.sleep(0.01)
    children = psutil.Process(deaf.popen.pid).children()

    deaf.stop(time.monotonic() + 0.1)

    assert deaf.popen.returncode == -signal.SIGKILL
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert gone
    assert not alive


def test_closing_twice_is_harmless_and_later_calls_say_why_they_fail() -> None:
    supervisor = start_supervisor()
    supervisor.close()
    supervisor.close()
    with pytest.raises(ServerFailed, match="shut down"):
        supervisor.poll("anything")


def test_the_directory_is_not_for_other_users_to_read(supervisor: Supervisor) -> None:
    assert not stat.S_IMODE(supervisor.directory.stat().st_mode) & (
        stat.S_IRGRP | stat.S_IROTH | stat.S_IWOTH
    )


def test_free_ports_are_free_at_every_offset() -> None:
    first = free_ports(3, (0, 10_000))
    assert 12_000 <= first < 22_000


@pytest.mark.anyio
async def test_an_empty_database_has_no_tables_and_byte_order(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        assert await connection.fetchval("SELECT 'B' < 'a'")
    finally:
        await connection.close()


@pytest.mark.anyio
@pytest.mark.debian("postgresql-15")
async def test_the_icu_database_does_not_sort_by_bytes(icu_empty_database: str) -> None:
    connection = await asyncpg.connect(icu_empty_database)
    try:
        assert not await connection.fetchval("SELECT 'B' < 'a'")
    finally:
        await connection.close()


def test_a_fresh_bucket_takes_objects(bucket: Bucket) -> None:
    bucket.put("image/a b+%&<\"'>😀.png")
    assert bucket.keys() == {"image/a b+%&<\"'>😀.png"}
