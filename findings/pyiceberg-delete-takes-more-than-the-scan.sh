#!/usr/bin/env bash
# `Table.delete(filter)` removes rows that a scan with the same filter does not return.
#
# Guess:    delete removes what scan returns, no more. So a scan is the dry run of a deletion.
# Happens:  PyIceberg 0.12.0 drops a whole file, unread, where the file's bounds say that all rows match. Bounds
#           tell nothing of NaN, and for `!=` it does not ask about NULL. `seconds < 10` removes the row whose
#           value is NaN as well, and `tenant != 'a'` the one whose tenant is NULL. Where the file also holds a
#           row that does not match, it is read, and the very same row stays. So partitions decide it too.
# Versions: pyiceberg 0.12.0 with pyarrow 25.0.1, SQL catalog in SQLite.
# Matters:  a retention job that counts by a scan first, finds the number sane and then deletes by the same
#           filter removes rows that it never counted. A test on a small table, in one file with rows of both
#           kinds, passes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'pyiceberg[sql-sqlite]==0.12.0' 'pyarrow==25.0.1'
cd "$work"

"$work/venv/bin/python" - 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import importlib.metadata
import os
import sys

import pyarrow
from pyiceberg.catalog.sql import SqlCatalog

for package in ("pyiceberg", "pyarrow"):
    print(package, importlib.metadata.version(package))
catalog = SqlCatalog("here", uri=f"sqlite:///{os.getcwd()}/catalog.db", warehouse=f"file://{os.getcwd()}")
catalog.create_namespace("media")


def outcome(column: str, values: list[object], kind: pyarrow.DataType, wanted: str) -> tuple[list[str], list[str]]:
    """The keys that a scan returns, and those that the deletion leaves. The keys are a, b, c and so on."""
    keys = list("abcdef"[: len(values)])
    rows = pyarrow.table({"key": keys, column: pyarrow.array(values, kind)})
    table = catalog.create_table(f"media.t{len(catalog.list_tables('media'))}", schema=rows.schema)
    table.append(rows)
    scanned = table.scan(row_filter=wanted).to_arrow()["key"].to_pylist()
    table.delete(wanted)
    left = table.scan().to_arrow()["key"].to_pylist()
    print(f"{wanted:16} on {values!s:22} scan returns {scanned}, delete leaves {left}")
    return scanned, left


SECONDS, TENANT = pyarrow.float64(), pyarrow.string()
NAN = float("nan")
nan_alone = outcome("seconds", [1.0, NAN, 3.0], SECONDS, "seconds < 10")
nan_beside = outcome("seconds", [1.0, NAN, 30.0], SECONDS, "seconds < 10")
null_less = outcome("seconds", [1.0, None, 3.0], SECONDS, "seconds < 10")
null_alone = outcome("tenant", ["b", None, "c"], TENANT, "tenant != 'a'")
null_beside = outcome("tenant", ["b", None, "a"], TENANT, "tenant != 'a'")

too_many = (nan_alone, null_alone) == ((["a", "c"], []), (["a", "c"], []))
right = (nan_beside, null_less, null_beside) == ((["a"], ["b", "c"]), (["a", "c"], ["b"]), (["a"], ["b", "c"]))
if not (too_many and right):
    sys.exit("changed: delete removes other rows than it did")
PYTHON
