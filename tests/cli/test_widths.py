"""Every table on a terminal of 80 columns, with the longest keys: it fits, and only long cells are broken."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from uuid import UUID

import pytest
from rich.cells import cell_len

from reconciler.cli import main, output, parser, plan, undo
from reconciler.model import Finding, Mode, Return, Returned, Verdict
from reconciler.operations.findings import Findings
from tests.servers import execute

COLUMNS = 80
LONG = "image/" + "tenant-0123456789abcdef/" * 12 + "picture.png"
"""300 characters, and no space in them."""

REASON = (
    "a reason of a whole line, as an operator writes it who has been asked by three departments why it stays"
)

FILLED = f"""
INSERT INTO reconciler.passes
    (id, kind, cutoff, config_hash, mode, state, epoch, tally, released_xid, trip_reason, finished_at)
VALUES (1234567, 'sweep', now(), '0123456789abcdef', 'dry_run', 'released', 1, '{{}}', '3', NULL, now()),
       (1234568, 'retention', now(), '0123456789abcdef', 'dry_run', 'tripped', 1,
        '{{"found": {{"expired": 1234567}}}}', NULL, '{REASON}', now());
INSERT INTO reconciler.marks
    (storage_key, verdict, reason, bytes, pass_id, object_etag, first_seen_at, last_seen_at, last_pass_id,
     confirmed_id, sightings, due_at, state)
SELECT '{LONG}' || n, 'dangling', '{REASON}', 1234567890123, 1234567 + n % 2, 'etag', now(), now(), 1234567,
       1234567, 1, now(), 'found'
FROM generate_series(1, 4) n;
INSERT INTO reconciler.holds (kind, target, reason, author, until)
VALUES ('virtual_key', '{LONG}', '{REASON}', 'somebody.with-a-name@department.example.org', now() + '1 day');
INSERT INTO reconciler.ledger (epoch, event, mode, what, storage_key, verdict, reason, result, bytes, pass_id)
VALUES (1, 'result', 'live', 'object', '{LONG}1', 'dangling', '{REASON}', 'deleted', 1234567890123, 1234567);
UPDATE reconciler.passes SET decided_by = 'ada', decided_at = now() WHERE id = 1234567;
UPDATE reconciler.lease SET expires_at = now() + '1 hour',
       holder = 'a-pod-of-a-deployment-with-a-long-name-5f9c7d/12345/0123456789abcdef';
"""

DAY = re.compile(r"(?<!\S)\d{4}-\d\d-\d\d(?!\S)")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "console", lambda: output.Output(highlight=False, width=COLUMNS))


@pytest.fixture
def filled(database: str, narrow: None, monkeypatch: pytest.MonkeyPatch) -> str:
    execute(database, *FILLED.strip().split(";\n"))
    monkeypatch.setenv("RECONCILER_DATABASE_URL", database)
    return database


def whole(shown: str, *words: str) -> None:
    """That it is as wide as a terminal at most, and has these words in one piece."""
    assert max(cell_len(line) for line in shown.splitlines()) <= COLUMNS, shown
    for word in words:
        assert re.search(rf"(?<!\S){re.escape(word)}(?!\S)", shown), f"{word} is broken:\n{shown}"


COMMANDS: Sequence[tuple[str, Sequence[str]]] = (
    ("passes", ["1234568", "retention", "tripped", "dry_run", "1,234,567", "began", "marks"]),
    ("passes show 1234567", ["(all)", "dangling", "2.2 TiB", "of records", "deleted"]),
    ("marks list", ["unreleased", "dangling", "pass", "1234567;", "TiB;", "due", "operator"]),
    ("hold list", ["virtual key", "until", "author", "departments"]),
    (f"marks show {LONG}1", ["storage key", "unreleased", "first seen at", "1234567890123"]),
    ("status", ["1234568", "mode", "last retention"]),
    ("ledger", ["result", "deleted", "dangling", "TiB;", "1234567;", "departments", "approved"]),
    ("storage", ["virtual key", "objects", "share"]),
)
"""A command, and words that are not to be broken."""


@pytest.mark.parametrize(("command", "words"), COMMANDS, ids=lambda each: str(each)[:11])
def test_a_table_fits_a_terminal(
    filled: str, capsys: pytest.CaptureFixture[str], command: str, words: Sequence[str]
) -> None:
    assert main(command.split()) == 0
    shown = capsys.readouterr().out
    whole("\n".join(unbroken(shown)), *words)
    if command in {"marks list", "hold list"}:
        assert DAY.search(shown), f"a day is broken:\n{shown}"


def unbroken(shown: str) -> Sequence[str]:
    """The lines without those that are one long key, which can be copied since it is in one piece."""
    return [line for line in shown.splitlines() if not re.fullmatch(rf" *{re.escape(LONG)}\d?", line)]


def test_a_plan_fits_a_terminal(narrow: None, capsys: pytest.CaptureFixture[str]) -> None:
    found = Findings()
    found.add(
        [
            Finding(verdict=verdict, storage_key=f"{LONG}{number}", bytes=1_234_567_890_123, reason=REASON)
            for verdict in (Verdict.ORPHAN, Verdict.OWNERLESS)
            for number in range(3)
        ]
    )
    out = output.console()
    plan.summary(found.groups, out)
    whole(capsys.readouterr().out, "ownerless", "to go", "total", "6.7 TiB")
    plan.details(found.groups, out)
    whole("\n".join(unbroken(capsys.readouterr().out)), "ownerless", "departments", "1.1 TiB")


def test_what_came_back_fits_a_terminal(narrow: None, capsys: pytest.CaptureFixture[str]) -> None:
    row = UUID(int=2**127)
    returned = [
        Returned(storage_key=LONG, outcome=Return.RESTORED, size=1_234_567_890_123),
        Returned(storage_key=LONG, outcome=Return.REFUSED, record_id=str(row), reason=REASON),
    ]
    undo._print(returned, 2, Mode.DRY_RUN)
    whole(capsys.readouterr().out, "outcome", "would be", "refused", "1.1 TiB", "departments")


def _helps() -> Iterator[str]:
    """The help of every command, and of every action of one."""
    waiting = [parser()]
    while waiting:
        each = waiting.pop()
        yield each.format_help()
        groups = [action for action in each._actions if isinstance(action, argparse._SubParsersAction)]
        waiting += [below for group in groups for below in group.choices.values()]


def test_every_help_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    helps = list(_helps())
    assert len(helps) > 30
    for each in helps:
        whole(each)


def test_what_is_piped_is_as_wide_as_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert output.console().width == output.PIPED
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    assert output.console().width == COLUMNS


def test_the_settings_fit_a_terminal(
    narrow: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "RECONCILER_DATABASE_URL", "postgresql://somebody@db.internal.example.org:5432/gateway"
    )
    monkeypatch.setenv("RECONCILER_BUCKET__NAME", "media")
    monkeypatch.setenv("RECONCILER_BUCKET__PREFIXES", json.dumps([LONG[:60] + "/", "video/"]))
    assert main(["config"]) == 0
    shown = capsys.readouterr().out
    whole(shown, "BUCKET__PREFIXES", "CATALOG__MEDIA_COLUMNS__LAST_ACCESSED_AT", "BREAKER__MAX_FRACTION ~")
