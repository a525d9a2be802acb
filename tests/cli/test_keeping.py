"""`marks` and `hold`, as a shell or a script runs them; in this process, since starting one takes longest."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from reconciler.cli import main
from tests.cli.program import Ran
from tests.servers import execute

PASSES = """
INSERT INTO reconciler.passes (id, kind, cutoff, config_hash, mode, state, epoch, tally, released_xid)
VALUES (1, 'sweep', now(), 'h', 'live', 'released', 1, '{}', '3'),
       (2, 'sweep', now(), 'h', 'live', 'tripped', 1, '{}', NULL)
"""
MARK = """
INSERT INTO reconciler.marks
    (storage_key, verdict, reason, bytes, pass_id, object_etag, first_seen_at, last_seen_at, last_pass_id,
     confirmed_id, sightings, due_at, state)
SELECT key, verdict, 'no record', 7, pass, 'e1', now(), now(), pass, 2, 1, now() + due::interval, state
FROM (VALUES ('image/claimed', 'orphan', 1, '0s', 'claimed'),
             ('image/due', 'orphan', 1, '0s', 'found'),
             ('image/once', 'dangling', 1, '0s', 'found'),
             ('image/waiting', 'orphan', 1, '1h', 'found'),
             ('video/tripped', 'expired', 2, '0s', 'found')) AS m (key, verdict, pass, due, state)
"""


class Shell:
    """Runs commands on a database with a mark in each state, but for a held one."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *args: str) -> Ran:
        try:
            status = main(args)
        except SystemExit as ended:
            status = int(str(ended.code))
        out, told = self._capsys.readouterr()
        return Ran(status=status, out=out, told=told.splitlines())


@pytest.fixture
def shell(database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    execute(database, PASSES, MARK)
    monkeypatch.setenv("RECONCILER_DATABASE_URL", database)
    for name in ("LOGNAME", "USER"):
        monkeypatch.setenv(name, "alice")
    return Shell(capsys)


def listed(shell: Shell, *options: str) -> dict[str, str]:
    """State by key, as `marks list` has it."""
    ran = shell("marks", "list", "--format", "jsonl", *options)
    assert (ran.status, ran.told) == (0, [])
    return {mark["storage_key"]: mark["state"] for mark in map(json.loads, ran.out.splitlines())}


def test_marks_are_listed_with_how_they_stand_and_by_every_filter(shell: Shell) -> None:
    held = shell("hold", "add", "--key", "image/due", "--reason", "a case")
    assert held.status == 0
    everything = {
        "image/claimed": "claimed",
        "image/due": "held",
        "image/once": "waiting",
        "image/waiting": "waiting",
        "video/tripped": "unreleased",
    }
    assert listed(shell) == everything
    assert set(listed(shell, "--verdict", "dangling")) == {"image/once"}
    assert set(listed(shell, "--state", "waiting")) == {"image/once", "image/waiting"}
    assert set(listed(shell, "--prefix", "video/")) == {"video/tripped"}
    assert set(listed(shell, "--pass", "2", "--state", "unreleased")) == {"video/tripped"}
    assert list(listed(shell, "--limit", "2")) == ["image/claimed", "image/due"]
    assert list(listed(shell, "--after", "image/once")) == ["image/waiting", "video/tripped"]
    shell("hold", "remove", "--key", "image/due")
    assert listed(shell, "--state", "due") == {"image/due": "due"}


def test_the_marks_of_a_pass_are_those_of_the_passes_that_it_took_in_too(shell: Shell, database: str) -> None:
    later = """
    INSERT INTO reconciler.passes
        (id, kind, cutoff, config_hash, mode, state, epoch, tally, released_xid, decided_by, decided_at)
    VALUES (3, 'retention', now(), 'h', 'live', 'tripped', 1, '{}', NULL, NULL, NULL),
           (4, 'sweep', now(), 'h', 'live', 'tripped', 1, '{}', NULL, NULL, NULL)
    """
    execute(database, later)
    assert set(listed(shell, "--pass", "4")) == {"video/tripped"}
    assert set(listed(shell, "--pass", "3")) == set()
    assert shell("approve", "4").status == 0
    assert set(listed(shell, "--pass", "4")) == {"video/tripped"}, "approved, it still stands for both"
    assert set(listed(shell, "--pass", "2")) == {"video/tripped"}


def test_once_dry_run_has_ended_a_mark_is_due_when_its_delay_is_over_from_then(
    shell: Shell, database: str
) -> None:
    live = """
    UPDATE reconciler.term SET live_since = '2999-01-01T00:00:00Z';
    UPDATE reconciler.passes SET policy = '{"delete_delay": 3600.0}' WHERE id = 1
    """
    assert listed(shell, "--state", "due") == {"image/due": "due"}
    execute(database, live)
    assert listed(shell, "--state", "due") == {}
    shown = json.loads(shell("marks", "show", "--json", "image/due").out)
    assert (shown["state"], shown["due_at"]) == ("waiting", "2999-01-01T01:00:00Z")


def test_the_table_of_marks_is_aligned_and_says_how_to_go_on(shell: Shell) -> None:
    ran = shell("marks", "list", "--limit", "3")
    assert (ran.status, ran.told) == (0, [])
    heading, *rows, more = ran.out.splitlines()
    column = heading.index("key")
    assert [row[column:].split()[0] for row in rows] == ["image/claimed", "image/due", "image/once"]
    assert "--after 'image/once'" in more
    assert shell("marks", "list", "--verdict", "stale").out == "no such mark\n"


def test_one_mark_is_shown_with_its_hold(shell: Shell) -> None:
    shell("hold", "add", "--prefix", "image/", "--reason", "a case", "--until", "2999-01-01")
    ran = shell("marks", "show", "image/due")
    assert ran.status == 0
    assert "on hold" not in ran.told
    assert "reason: a case" in ran.out
    shown = json.loads(shell("marks", "show", "--json", "image/due").out)
    assert (shown["state"], shown["pass"], shown["pass_state"], shown["bytes"]) == ("held", 1, "released", 7)
    assert (shown["hold"]["kind"], shown["hold"]["until"]) == ("prefix", "2999-01-01T00:00:00Z")
    missing = shell("marks", "show", "image/none")
    assert (missing.status, missing.out) == (1, "")
    assert missing.told == ["reconciler: image/none: there is no mark on this key"]


def test_cancelling_is_in_the_ledger_and_says_that_a_pass_may_mark_anew(shell: Shell, database: str) -> None:
    keys = ["image/due", "image/claimed", "image/none"]
    ran = shell("marks", "cancel", *keys, "--reason", "still in use", "--by", "bob")
    assert ran.status == 1
    assert ran.out.splitlines() == [
        "cancelled: image/due",
        "a pass that finds such a key marks it again; `reconciler hold add` keeps it",
    ]
    assert ran.told == [
        "reconciler: image/claimed: claimed for deletion already, it goes; nothing was cancelled",
        "reconciler: image/none: there is no mark on this key",
    ]
    assert set(listed(shell)) == {"image/claimed", "image/once", "image/waiting", "video/tripped"}
    written = asyncio.run(rows(database, "SELECT event, storage_key, reason, detail FROM reconciler.ledger"))
    assert [tuple(row) for row in written] == [
        ("cancelled", "image/due", "no record", "cancelled by bob: still in use")
    ]


async def rows(database: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(database)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


def holds(shell: Shell, *options: str) -> list[dict[str, str]]:
    ran = shell("hold", "list", "--json", *options)
    assert (ran.status, ran.told) == (0, [])
    return [json.loads(line) for line in ran.out.splitlines()]


def test_who_lifts_a_hold_is_written_in_the_ledger_beside_what_it_was(shell: Shell, database: str) -> None:
    shell("hold", "add", "--prefix", "video/", "--reason", "case 17", "--by", "bob@ops")
    shell("hold", "remove", "--prefix", "image/")
    assert shell("hold", "remove", "--prefix", "video/", "--all-authors").status == 0

    async def noted() -> list[tuple[str, str]]:
        connection = await asyncpg.connect(database)
        try:
            found = await connection.fetch("SELECT storage_key, detail FROM reconciler.ledger ORDER BY id")
            return [(row[0], row[1]) for row in found]
        finally:
            await connection.close()

    ((target, detail),) = asyncio.run(noted())
    assert (target, detail.rpartition("@")[0]) == (
        "video/",
        "hold on this prefix by bob@ops (case 17) lifted by alice",
    )


def test_holds_are_added_listed_and_removed(shell: Shell) -> None:
    owner = "a0000000-0000-4000-8000-000000000001"
    targets = ("--key", "image/a", "--key", "image/b", "--prefix", "video/", "--virtual-key", owner.upper())
    added = shell("hold", "add", *targets, "--reason", "case 17", "--for", "30d")
    assert (added.status, added.told) == (0, [])
    assert len(added.out.splitlines()) == 4
    assert "on hold until " in added.out
    found = holds(shell)
    assert [(each["kind"], each["target"]) for each in found] == [
        ("key", "image/a"),
        ("key", "image/b"),
        ("prefix", "video/"),
        ("virtual_key", owner),
    ]
    assert {each["reason"] for each in found} == {"case 17"}
    assert all(each["author"].startswith("alice@") and each["until"] for each in found)
    assert [each["target"] for each in holds(shell, "--kind", "key", "--limit", "1")] == ["image/a"]
    table = shell("hold", "list").out.splitlines()
    assert table[0].split() == ["kind", "target", "until", "author", "reason"]
    assert shell("hold", "add", "--key", "image/c", "--reason", "case 18").status == 0
    (line,) = [each for each in shell("hold", "list").out.splitlines() if "image/c" in each]
    assert "no end" in line
    assert shell("hold", "remove", "--key", "image/c").status == 0
    removed = shell("hold", "remove", "--key", "image/a", "--virtual-key", owner)
    assert (removed.status, removed.out) == (0, "2 holds lifted\n")
    again = shell("hold", "remove", "--key", "image/a")
    assert (again.status, again.out) == (1, "")
    assert "no such hold" in again.told[0]
    assert shell("hold", "remove", "--prefix", "video/", "--author", "bob").status == 1
    assert [each["target"] for each in holds(shell)] == ["image/b", "video/"]


def test_a_hold_names_the_keys_that_were_claimed_before_it_and_fails(shell: Shell) -> None:
    ran = shell("hold", "add", "--prefix", "image/", "--reason", "a case")
    assert ran.status == 1
    assert ran.out == "on hold: prefix image/\n"
    (told,) = ran.told
    assert (
        "1 of these keys were claimed for deletion before the hold, and may still go: image/claimed." in told
    )
    assert len(holds(shell)) == 1, "the hold is in force all the same"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reason", "r"), "say what"),
        (("--key", "", "--reason", "r"), "reconciler pause"),
        (("--key", "image/a"), "--reason"),
        (("--key", "image/a", "--reason", " "), "needs a reason"),
        (("--key", "image/a", "--reason", "r", "--until", "2020-01-01"), "is past"),
        (("--key", "image/a", "--reason", "r", "--until", "soon"), "write a time"),
        (("--key", "image/a", "--reason", "r", "--for", "30"), "has no unit"),
        (("--virtual-key", "k-17", "--reason", "r"), "not the id of a virtual key (uuid)"),
        (("--key", "image/a", "--reason", "r", "--by", "a" * 201), "at most 200 bytes"),
    ],
)
def test_a_hold_that_makes_no_sense_is_a_usage_error(
    shell: Shell, options: tuple[str, ...], message: str
) -> None:
    ran: Ran = shell("hold", "add", *options)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.told[-1]
    assert holds(shell) == []


def test_a_hold_of_somebody_else_is_lifted_only_where_that_is_said(shell: Shell) -> None:
    owner = "a0000000-0000-4000-8000-000000000001"
    targets = ("--prefix", "video/", "--key", "image/a", "--virtual-key", owner.upper())
    for author in ("ada", "bob", "legal"):
        assert shell("hold", "add", *targets, "--by", author, "--reason", "a case").status == 0
    for dry_run in ((), ("--dry-run",)):
        refused = shell("hold", "remove", *targets, "--by", "ada", *dry_run)
        assert (refused.status, refused.out) == (1, "")
        (told,) = refused.told
        assert told == (
            "reconciler: nothing was lifted: there are holds by others than ada: bob, legal;"
            " --author NAME lifts one author's, --all-authors everybody's"
        )
    assert len(holds(shell)) == 9
    theirs = (*targets, "--by", "ada", "--author", "bob")
    assert shell("hold", "remove", *theirs, "--dry-run").out == "3 holds would be lifted\n"
    assert shell("hold", "remove", *theirs).out == "3 holds lifted\n"
    assert {each["author"] for each in holds(shell)} == {"ada", "legal"}
    everybody = shell("hold", "remove", *targets, "--all-authors", "--by", "cy")
    assert (everybody.status, everybody.out) == (0, "6 holds lifted\n")


def test_holds_are_lifted_by_author_pass_and_reason_after_a_count(shell: Shell) -> None:
    for key, author, reason in (
        ("image/a", "the store", "QuotaExceeded"),
        ("image/b", "the store", "SSE-C"),
        ("image/c", "legal", "QuotaExceeded"),
    ):
        assert shell("hold", "add", "--key", key, "--by", author, "--reason", reason).status == 0
    common = ("--author", "the store", "--reason", "Quota")
    found = shell("hold", "list", *common, "--json")
    assert [json.loads(line)["target"] for line in found.out.splitlines()] == ["image/a"]
    counted = shell("hold", "remove", *common, "--dry-run")
    assert (counted.status, counted.out) == (0, "1 hold would be lifted\n")
    assert shell("hold", "remove", *common).out == "1 hold lifted\n"
    assert shell("hold", "remove", *common).status == 1
    assert shell("hold", "remove", "--pass", "1").status == 1
    assert shell("hold", "remove", "--all").out == "2 holds lifted\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "say which: --key KEY"),
        (("--all", "--author", "ada"), "or --all alone"),
        (("--by", "ada"), "say which: --key KEY"),
        (("--all", "--all-authors"), "or --all alone"),
        (("--key", "image/a", "--pass", "1"), "takes --author or --all-authors"),
        (("--key", "image/a", "--author", "ada", "--all-authors"), "one author, or all authors"),
    ],
)
def test_it_is_said_which_holds_are_to_be_lifted(shell: Shell, options: tuple[str, ...], told: str) -> None:
    ran = shell("hold", "remove", *options)
    assert ran.status == 2
    assert told in ran.told[0]
