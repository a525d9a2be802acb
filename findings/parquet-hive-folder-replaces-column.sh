#!/usr/bin/env bash
# A folder named `key=image` replaces the column `key` of the file inside it, for some readers.
#
# Guess:    a Parquet file says itself what its columns hold. Where a Hive-style folder name and a column
#           of the file disagree, the reader complains, or the file wins.
# Happens:  DuckDB 2.0.1 and chdb 4.4.0 read `image` as the key of every row, even where the one file is
#           named. Polars 2.1.0 does so where the folder is named, and reads the real keys where the file or
#           a glob is. pyarrow 26.0.1's dataset does so with partitioning="hive", and its read_table refuses
#           the folder. DataFusion 55.0.0 reads the real keys. Nobody warns.
# Versions: duckdb 2.0.1, chdb 4.4.0, polars 2.1.0, pyarrow 26.0.1, datafusion 55.0.0.
# Matters:  an inventory or an export that is cut by key ranges invites a folder such as `key=image/`. A join
#           with the table then finds every object without a row and every row without an object. The
#           readers differ, so a check by another engine or by another way to name the file finds nothing.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
  'duckdb==2.0.1' 'chdb==4.4.0' 'polars==2.1.0' 'pyarrow==26.0.1' 'datafusion==55.0.0'
mkdir -p "$work/inventory/key=image"
cd "$work"

"$work/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import sys

import chdb
import datafusion
import duckdb
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.parquet

FOLDER, FILE = "inventory", "inventory/key=image/0.parquet"
KEYS = ["image/a.png", "image/b.png"]
pyarrow.parquet.write_table(pyarrow.table({"key": KEYS, "size": [1, 2]}), FILE)


def by_datafusion(path: str) -> list[str]:
    context = datafusion.SessionContext()
    context.register_parquet("inventory", path)
    return [row["key"] for row in context.sql("SELECT key FROM inventory ORDER BY size").to_pylist()]


def by_read_table(path: str) -> list[str] | str:
    try:
        return pyarrow.parquet.read_table(path)["key"].to_pylist()
    except pyarrow.ArrowTypeError:
        return "refused"


def by_chdb(path: str) -> list[str]:
    return str(chdb.query(f"SELECT key FROM file('{path}') ORDER BY size", "TSV")).split()


def by_duckdb(path: str) -> list[str]:
    return [key for (key,) in duckdb.execute("SELECT key FROM read_parquet(?) ORDER BY size", [path]).fetchall()]


readings = {
    "duckdb, file": by_duckdb(FILE),
    "duckdb, glob": by_duckdb(f"{FOLDER}/*/*.parquet"),
    "chdb, file": by_chdb(FILE),
    "polars, folder": polars.scan_parquet(FOLDER).collect()["key"].to_list(),
    "polars, glob": polars.scan_parquet(f"{FOLDER}/*/*.parquet").collect()["key"].to_list(),
    "polars, file": polars.scan_parquet(FILE).collect()["key"].to_list(),
    "pyarrow dataset": pyarrow.dataset.dataset(FOLDER, partitioning="hive").to_table()["key"].to_pylist(),
    "pyarrow read_table": by_read_table(FOLDER),
    "datafusion, folder": by_datafusion(FOLDER),
}
for name in ("duckdb", "chdb", "polars", "pyarrow", "datafusion"):
    print(name, importlib.metadata.version(name))
for how, keys in readings.items():
    print(f"{how:20} {keys}")

REPLACED = {"duckdb, file", "duckdb, glob", "chdb, file", "polars, folder", "pyarrow dataset"}
for how, keys in readings.items():
    expected = ["image"] * 2 if how in REPLACED else "refused" if how == "pyarrow read_table" else KEYS
    if keys != expected:
        sys.exit(f"changed: {how} reads {keys}")
PYTHON
