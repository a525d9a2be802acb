#!/usr/bin/env bash
# Cast to nanoseconds, "expires in 9999" lies in 1816 for Daft, and so has expired.
#
# Guess:    9999-12-31 does not fit into 64 bits of nanoseconds. A cast to them raises, or gives NULL, as Daft's
#           casts of numbers that do not fit do.
# Happens:  Daft 0.7.26 gives 1816-03-29 for a timestamp in microseconds, and for a date, without a word. The same
#           value as text becomes NULL, and 2**40 as a 32-bit integer becomes NULL. A filter `expires_at < now` on
#           the cast column takes the row that never expires. Polars 2.1.0, DataFusion 55.0.0 and pyarrow 25.0.1
#           raise at that cast, and DuckDB 2.0.1 does. Where Daft itself brings two units together, for
#           a comparison or a union, it takes the coarser one, and the answer is right.
# Versions: daft 0.7.26, polars 2.1.0, datafusion 55.0.0, pyarrow 25.0.1, duckdb 2.0.1.
# Matters:  Daft refuses to subtract or to concatenate columns of unlike units, and asks for that cast. Schemas that
#           have no NULL for "never" write the year 9999.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
  'daft==0.7.26' 'polars==2.1.0' 'datafusion==55.0.0' 'pyarrow==25.0.1' 'duckdb==2.0.1'
cd "$work"

DO_NOT_TRACK=1 "$work/venv/bin/python" - 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import importlib.metadata
import sys
from datetime import date, datetime

import daft
import datafusion
import duckdb
import polars
import pyarrow
import pyarrow.parquet

for package in ("daft", "polars", "datafusion", "pyarrow", "duckdb"):
    print(package, importlib.metadata.version(package))
NEVER, NOW = datetime(9999, 12, 31), datetime(2026, 11, 30)
rows = pyarrow.table(
    {
        "key": ["kept for good", "old"],
        "expires_at": pyarrow.array([NEVER, datetime(2020, 1, 1)], pyarrow.timestamp("us")),
        "day": pyarrow.array([NEVER.date(), date(2020, 1, 1)]),
        "text": [f"{NEVER}", "2020-01-01 00:00:00"],
        "number": [2**40, 1],
    }
)
pyarrow.parquet.write_table(rows, "rows.parquet")

NANOSECONDS = daft.DataType.timestamp("ns")
frame = daft.read_parquet("rows.parquet")
casts = {name: daft.col(name).cast(NANOSECONDS) for name in ("expires_at", "day", "text")}
casts["number"] = daft.col("number").cast(daft.DataType.int32())
seen = {name: frame.select(cast.alias("cast")).to_pydict()["cast"][0] for name, cast in casts.items()}
for name, value in seen.items():
    print(f"daft, {name}: {rows[name][0]} is {value} after the cast")
expired = frame.where(casts["expires_at"] < daft.lit(NOW)).to_pydict()["key"]
as_it_is = frame.where(daft.col("expires_at") < daft.lit(NOW)).to_pydict()["key"]
print("daft, expired by the cast column:", expired, "and by the column itself:", as_it_is)


def tried(call) -> str:
    """The answer, or that the reader raised."""
    try:
        return str(call())
    except Exception:
        return "raises"


context = datafusion.SessionContext()
context.register_parquet("rows", "rows.parquet")
others = {
    "polars": tried(lambda: polars.read_parquet("rows.parquet").with_columns(polars.col("expires_at").cast(polars.Datetime("ns")))),
    "datafusion": tried(lambda: context.sql("SELECT arrow_cast(expires_at, 'Timestamp(Nanosecond, None)') FROM rows").to_pylist()),
    "pyarrow": tried(lambda: rows["expires_at"].cast(pyarrow.timestamp("ns"))),
    "duckdb": tried(lambda: duckdb.sql("SELECT expires_at::TIMESTAMP_NS FROM 'rows.parquet'").fetchall()),
}
print("the others at the same cast:", others)

if (
    [each and each.year if isinstance(each, datetime) else each for each in seen.values()] != [1816, 1816, None, None]
    or expired != ["kept for good", "old"]
    or as_it_is != ["old"]
    or set(others.values()) != {"raises"}
):
    sys.exit("changed: a date that does not fit is not a date of the past")
PYTHON
