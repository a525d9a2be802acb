"""Tokens of the admin API: how they are made, kept and read."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from reconciler.errors import NotDone
from reconciler.model import Caller, Role
from reconciler.operations import tokens


def test_a_file_has_names_roles_and_hashes_and_no_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    made = [
        tokens.issue(file, name, role) for name, role in (("ada@ops", Role.APPROVER), ("ci", Role.VIEWER))
    ]
    digests = [hashlib.sha256(token.encode()).hexdigest() for token in made]
    assert file.read_text() == f"ada@ops approver sha256:{digests[0]}\nci viewer sha256:{digests[1]}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len({*made}) == 2
    assert all(token.startswith("mrt_") and len(token) >= 40 for token in made)


def test_a_line_is_appended_to_a_file_whose_last_line_has_no_end(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# ours")
    token = tokens.issue(file, "ci", Role.OPERATOR)
    said: list[str] = []
    read = tokens.read(file.read_text(), said.append)
    assert (tokens.bearer(read, token), said) == (Caller(name="ci", role=Role.OPERATOR), [])


@pytest.mark.parametrize("name", ["", "two words", "new\nline", "x" * 101, "-", "ä"])
def test_a_name_that_a_line_cannot_hold_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotDone, match="a name has"):
        tokens.issue(tmp_path / "tokens", name, Role.VIEWER)
    assert not (tmp_path / "tokens").exists()


def test_a_line_that_is_none_lets_nobody_in_and_is_not_quoted() -> None:
    said: list[str] = []
    text = "ada approver mrt_in-the-clear\nada root sha256:" + "0" * 64 + "\nbob viewer sha256:" + "A" * 64
    assert tokens.read(text, said.append) == []
    assert len(said) == 3
    assert "clear" not in "".join(said)


def test_a_hash_is_no_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    tokens.issue(file, "ci", Role.OPERATOR)
    read = tokens.read(file.read_text(), lambda _: None)
    assert tokens.bearer(read, read[0].digest) is None
    assert tokens.bearer(read, f"sha256:{read[0].digest}") is None
    assert tokens.bearer(read, "x" * 1_000_000) is None
    assert tokens.bearer(read, "\udcff") is None


def test_each_role_may_do_what_those_before_it_may() -> None:
    may = [[role.may(needed) for needed in Role] for role in Role]
    assert may == [[True, False, False], [True, True, False], [True, True, True]]


def test_a_file_that_cannot_be_read_lets_nobody_in_and_says_so_once(tmp_path: Path) -> None:
    said: list[str] = []
    file = tokens.TokensFile(str(tmp_path / "tokens"), said.append)
    assert [list(file.look()), list(file.look())] == [[], []]
    assert len(said) == 1
    token = tokens.issue(tmp_path / "tokens", "ci", Role.VIEWER)
    assert tokens.bearer(file.look(), token) == Caller(name="ci", role=Role.VIEWER)
