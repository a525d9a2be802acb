"""Help, usage and configuration: what a person meets before anything is reached."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import __version__
from reconciler.cli import main
from reconciler.errors import (
    CatalogUnavailable,
    ConfigError,
    ErrorKind,
    Halt,
    LoginMissing,
    LoginRefused,
    NotDone,
)
from tests.cli.program import reconciler

UNEXPECTED = "(unexpected; --log-level debug shows where)"
COMMANDS = (
    "demo",
    "init",
    "migrate",
    "config",
    "doctor",
    "plan",
    "once",
    "run",
    "status",
    "marks",
    "hold",
    "pause",
    "resume",
    "adopt-bucket",
    "undo",
    "erase",
)
SETTINGS = {
    "RECONCILER_DATABASE_URL": "postgresql://gateway:s3cr3t@127.0.0.1:1/media",
    "RECONCILER_BUCKET__NAME": "media",
    "RECONCILER_BUCKET__PREFIXES": '["image/"]',
    "RECONCILER_BUCKET__ENDPOINT_URL": "http://127.0.0.1:1",
    "RECONCILER_BUCKET__REQUEST_TIMEOUT": "1s",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t",
}


def test_help_lists_every_command_and_the_exit_statuses() -> None:
    ran = reconciler("--help")
    assert (ran.status, ran.told) == (0, [])
    for command in COMMANDS:
        assert re.search(rf"^    {command}\s", ran.out, re.MULTILINE)
    for status in ("0 done", "1 failed", "2 usage or configuration", "3 halted or tripped"):
        assert f"\n  {status}" in ran.out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"examples:\n  reconciler {command}" in text
    assert max(map(len, text.splitlines())) <= 110


def test_help_does_not_wait_for_the_imports_of_a_command() -> None:
    program = (
        "import sys\nfrom reconciler.cli import main\n"
        "try:\n    main(['plan', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'aioboto3', 'sqlalchemy', 'pydantic', 'rich', 'structlog', 'anyio', 'asyncpg'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["1>&-", "2>&-"])
def test_an_output_that_the_shell_has_closed_is_no_fault(closed: str) -> None:
    command = ["sh", "-c", f'exec "$0" -m reconciler config {closed}', sys.executable]
    ended = subprocess.run(
        command, env={**os.environ, **SETTINGS}, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr, "DRY_RUN" in ended.stdout) == (0, "", closed == "2>&-")


def test_version() -> None:
    ran = reconciler("--version")
    assert (ran.status, ran.out) == (0, f"reconciler {__version__}\n")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["sweep"], "invalid choice: 'sweep'"),
        (["plna"], "invalid choice: 'plna'; did you mean plan? See reconciler --help"),
        (["plan", "--fromat", "csv"], "unrecognized arguments: --fromat csv; did you mean --format?"),
        (["hold", "ad"], "invalid choice: 'ad'; did you mean add?"),
        (["plan", "--format", "xml"], "invalid choice: 'xml'"),
        (["plan", "--form", "csv"], "reconciler plan: unrecognized arguments: --form csv"),
        (
            ["hold", "remove", "image/a"],
            "reconciler hold remove: unrecognized arguments: image/a; see reconciler hold remove --help",
        ),
        (["demo", "--objects", "0"], "must be a whole number above 0"),
        (["demo", "--objects", "many"], "must be a whole number above 0"),
        (["undo"], "one of the arguments --key --pass --since is required"),
        (["undo", "--pass", "last"], "invalid int value"),
        (["undo", "--key", "a", "--since", "1h"], "not allowed with argument"),
    ],
)
def test_wrong_usage_is_one_line_and_exits_2(
    args: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reconciler")
    assert told in line


def test_nothing_named_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "\ncommands:\n" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str) -> None:
    ran = reconciler("completion", shell)
    assert (ran.status, ran.told) == (0, [])
    assert "reconciler" in ran.out


def test_bash_completes_commands_options_and_values(tmp_path: Path) -> None:
    """As the shell asks: by the variables of its completion, on descriptor 8."""
    answers = {}
    for line in ("reconciler pl", "reconciler plan --for", "reconciler plan --format "):
        answer = tmp_path / "answer"
        asked = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9", "_ARGCOMPLETE": "1"}
        program = f"exec 8>{answer}; exec {sys.executable} -m reconciler"
        subprocess.run(
            ["bash", "-c", program],
            env={**os.environ, **asked, "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SUPPRESS_SPACE": "1"},
            check=True,
        )
        answers[line] = answer.read_text(encoding="utf-8").split()
    assert answers == {
        "reconciler pl": ["plan"],
        "reconciler plan --for": ["--format"],
        "reconciler plan --format ": ["table", "jsonl", "csv"],
    }


@pytest.mark.parametrize("command", ["plan", "once", "doctor", "run"])
def test_every_fault_of_the_settings_is_told_at_once(command: str) -> None:
    env = {
        **SETTINGS,
        "RECONCILER_DRY_RUN": "maybe",
        "RECONCILER_GRACE_PERIOD": "48",
        "RECONCILER_BUCKET__PREFIXES": '["image"]',
        "RECONCILER_MAX_DELETES": "5",
    }
    ran = reconciler(command, env=env)
    assert (ran.status, ran.out) == (2, "")
    assert len(ran.told) == 4
    assert all(line.startswith("reconciler: RECONCILER_") for line in ran.told)
    assert ran.told[0] == (
        "reconciler: RECONCILER_MAX_DELETES: no such setting; did you mean RECONCILER_MAX_DELETES_PER_SECOND?"
    )


def test_nothing_set_names_what_is_required() -> None:
    ran = reconciler("plan")
    assert ran.status == 2
    assert [line.split()[1] for line in ran.told] == [
        "RECONCILER_DATABASE_URL",
        "RECONCILER_BUCKET__NAME",
        "RECONCILER_BUCKET__PREFIXES",
    ]


def test_migrate_asks_for_the_database_alone() -> None:
    ran = reconciler("migrate")
    assert ran.status == 2
    assert len(ran.told) == 1
    assert "RECONCILER_DATABASE_URL is not set" in ran.told[0]


def test_a_wait_that_is_no_duration_is_wrong_usage() -> None:
    ran = reconciler("once", "--wait", "soon", env=SETTINGS)
    assert (ran.status, ran.out) == (2, "")
    (told,) = ran.told
    assert told.startswith("reconciler: --wait 'soon': must be a duration such as")


@pytest.mark.parametrize("command", ["plan", "migrate"])
def test_a_database_that_is_away_is_one_line_without_the_password(command: str) -> None:
    ran = reconciler(command, env=SETTINGS)
    assert (ran.status, ran.out) == (1, "")
    (told,) = ran.told
    assert told.startswith("reconciler: ")
    assert "127.0.0.1:1" in told
    assert "s3cr3t" not in told


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (ConfigError("one\ntwo"), 2, ["reconciler: one", "reconciler: two"]),
        (Halt("stop"), 3, ["reconciler: stop"]),
        (LoginRefused("wrong"), 1, ["reconciler: wrong"]),
        (LoginMissing("none"), 1, ["reconciler: none"]),
        (CatalogUnavailable("away"), 1, ["reconciler: away"]),
        (ExceptionGroup("several", [CatalogUnavailable("away")]), 1, ["reconciler: away"]),
        (
            ValueError("odd\npostgresql://u:s3cr3t@h/d"),
            1,
            [f"reconciler: ValueError: odd postgresql://u:***@h/d {UNEXPECTED}"],
        ),
        (KeyboardInterrupt(), 130, []),
        (ExceptionGroup("several", [OSError("\x1b[31mred")]), 1, None),
    ],
)
def test_an_error_is_a_line_and_an_exit_status(
    error: BaseException,
    status: int,
    told: list[str] | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("reconciler.cli.plan.run", fail)
    assert main(["plan"]) == status
    err = capsys.readouterr().err
    assert "\x1b" not in err
    if told is not None:
        assert err.splitlines() == told


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (
            NotDone(ErrorKind.NOT_FOUND, "no_such_pass", "no pass 9"),
            1,
            "no pass 9; reconciler passes lists them",
        ),
        (
            NotDone(ErrorKind.CONFLICT, "later_pass_first", "pass 9 first", later=9),
            1,
            "pass 9 first (reconciler passes show 9)",
        ),
        (
            NotDone(ErrorKind.NOT_FOUND, "deleted_recoverably", "it went", key="image/a b"),
            1,
            "it went; `reconciler undo --key 'image/a b'` brings it back",
        ),
        (NotDone(ErrorKind.INVALID, "reason_missing", "say why"), 2, "--reason: say why"),
        (NotDone(ErrorKind.NOT_READY, "of_no_hint", "a {brace}", field="{x}"), 2, "a {brace}"),
    ],
)
def test_what_was_not_done_is_told_with_the_command_that_helps(
    error: NotDone,
    status: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("reconciler.cli.plan.run", fail)
    assert main(["plan"]) == status
    assert capsys.readouterr().err == f"reconciler: {told}\n"


def test_the_traceback_is_there_for_who_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        secret = "hunter2"
        raise ValueError(f"odd {len(secret)}")

    monkeypatch.setattr("reconciler.cli.plan.run", fail)
    assert main(["plan", "--log-level", "debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "ValueError: odd 7" in err
    assert "'hunter2'" not in err.replace('secret = "hunter2"', "")


@pytest.mark.parametrize(
    ("error", "status", "outcome", "told"),
    [
        (ExceptionGroup("several", [ValueError("odd")]), 1, "failed", f"ValueError: odd {UNEXPECTED}"),
        (CatalogUnavailable("away"), 1, "failed", "away"),
        (Halt("stop"), 3, "halted", "stop"),
    ],
)
def test_once_reports_whatever_happened(
    error: Exception,
    status: int,
    outcome: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("reconciler.app.once", fail)
    for name, setting in SETTINGS.items():
        monkeypatch.setenv(name, setting)
    assert main(["once", "--json"]) == status
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert (report["outcome"], report["mode"], report["objects"]) == (outcome, "dry_run", 0)
    assert printed.err == f"reconciler: {told}\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        ended = subprocess.run(
            [sys.executable, "-m", "reconciler", "migrate", "--sql"],
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
            timeout=100,
        )
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize(
    "command",
    [
        ("pause", "--reason"),
        ("hold", "add", "--key", "image/a", "--reason", "why", "--by"),
        ("hold", "add", "--key", "image/a", "--reason"),
        ("hold", "remove", "--key", "image/a", "--by"),
        ("approve", "1", "--by"),
        ("undo", "--pass", "1", "--by"),
    ],
    ids=" ".join,
)
def test_words_that_are_not_utf_8_are_refused_in_one_line(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """As Python hands on an argument with the byte 0xff."""
    with pytest.raises(SystemExit) as ended:
        main([*command, "no\udcffbody"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"argument {command[-1]}: it is not UTF-8" in line
