"""docs/logs.md names only what the program says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = "\n".join(file.read_text() for file in sorted((ROOT / "reconciler").rglob("*.py")))
REFERENCE = (ROOT / "docs" / "logs.md").read_text()
TABLE = REFERENCE.partition("| event |")[2].partition("\n\n")[0]
EVENTS = [event for line in TABLE.splitlines()[2:] for event in re.findall(r"`([^`]+)`", line.split("|")[1])]
TREE = REFERENCE.partition("## Traces")[2].partition("```")[2].partition("```")[0]
SPANS = re.findall(r"(?m)^[│├└─ ]*([a-z]+)(?:, ([a-z]+))? +", TREE)


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_is_one_that_is_logged(event: str) -> None:
    assert f'"{event}"' in SOURCE


def test_each_span_is_one_that_is_made() -> None:
    named = {name for pair in SPANS for name in pair if name}
    assert named == set(re.findall(r'step\([\w.]+, "(\w+)"', SOURCE))
