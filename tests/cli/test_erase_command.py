"""`erase` with proof, as a shell runs it, where no leader is at work; and the check of certificates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import OPEN, env, orders
from tests.cli.test_keeping import Shell, shell
from tests.servers import execute
from tests.unit.test_certificates import chain, key_file

__all__ = ["OPEN", "env", "shell"]

OWNER = "5d7a1c1e-0000-4000-8000-000000000001"
ROW = f"""
INSERT INTO "VirtualKeys" ("Id", "KeyName", "KeyHash", "IsEnabled", "CreatedAt")
VALUES ('{OWNER}', 'k', 'k', true, now());
INSERT INTO "MediaRecords" ("Id", "StorageKey", "VirtualKeyId", "MediaType", "SizeBytes", "CreatedAt")
VALUES (gen_random_uuid(), 'image/theirs', '{OWNER}', 'image', 1, now())
"""


def test_an_order_is_written_down_and_said_to_go_on(shell: Shell, database: str) -> None:
    execute(database, ROW)
    ran = shell(
        "erase", "--virtual-key", OWNER.upper(), "--reason", "a request", "--by", "ada", "--wait", "0s"
    )
    assert ran.status == 1
    assert "is written down; the leader does it" in ran.out
    assert "goes on by itself" in ran.told[-1]
    listed = json.loads(shell("erase", "--list", "--json").out)["erasures"]
    assert [(each["kind"], each["state"], each["subject"]) for each in listed] == [
        ("virtual_key", "open", [OWNER])
    ]
    assert (listed[0]["author"], listed[0]["reason"], listed[0]["certificate"]) == ("ada", "a request", None)
    again = shell("erase", "--virtual-key", OWNER, "--wait", "0s", "--json")
    assert json.loads(again.out)["id"] == listed[0]["id"], "one that is open stands for both"
    assert [what for _, what in orders(database)] == ["erase", "erase"]
    assert max(map(len, shell("erase", "--list").out.splitlines())) < 200


def test_what_is_on_hold_is_not_even_written_down(shell: Shell, database: str) -> None:
    execute(database, ROW)
    for target in (("--virtual-key", OWNER), ("--key", "image/theirs")):
        assert shell("hold", "add", *target, "--reason", "a case", "--by", "legal").status == 0
        for asked in (("--virtual-key", OWNER), ("--key", "image/theirs")):
            ran = shell("erase", *asked, "--wait", "0s")
            assert (ran.status, ran.out) == (1, "")
            assert ran.told == [
                "reconciler: some of it is on hold, so nothing is erased: lift the hold first"
            ]
        assert shell("hold", "remove", *target, "--author", "legal").status == 0
    assert shell("erase", "--list").out == "no erasure with proof was ordered\n"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "say one of KEY, --virtual-key"),
        (("image/a", "--list"), "say only one of KEY"),
        (("--key", "image/a", "--despite-hold"), "--despite-hold is for KEY alone"),
        (("--virtual-key", "no uuid"), "not the id of a virtual key (uuid)"),
        (("--verify", "missing.json"), "missing.json: cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused(shell: Shell, args: tuple[str, ...], told: str) -> None:
    ran = shell("erase", *args)
    assert (ran.status in {1, 2}, ran.out) == (True, "")
    assert told in ran.told[-1]


def test_certificates_are_checked_without_any_setting(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECONCILER_DATABASE_URL")
    files = [str(file) for file in chain(tmp_path, 2, key_file(tmp_path, "key"))]
    ran = shell("erase", "--verify", *files)
    assert (ran.status, ran.told) == (0, [])
    assert "good; number 2 of 2026-11-30" in ran.out
    assert "compare this thumbprint" in ran.out
    known = shell("erase", "--verify", *files, "--public-key", str(tmp_path / "key.pub"), "--json")
    assert json.loads(known.out)["good"]
    Path(files[0]).write_text(Path(files[0]).read_text().replace('"complete": true', '"complete": false'))
    ran = shell("erase", "--verify", *files)
    assert ran.status == 1
    assert "it was altered" in ran.told[0]
