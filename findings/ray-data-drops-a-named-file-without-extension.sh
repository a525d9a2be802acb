#!/usr/bin/env bash
# Ray Data leaves out a Parquet file that was named in full, because its name does not end in .parquet.
#
# Guess:    `read_parquet([a, b])` reads both, whatever they are called, as pyarrow, DuckDB, Polars and Daft do. The
#           filter by extension, if there is one, is for what lies in a folder; `file_extensions=None` ends it.
# Happens:  Ray 2.60.0 reads the one whose name ends in `.parquet`, and leaves out the other without a word. So it
#           does with `file_extensions=None`. A named file that does not exist raises, and one that is left out
#           raises too where it is the only one: "no files found". An extension in capitals is read.
# Versions: ray 2.60.0, pyarrow 25.0.1, duckdb 2.0.1, polars 2.1.0, daft 0.7.26.
# Matters:  exports and manifests list files by name, and names of parts without an extension are common. An
#           anti join against half a list finds the other half missing.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'ray[data]==2.60.0' 'pyarrow==25.0.1' 'duckdb==2.0.1' 'polars==2.1.0' 'daft==0.7.26' 'aiohttp==3.14.5'
cd "$work"

RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled DO_NOT_TRACK=1 "$work/venv/bin/python" - 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import importlib.metadata
import sys
from pathlib import Path

import daft
import duckdb
import fsspec.implementations.http  # before Ray's threads do, of which one may see it half loaded
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.parquet
import ray
import ray.data

for package in ("ray", "pyarrow", "duckdb", "polars", "daft"):
    print(package, importlib.metadata.version(package))
ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
named = [str(Path(name).absolute()) for name in ("part-00000", "part-00001.parquet", "part-00002.PARQUET")]
for number, name in enumerate(named):
    pyarrow.parquet.write_table(pyarrow.table({"key": [f"image/{number}"]}), name)


def answer(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def by_ray(files, **options):
    return ray.data.read_parquet(files, **options).count()


seen = {
    "ray": answer(lambda: by_ray(named)),
    "ray, file_extensions=None": answer(lambda: by_ray(named, file_extensions=None)),
    "ray, that file alone": answer(lambda: by_ray(named[:1])),
    "ray, one more that is not there": answer(lambda: by_ray([*named, f"{named[0]}-gone.parquet"])),
    "pyarrow": answer(lambda: pyarrow.dataset.dataset(named).count_rows()),
    "duckdb": answer(lambda: duckdb.sql(f"SELECT count(*) FROM read_parquet({named})").fetchall()[0][0]),
    "polars": answer(lambda: polars.scan_parquet(named).collect().height),
    "daft": answer(lambda: daft.read_parquet(named).count_rows()),
}
ray.shutdown()
for name, found in seen.items():
    print(f"{name:32} {found} of 3 rows" if isinstance(found, int) else f"{name:32} {found}")
if [*seen.values()] != [2, 2, "ValueError", "FileNotFoundError", 3, 3, 3, 3]:
    sys.exit("changed: a file that was named is read, or refused")
PYTHON
