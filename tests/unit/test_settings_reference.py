"""docs/settings.md lists every setting as the schema declares it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pytest

from reconciler.settings.names import leaves
from tools.settings_reference import REFERENCE, UNITS, current, unit


def test_the_reference_is_up_to_date() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == current(), "run `python -m tools.settings_reference`"


def test_each_setting_has_one_row_which_says_whether_the_runtime_file_may_set_it() -> None:
    rows = [line.split(" | ") for line in current().splitlines() if line.startswith("| `")]
    listed = {row[0].removeprefix("| ").strip("`"): row[3].strip() for row in rows}
    expected = {
        leaf.name.removeprefix("RECONCILER_"): "⟳" if leaf.runtime else "" for leaf in leaves().values()
    }
    assert listed == expected
    assert len(rows) == len(expected)


def test_no_row_lacks_a_unit_or_a_meaning() -> None:
    for row in [line.split(" | ") for line in current().splitlines() if line.startswith("| `")]:
        assert row[1].strip(), row
        assert row[2].strip(), row
        assert row[4].removesuffix("|").strip(), row


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (timedelta, "duration"),
        (Literal["a", "b"] | None, "`a`, `b`"),
        (tuple[str, ...], "JSON list"),
        (dict[str, str], "one variable a column"),
        (str | None, "text"),
    ],
)
def test_a_unit_is_read_from_the_type(annotation: object, expected: str) -> None:
    assert unit("any", annotation) == expected


def test_a_number_has_a_unit_of_its_own() -> None:
    names = {path[-1] for path in leaves()}
    assert set(UNITS) <= names
