"""The model of the deletion protocol, every interleaving of it: with each rule, and without."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODEL = ROOT / "docs" / "model" / "deletion.pml"

HOLDS = [
    (),
    ("QUARANTINE",),
    ("QUARANTINE", "LATE"),
    ("QUARANTINE", "NO_TRIGGERS"),
    ("QUARANTINE", "NO_TRIGGERS", "LATE"),
    ("REFUSED",),
    ("QUARANTINE", "REFUSED"),
    ("QUARANTINE", "PURGE"),
    ("QUARANTINE", "NO_TRIGGERS", "PURGE"),
    ("RESTORE",),
    ("QUARANTINE", "RESTORE"),
    ("QUARANTINE", "NO_TRIGGERS", "RESTORE"),
]
BREAKS = [
    ("NO_STAMP",),
    ("NO_SHARE",),
    ("NO_RAISE",),
    ("NO_TOMBSTONE",),
    ("REOPEN",),
    ("LATE",),
    ("NO_TRIGGERS",),
    ("QUARANTINE", "NO_IF_MATCH"),
    ("QUARANTINE", "NO_HEALING"),
    ("QUARANTINE", "NO_TRIGGERS", "NO_IF_MATCH"),
    ("QUARANTINE", "NO_TRIGGERS", "NO_HEALING"),
    ("QUARANTINE", "NO_TRIGGERS", "NO_VERSION"),
    ("REFUSED", "NO_REHEARSAL"),
    ("QUARANTINE", "REFUSED", "NO_HEALING"),
    ("QUARANTINE", "PURGE", "NO_LAST_LOOK", "NO_SECOND_LOOK"),
    ("QUARANTINE", "PURGE", "NO_SECOND_LOOK"),
    ("RESTORE", "NO_LINEAGE"),
    ("RESTORE", "NO_NONCE"),
]

pytestmark = [pytest.mark.soak, pytest.mark.debian("spin", "gcc"), pytest.mark.timeout(300)]


def _errors(rules: tuple[str, ...], directory: Path) -> int:
    """Run the verifier to its end: the errors that it found (it stops at the first)."""
    steps = [
        ["spin", "-a", *(f"-D{rule}" for rule in rules), str(MODEL)],
        ["gcc", "-O1", "-w", "-DSAFETY", "-DVECTORSZ=4096", "-o", "pan", "pan.c"],
        ["./pan", "-m100000"],
    ]
    for step in steps:
        done = subprocess.run(step, cwd=directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "max search depth too small" not in done.stdout
    found = re.search(r"errors: (\d+)", done.stdout)
    assert found, done.stdout
    return int(found[1])


@pytest.mark.parametrize("rules", HOLDS, ids="+".join)
def test_no_interleaving_costs_a_live_row_its_object(rules: tuple[str, ...], tmp_path: Path) -> None:
    assert _errors(rules, tmp_path) == 0


@pytest.mark.parametrize("rules", BREAKS, ids="+".join)
def test_without_the_rule_some_interleaving_does(rules: tuple[str, ...], tmp_path: Path) -> None:
    assert _errors(rules, tmp_path) == 1
