"""`reconciler token new`: the token alone on stdout, its hash in the file, no setting needed."""

from __future__ import annotations

from pathlib import Path

from reconciler.model import Caller, Role
from reconciler.operations import tokens
from tests.cli.program import reconciler


def test_the_token_is_alone_on_stdout_and_its_hash_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    made = reconciler("token", "new", "ada@ops", "--role", "approver", "--file", str(file))
    assert (made.status, made.told) == (0, [])
    (token,) = made.out.splitlines()
    read = tokens.read(file.read_text(), lambda _: None)
    assert tokens.bearer(read, token) == Caller(name="ada@ops", role=Role.APPROVER)
    assert token not in file.read_text()


def test_what_cannot_be_is_a_line_and_makes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    wrong = reconciler("token", "new", "two words", "--role", "viewer", "--file", str(file))
    assert (wrong.status, wrong.out, file.exists()) == (2, "", False)
    nowhere = reconciler("token", "new", "ada", "--role", "viewer", "--file", str(tmp_path / "no" / "tokens"))
    assert (nowhere.status, nowhere.out) == (2, "")
    assert "cannot be written" in nowhere.told[0]
