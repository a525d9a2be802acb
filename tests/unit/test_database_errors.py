"""What an answer of the database that lacks a column is called: nobody can tell yet whose fault it is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reconciler.catalog.db.errors import translated
from reconciler.catalog.mark_rows import mark_from
from reconciler.errors import CatalogUnavailable


def test_an_answer_without_a_column_names_both_causes_and_the_place() -> None:
    answer: Any = {"verdict": "orphan"}
    with pytest.raises(CatalogUnavailable) as caught, translated("db:5432/gateway"):
        mark_from(answer)
    assert re.fullmatch(
        r"an answer of Postgres at db:5432/gateway cannot be read \(KeyError\): it has other columns than"
        r" were asked for, 'storage_key' in mark_rows\.py, line \d+\. Either bytes of it were changed on the"
        r" way, and TLS would have found it \(sslmode=require in RECONCILER_DATABASE_URL\); or, where the"
        r" same comes again, the program is wrong: report it",
        str(caught.value),
    )


def test_a_key_that_other_code_misses_is_no_answer_of_the_database() -> None:
    with pytest.raises(KeyError), translated("db:5432/gateway"):
        raise KeyError("elsewhere")
