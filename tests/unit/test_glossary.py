"""docs/glossary.md explains the words that the program shows."""

from __future__ import annotations

import re
from pathlib import Path

from reconciler.model import RETENTION_VERDICTS, KeepReason, Verdict

GLOSSARY = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")
TERMS = {
    term
    for line in GLOSSARY.splitlines()
    if line.startswith("| **")
    for term in re.findall(r"\*\*(.+?)\*\*", line)
}


def test_each_verdict_is_a_term() -> None:
    found = {verdict.value for verdict in (*RETENTION_VERDICTS, Verdict.ORPHAN)}
    assert found <= TERMS
    assert "dangling record" in TERMS


def test_the_reasons_that_are_words_of_their_own_are_terms() -> None:
    reasons = (KeepReason.PENDING, KeepReason.HOLD, KeepReason.RECOVERABLE)
    assert {reason.value for reason in reasons} <= TERMS
    assert {"near miss", "folder marker"} <= TERMS


def test_each_term_is_explained_once() -> None:
    rows = [line for line in GLOSSARY.splitlines() if line.startswith("| **")]
    listed = [term for row in rows for term in re.findall(r"\*\*(.+?)\*\*", row.split(" | ")[0])]
    assert len(listed) == len(set(listed)) > 50
