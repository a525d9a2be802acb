"""Every attack and accident that is known has a test, and a line in the documents that names it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

KNOWN = {"attack": 124, "incident": 56}
"""The highest number of each kind."""

DOCUMENTS = {
    "attack": (ROOT / "docs" / "attacks.md", "R"),
    "incident": (ROOT / "docs" / "incidents.md", "I"),
}

NUMBERS = [(kind, number) for kind, most in KNOWN.items() for number in range(1, most + 1)]


def _marked(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Assign) -> Iterator[tuple[str, int]]:
    """Kind and number of each `pytest.mark.kind(number)` on a test, or in a module's `pytestmark`."""
    values = [node.value] if isinstance(node, ast.Assign) else node.decorator_list
    for each in (found for value in values for found in ast.walk(value)):
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr in KNOWN:
            for argument in each.args:
                assert isinstance(argument, ast.Constant)
                assert isinstance(argument.value, int)
                yield each.func.attr, argument.value


@cache
def marked_tests(without: str = "") -> dict[tuple[str, int], set[str]]:
    """The names of the tests that bear each mark, read from the source: nothing is imported.

    Those in a directory named `without` are left out.
    """
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path.parent.name == without:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for mark in _marked(node):
                    found[mark].add(node.name)
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
                for mark in _marked(node):
                    found[mark].add(path.stem)
    return found


@pytest.mark.parametrize(("kind", "number"), NUMBERS)
def test_each_hazard_has_a_test(kind: str, number: int) -> None:
    assert marked_tests()[kind, number], f"no test is marked @pytest.mark.{kind}({number})"


@pytest.mark.parametrize("number", range(1, KNOWN["incident"] + 1))
def test_each_accident_has_a_test_on_real_servers(number: int) -> None:
    assert marked_tests(without="unit")["incident", number], f"I-{number} has unit tests at most"


def test_no_mark_names_a_hazard_that_is_not_known() -> None:
    assert [hazard for hazard in marked_tests() if hazard not in NUMBERS] == []


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_the_document_names_a_test_of_each_hazard(kind: str) -> None:
    path, letter = DOCUMENTS[kind]
    rows = re.findall(rf"^\| {letter}-(\d+) \|.*\|(.*)\|$", path.read_text(), flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, KNOWN[kind] + 1))
    named = {int(number): set(re.findall(r"`(test_\w+)`", last)) for number, last in rows}
    wrong = {
        number: tests
        for number, tests in named.items()
        if not tests or not tests <= marked_tests()[kind, number]
    }
    assert wrong == {}, "named and not marked, or none named"
