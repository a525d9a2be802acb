#!/usr/bin/env bash
# An object whose date is missing was last modified in 1970, for chdb, and so is older than any grace period.
#
# Guess:    a column that one of the files lacks is an error, or NULL in that file's rows. NULL is older than
#           nothing, so `last_modified < now() - INTERVAL 30 DAY` leaves such a row alone.
# Happens:  chdb 4.4.0 fills in 1970-01-01 where the column is declared as required in the first file, as in
#           the listings that a program writes itself. Where the query names the columns' types, as one does to
#           be safe, it does so with every NULL in Parquet and in ORC as well, and turns a NULL `is_latest` into
#           false. Of the other readers DuckDB 2.0.1, Polars 2.1.0 and DataFusion 55.0.0 refuse the files, and
#           pyarrow 25.0.1 gives NULL. Only where chdb infers a nullable type does NULL stay NULL.
# Versions: chdb 4.4.0, duckdb 2.0.1, polars 2.1.0, datafusion 55.0.0, pyarrow 25.0.1.
# Matters:  an inventory gets a column more on the day that somebody configures it. The files of the day before, in
#           the same query, say then that all their objects are 56 years old, which is what a clean-up looks for.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
  'chdb==4.4.0' 'duckdb==2.0.1' 'polars==2.1.0' 'datafusion==55.0.0' 'pyarrow==25.0.1'
mkdir "$work/list"
cd "$work"

"$work/venv/bin/python" - 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import importlib.metadata
import sys
from datetime import UTC, datetime, timedelta

import chdb
import datafusion
import duckdb
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.orc
import pyarrow.parquet

for package in ("chdb", "duckdb", "polars", "datafusion", "pyarrow"):
    print(package, importlib.metadata.version(package))
TODAY = datetime.now(UTC) - timedelta(minutes=1)
DATE = pyarrow.timestamp("ms", "UTC")


def write(name: str, required: bool, **columns: pyarrow.Array) -> None:
    """A Parquet file of these columns."""
    fields = [pyarrow.field(each, values.type, nullable=not required) for each, values in columns.items()]
    table = pyarrow.table(list(columns.values()), schema=pyarrow.schema(fields))
    pyarrow.parquet.write_table(table, name)


def by_chdb(source: str) -> list[str]:
    """The keys that are older than 30 days."""
    query = f"SELECT key FROM file({source}) WHERE last_modified < now() - INTERVAL 30 DAY ORDER BY key"
    return str(chdb.query(query, "TSV")).split()


def by_datafusion() -> list[object]:
    context = datafusion.SessionContext()
    context.register_parquet("list", "list")
    return [row["last_modified"] for row in context.sql("SELECT * FROM list ORDER BY key").to_pylist()][1:]


def tried(call) -> object:
    """What a reader gives for the date of the second object, or that it refuses the files."""
    try:
        return call()
    except Exception:
        return "refused"


old, others = {}, {}
for required in (True, False):
    write("list/1.parquet", required, key=pyarrow.array(["a"]), last_modified=pyarrow.array([TODAY], DATE))
    write("list/2.parquet", required, key=pyarrow.array(["b"]))
    old["required" if required else "nullable"] = by_chdb("'list/*.parquet'")
    if required:
        others = {
            "duckdb": tried(lambda: duckdb.sql("FROM 'list/*.parquet'").fetchall()),
            "polars": tried(lambda: polars.read_parquet("list/*.parquet")),
            "datafusion": tried(by_datafusion),
            "pyarrow": tried(lambda: pyarrow.dataset.dataset("list").to_table()["last_modified"].to_pylist()[1]),
        }
dates = pyarrow.table({"key": ["a", "b"], "last_modified": pyarrow.array([TODAY, None], DATE)})
pyarrow.parquet.write_table(dates, "null.parquet")
pyarrow.orc.write_table(dates, "null.orc")
TYPES = "'key String, last_modified DateTime64(3)'"
for name, form in (("null.parquet", "Parquet"), ("null.orc", "ORC")):
    old[f"{form}, NULL"] = by_chdb(f"'{name}', {form}")
    old[f"{form}, NULL, types named"] = by_chdb(f"'{name}', {form}, {TYPES}")
for what, keys in old.items():
    print(f"chdb, {what:26} older than 30 days: {keys}")
print("the missing date for the others:", others)

aged = [what for what, keys in old.items() if keys == ["b"]]
kept = [what for what, keys in old.items() if keys == []]
if (
    aged != ["required", "Parquet, NULL, types named", "ORC, NULL, types named"]
    or kept != ["nullable", "Parquet, NULL", "ORC, NULL"]
    or others != {"duckdb": "refused", "polars": "refused", "datafusion": "refused", "pyarrow": None}
):
    sys.exit("changed: a missing date is refused, or NULL, or 1970 elsewhere")
PYTHON
