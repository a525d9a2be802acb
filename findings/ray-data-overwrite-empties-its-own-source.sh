#!/usr/bin/env bash
# Ray Data, told to overwrite the folder that it reads, leaves an empty folder and raises nothing.
#
# Guess:    reading a folder, dropping a row and writing the rest back with `mode=OVERWRITE` is refused, as Spark and
#           Polars refuse it, or the new files are written before the old ones go, as Daft does.
# Happens:  Ray 2.60.0 removes the old files when the write begins. A dataset is lazy, so nothing has been read by
#           then: Parquet files that are gone are read as no rows. `write_parquet` returns, no file is left, and all
#           rows are lost. JSON lines are lost as well, and there at least the reading raises. A dataset that was
#           materialized before is written whole.
# Versions: ray 2.60.0, daft 0.7.26, polars 2.1.0, pyarrow 25.0.1.
# Matters:  taking a few rows out of an index that is kept as Parquet is written this way.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'ray[data]==2.60.0' 'daft==0.7.26' 'polars==2.1.0' 'pyarrow==25.0.1'
cd "$work"

RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled DO_NOT_TRACK=1 "$work/venv/bin/python" - 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import importlib.metadata
import shutil
import sys
from pathlib import Path

import daft
import polars
import pyarrow
import pyarrow.parquet
import ray
import ray.data

for package in ("ray", "daft", "polars", "pyarrow"):
    print(package, importlib.metadata.version(package))
ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
FOLDER = Path("index").absolute()
OVERWRITE = ray.data.SaveMode.OVERWRITE


def rows() -> int:
    files = [*FOLDER.glob("*.parquet")]
    return sum(pyarrow.parquet.read_table(file).num_rows for file in files)


def lines() -> int:
    return sum(len(file.read_text().splitlines()) for file in FOLDER.iterdir())


def kept(dataset):
    return dataset.filter(expr="key != 'gone'")


TRIED = {
    "ray, lazy": lambda: kept(ray.data.read_parquet(str(FOLDER))).write_parquet(str(FOLDER), mode=OVERWRITE),
    "ray, materialized": lambda: kept(ray.data.read_parquet(str(FOLDER))).materialize().write_parquet(str(FOLDER), mode=OVERWRITE),
    "daft": lambda: daft.read_parquet(str(FOLDER)).where("key <> 'gone'").write_parquet(str(FOLDER), write_mode="overwrite"),
    "polars": lambda: polars.scan_parquet(FOLDER / "0.parquet").filter(polars.col("key") != "gone").sink_parquet(FOLDER / "0.parquet"),
}


def tried(call, left) -> tuple[str, int]:
    try:
        call()
        answer = "returns"
    except Exception:
        answer = "raises"
    return answer, left()


seen = {}
for name, call in TRIED.items():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"key": ["cat", "dog", "gone"]}), FOLDER / "0.parquet")
    seen[name] = tried(call, rows)
shutil.rmtree(FOLDER)
FOLDER.mkdir()
(FOLDER / "0.json").write_text('{"key": "cat"}\n{"key": "gone"}\n')
call = lambda: kept(ray.data.read_json(str(FOLDER))).write_json(str(FOLDER), mode=OVERWRITE)
seen["ray, lazy, JSON lines"] = tried(call, lines)
ray.shutdown()
for name, (answer, left) in seen.items():
    print(f"{name:22} {answer}, rows left: {left}")
if seen != {
    "ray, lazy": ("returns", 0),
    "ray, materialized": ("returns", 2),
    "daft": ("returns", 2),
    "polars": ("raises", 3),
    "ray, lazy, JSON lines": ("raises", 0),
}:
    sys.exit("changed: an overwrite of what is read is refused, or right")
PYTHON
