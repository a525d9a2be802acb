"""Arguments of `storage`. Imports nothing heavy: `--help` answers at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

BY = ("virtual-key", "media-type", "provider")

Make = Callable[[Any, str, str, str, str], Any]
"""Adds a command: the group it belongs to, its name, one line, a text, examples."""

TEXT = """\
Adds up the rows in the managed prefixes: how many objects they name and how many bytes they give. Each
row counts as one object. Reads the whole media table once, and waits ten minutes at most. Needs
RECONCILER_DATABASE_URL alone, and RECONCILER_CATALOG__... where tables have other names. The prefixes are
those that the leader last wrote down: before there was one, every row counts, and the output says so."""

EXAMPLES = """\
  reconciler storage
  reconciler storage --by media-type
  reconciler storage --top 100 --json | jq '.largest[] | [.virtual_key_id, .bytes]'"""


def add_storage(commands: Any, make: Make, positive: Callable[[str], int]) -> None:  # noqa: ANN401 - argparse's
    """`reconciler storage`."""
    made = make(commands, "storage", "print who stores how much", TEXT, EXAMPLES)
    made.add_argument("--by", choices=BY, default=BY[0], help=f"what to tell apart (default {BY[0]})")
    made.add_argument(
        "--top", type=positive, default=20, metavar="N", help="how many of the largest (default 20)"
    )
    made.add_argument("--json", action="store_true", help="print it as JSON, alone on stdout")
