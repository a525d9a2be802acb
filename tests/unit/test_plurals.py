"""No message says "1 objects": a number of things goes through `formatting.counted`."""

import re
from pathlib import Path

import reconciler

ROOT = Path(reconciler.__file__).parent
NOUNS = (
    "approval|batche|byte|check|column|day|deletion|departure|file|finding|hold|hour|key|line|mark|minute|note"
    "|object|page|part|passe|prefixe|record|replica|request|restore|row|rule|second|setting|statement|table"
    "|time|transaction|upload|version"
)
COUNTED = re.compile(rf"\{{([^{{}}]+)\}} (?:more |further )?(?:{NOUNS})s\b")
"""A value in an f-string, and a noun in the plural right behind it."""

CONSTANT = re.compile(r"(?:int\()?[A-Z_]+\b")
"""A limit or a duration of ours, which is never one."""
NEVER_ONE = (
    "each.rule",
    "made.key_column",
    "now:,",
    "tries",
    "speed",
    "len(rows)",
    "found.batch_size",
    "row['prepared']",
    "whose",
)
"""What counts nothing, before a verb such as `holds`, and what is more than one wherever it is said."""


def test_a_number_agrees_with_its_noun() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {each[0]}"
        for path in ROOT.rglob("*.py")
        if "demo" not in path.parts  # which counts what it made
        for each in COUNTED.finditer(path.read_text(encoding="utf-8"))
        if not CONSTANT.match(each[1]) and not each[1].startswith(NEVER_ONE)
    }
    assert not found
