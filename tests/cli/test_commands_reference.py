"""docs/commands.md has every command and option of the program, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.cli.program import reconciler

REFERENCE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
EVERYWHERE = {"--help", "--log-level"}
ROW = re.compile(r"^\| `reconciler (?P<name>[a-z-]+(?: [a-z]+)?)[^|]*\| (?P<text>.*) \|$", re.MULTILINE)


@cache
def _usage(*command: str) -> str:
    ran = reconciler(*command, "--help")
    assert ran.status == 0, ran.told
    return ran.out


def _under(*command: str) -> list[str]:
    """The commands, or the actions of one, as the help lists them."""
    listed = (
        _usage(*command).partition("\ncommands:\n" if not command else "\nactions:\n")[2].partition("\n\n")[0]
    )
    return re.findall(r"^    ([a-z-]+)\b", listed, re.MULTILINE)


def _commands() -> Iterator[tuple[str, ...]]:
    for name in _under():
        actions = _under(name)
        if not actions or name == "passes":
            yield (name,)
        yield from ((name, action) for action in actions)


def _documented() -> dict[str, set[str]]:
    """Each command of the reference with the options that its rows name."""
    named: dict[str, set[str]] = {}
    for found in ROW.finditer(REFERENCE):
        named.setdefault(found["name"], set()).update(re.findall(r"--[a-z][a-z-]+", found[0]))
    return named


def test_it_lists_every_command() -> None:
    commands = {" ".join(command) for command in _commands()}
    assert len(commands) > 20
    assert commands == {*_documented()}


@pytest.mark.parametrize("name", sorted(_documented()))
def test_it_lists_the_options_of_a_command(name: str) -> None:
    options = set(re.findall(r"^  (--[a-z][a-z-]+)", _usage(*name.split()), re.MULTILINE))
    assert options - EVERYWHERE == _documented()[name]
