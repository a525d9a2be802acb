"""Who gives an order and whether it is meant, and what programs read of its outcome."""

from __future__ import annotations

import json
import os
import pty
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.cli.program import reconciler
from tests.cli.test_commands import OPEN, env, orders
from tests.cli.test_keeping import Shell, shell
from tests.servers import Bucket, execute

__all__ = ["env", "shell"]

REMOVED_ROW = """
INSERT INTO reconciler.ledger
    (event, what, storage_key, record_id, verdict, reason, result, epoch, mode, row_columns,
     row_types, row_values)
VALUES ('result', 'record', 'image/gone', '1', 'expired', 'old', 'deleted', 1, 'live', '{a}', '{text}', '{b}')
"""


def as_json(shell: Shell, *args: str) -> object:
    ran = shell(*args, "--json")
    assert (ran.status, ran.told) == (0, [])
    return json.loads(ran.out)


def test_the_name_is_the_options_else_the_settings_else_the_shells(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pauses(*options: str) -> object:
        done = as_json(shell, "pause", *options)
        as_json(shell, "resume")
        assert isinstance(done, dict)
        return done["by"]

    assert str(pauses()).startswith("alice@")
    monkeypatch.setenv("RECONCILER_OPERATOR", "ops@example.org")
    assert pauses() == "ops@example.org"
    assert pauses("--by", "ada") == "ada"


def test_orders_are_reported_as_json_alone_on_stdout(shell: Shell, database: str) -> None:
    paused = as_json(shell, "pause", "--reason", "restoring", "--by", "ada")
    assert isinstance(paused, dict)
    assert (paused["paused"], paused["by"], paused["reason"], paused["ours"]) == (
        True,
        "ada",
        "restoring",
        True,
    )
    resumed = as_json(shell, "resume", "--by", "bob")
    assert isinstance(resumed, dict)
    assert (resumed["paused"], resumed["by"]) == (True, "ada")
    held = as_json(shell, "hold", "add", "--key", "image/due", "--reason", "a case", "--by", "ada")
    assert isinstance(held, dict)
    assert (held["holds"][0]["target"], held["claimed"]) == ("image/due", [])
    theirs = ("hold", "remove", "--author", "ada")
    assert as_json(shell, *theirs, "--dry-run") == {"holds": 1, "dry_run": True}
    assert as_json(shell, *theirs, "--by", "bob") == {"holds": 1, "dry_run": False}
    reason = ("--reason", "still in use")
    assert as_json(shell, "marks", "cancel", "image/due", *reason) == {
        "cancelled": ["image/due"],
        "claimed": [],
        "unmarked": [],
    }
    assert as_json(shell, "marks", "retry", "--all") == {"retried": [], "unmarked": []}
    execute(database, REMOVED_ROW)
    assert as_json(shell, "erase", "image/gone") == {
        "complete": True,
        "objects": 0,
        "rows": 1,
        "claimed": [],
        "returning": [],
        "unknown": [],
        "named": [],
        "held": {},
    }
    migrated = as_json(shell, "migrate")
    assert isinstance(migrated, dict)
    assert len(migrated["done"]) == 1


def test_who_lifts_a_hold_or_has_marks_retried_signs_it(shell: Shell, database: str) -> None:
    added = ("hold", "add", "--key", "image/due", "--reason", "a case", "--by", "ada")
    assert shell(*added).status == 0
    assert shell("hold", "remove", "--author", "ada", "--by", "bob").status == 0
    execute(database, "UPDATE reconciler.marks SET last_error = 'away' WHERE storage_key = 'image/due'")
    assert as_json(shell, "marks", "retry", "--all", "--by", "cy") == {
        "retried": ["image/due"],
        "unmarked": [],
    }
    assert orders(database) == [("ada", "hold add"), ("bob", "hold remove"), ("cy", "marks retry")]


@contextmanager
def terminal(typed: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A terminal at which a person has typed this. What is said to it is not looked at."""
    ours, theirs = pty.openpty()
    os.write(ours, typed)
    with os.fdopen(theirs, "r", encoding="utf-8") as stdin, monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", stdin)
        patched.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        yield
    os.close(ours)


@pytest.mark.parametrize(("typed", "erased"), [(b"n\n", False), (b"\n", False), (b"y\n", True)])
def test_a_person_at_a_terminal_is_asked_before_something_is_erased(
    shell: Shell, database: str, monkeypatch: pytest.MonkeyPatch, typed: bytes, *, erased: bool
) -> None:
    execute(database, REMOVED_ROW)
    with terminal(typed, monkeypatch):
        asked = shell("erase", "image/gone")
    assert asked.status == (0 if erased else 1)
    assert "Erase 1 key for good?" in "".join(asked.told)
    with terminal(b"", monkeypatch):
        rest = shell("erase", "image/gone", "--yes")
    assert (rest.status, "removed rows: 1" in rest.out) == (0, not erased)


def test_without_an_input_no_question_is_asked(
    shell: Shell, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`<&-`: Python has none then."""
    execute(database, REMOVED_ROW)
    monkeypatch.setattr(sys, "stdin", None)
    assert shell("erase", "image/gone").status == 0


def test_nothing_is_written_about_a_key_that_never_was(shell: Shell, database: str) -> None:
    execute(database, REMOVED_ROW)
    ran = shell("erase", "image/never")
    assert (ran.status, ran.out) == (1, "")
    assert ran.told == [
        "reconciler: image/never: nothing is known of it, so nothing was erased: is the key right?"
    ]
    assert shell("history", "image/never").out.startswith("now: nothing is recorded")
    both = shell("erase", "image/never", "image/gone", "--by", "ada")
    assert (both.status, "removed rows: 1" in both.out) == (1, True)
    assert "erasure ordered by ada" in shell("history", "image/gone").out
    assert shell("history", "image/never").status == 1
    assert shell("erase", "image/gone").status == 0, "it may be repeated"


def test_a_tripped_pass_is_not_approved_by_a_person_who_says_no(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal(b"no\n", monkeypatch):
        asked = shell("approve", "2")
    assert asked.status == 1
    question = "".join(asked.told)
    assert "Approve pass 2? It releases 1 mark, 7 B. They may go from 20" in question
    assert "Z on. [y/N]" in question
    shown = as_json(shell, "passes", "show", "2")
    assert isinstance(shown, dict)
    assert shown["state"] == "tripped"
    assert shell("approve", "2").status == 0, "without a terminal no question is asked"


def test_a_tripped_pass_is_not_discarded_by_a_person_who_says_no(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal(b"no\n", monkeypatch):
        asked = shell("discard", "2")
    assert (asked.status, asked.out) == (1, "")
    assert "Discard pass 2? It withdraws 1 mark, 7 B, and nothing of it goes. [y/N]" in "".join(asked.told)
    with terminal(b"", monkeypatch):
        assert shell("discard", "2", "--yes").status == 0


@pytest.mark.parametrize("action", ["approve", "discard"])
def test_nobody_is_asked_about_a_pass_that_does_not_wait(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    for number, told in (("99", "there is no pass 99"), ("1", f"not tripped: there is nothing to {action}")):
        with terminal(b"y\n", monkeypatch):
            asked = shell(action, number)
        assert (asked.status, asked.out, len(asked.told)) == (1, "", 1)
        assert told in asked.told[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"RECONCILER_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"},
        {"RECONCILER_BUCKET__ENDPOINT_URL": "http://127.0.0.1:1"},
        {
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        },
        {"RECONCILER_BUCKET__NAME": "no-such-bucket"},
        {"RECONCILER_DATABASE_URL": ""},
    ],
    ids=["no database", "no store", "no credentials", "no such bucket", "no such database"],
)
def test_a_command_without_a_way_in_ends_as_failed(env: Mapping[str, str], changes: dict[str, str]) -> None:
    gone = env["RECONCILER_DATABASE_URL"].rpartition("/")[0] + "/no_such_database"
    changes = {name: value or (gone if "URL" in name else "") for name, value in changes.items()}
    for command in ("plan", "explain image/a"):
        ran = reconciler(*command.split(), env={**env, **changes})
        assert ran.status == 1, (command, ran.told)
        assert "tried again" not in "".join(ran.told), "only the daemon does that"


def test_a_migration_without_the_rights_ends_as_failed(empty_database: str) -> None:
    role, parts = f"poor_{secrets.token_hex(4)}", urlsplit(empty_database)
    execute(empty_database, f"CREATE ROLE {role} LOGIN PASSWORD '{parts.password}'")
    url = parts._replace(netloc=f"{role}:{parts.password}@{parts.hostname}:{parts.port}").geturl()
    ran = reconciler("migrate", env={"RECONCILER_DATABASE_URL": url})
    execute(empty_database, f"DROP ROLE {role}")
    assert ran.status == 1
    assert f"GRANT CREATE ON DATABASE {parts.path[1:]} TO {role};" in ran.told[-1]


def test_wrong_credentials_end_as_failed_too(seaweed_bucket: Bucket, database: str) -> None:
    """A moto takes any; SeaweedFS knows its own."""
    given = {**seaweed_bucket.environment(), **OPEN, "RECONCILER_DATABASE_URL": database}
    for command in ("plan", "once", "doctor"):
        ran = reconciler(command, env={**given, "AWS_SECRET_ACCESS_KEY": "wrong"})
        assert ran.status == 1, (command, ran.told)
        assert "AWS_SECRET_ACCESS_KEY" in "".join((ran.out, *ran.told))


def test_https_on_a_port_without_tls_is_answered_with_what_to_write(env: Mapping[str, str]) -> None:
    endpoint = env["RECONCILER_BUCKET__ENDPOINT_URL"].replace("http://", "https://")
    ran = reconciler("plan", env={**env, "RECONCILER_BUCKET__ENDPOINT_URL": endpoint})
    assert ran.status == 1
    assert "use http:// in RECONCILER_BUCKET__ENDPOINT_URL" in ran.told[-1]
