#!/usr/bin/env bash
# An export that fails half-way leaves a valid Parquet file of half the rows, under its final name.
#
# Guess:    a Parquet file has its footer at the end. One whose writer was interrupted has none, and no reader opens
#           it. So a file that can be read is whole.
# Happens:  ParquetWriter of pyarrow 25.0.1 in a `with` block writes the footer when an exception leaves the
#           block. ORCWriter does the same. The file has the rows so far, and there is no sign of the failure.
#           In a bucket, by pyarrow's own S3 file system, it replaces the object that was there. DuckDB 2.0.1
#           removes such a file. What Polars 2.1.0 leaves is refused, or is now and then a valid one of no rows.
# Versions: pyarrow 25.0.1, duckdb 2.0.1, polars 2.1.0, moto 5.2.5 as the store, boto3 1.40.61.
# Matters:  the rows are read from a database, and its connection breaks. The next step finds the export, which opens
#           without an error. Every object of the other half has no row in it, and is an orphan.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
  'pyarrow==25.0.1' 'duckdb==2.0.1' 'polars==2.1.0' 'moto[s3,server]==5.2.5' 'boto3==1.40.61'
export AWS_ACCESS_KEY_ID=finding AWS_SECRET_ACCESS_KEY=finding AWS_DEFAULT_REGION=us-east-1
cd "$work"

"$work/venv/bin/python" - 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator

import boto3
import duckdb
import polars
import pyarrow
import pyarrow.fs
import pyarrow.orc
import pyarrow.parquet
from moto.server import ThreadedMotoServer
from polars.io.plugins import register_io_source

for package in ("pyarrow", "duckdb", "polars", "moto"):
    print(package, importlib.metadata.version(package))
KEYS = ["a.png", "b.png"]
SCHEMA = pyarrow.schema([("key", pyarrow.string())])


def rows() -> Iterator[pyarrow.RecordBatch]:
    """Two of four rows; then the connection to the database breaks."""
    yield pyarrow.record_batch({"key": KEYS})
    raise ConnectionError("the database has gone")


def export(writer) -> None:
    """Writes what comes, until the connection breaks."""
    with contextlib.suppress(ConnectionError), writer:
        for batch in rows():
            writer.write(pyarrow.Table.from_batches([batch]))


def by_duckdb() -> None:
    source = pyarrow.RecordBatchReader.from_batches(SCHEMA, rows())  # noqa: F841 - DuckDB finds it by its name
    with contextlib.suppress(duckdb.Error):
        duckdb.sql("COPY (FROM source) TO 'duckdb.parquet'")


def by_polars() -> None:
    def frames(*_: object) -> Iterator[polars.DataFrame]:
        return (polars.from_arrow(batch) for batch in rows())

    with contextlib.suppress(ConnectionError):
        register_io_source(frames, schema={"key": polars.String}).sink_parquet("polars.parquet")


def read(call) -> list[str] | str:
    """The keys in a file, or why there are none."""
    try:
        return call()["key"].to_pylist()
    except (FileNotFoundError, pyarrow.ArrowInvalid) as error:
        return "not there" if isinstance(error, FileNotFoundError) else "refused"


server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
address = "http://{}:{}".format(*server.get_host_and_port())
s3 = boto3.client("s3", endpoint_url=address)
s3.create_bucket(Bucket="exports")
s3.put_object(Bucket="exports", Key="rows.parquet", Body=b"the export of yesterday")
bucket = pyarrow.fs.S3FileSystem(endpoint_override=address)

export(pyarrow.parquet.ParquetWriter("pyarrow.parquet", SCHEMA))
export(pyarrow.orc.ORCWriter("pyarrow.orc"))
export(pyarrow.parquet.ParquetWriter("exports/rows.parquet", SCHEMA, filesystem=bucket))
by_duckdb()
by_polars()
left = {
    "pyarrow, Parquet": read(lambda: pyarrow.parquet.read_table("pyarrow.parquet")),
    "pyarrow, ORC": read(lambda: pyarrow.orc.read_table("pyarrow.orc")),
    "pyarrow, bucket": read(lambda: pyarrow.parquet.read_table("exports/rows.parquet", filesystem=bucket)),
    "duckdb": read(lambda: pyarrow.parquet.read_table("duckdb.parquet")),
    "polars": read(lambda: pyarrow.parquet.read_table("polars.parquet")),
}
server.stop()
for writer, found in left.items():
    print(f"{writer:17} leaves {found}")

polars_left = left.pop("polars")
if list(left.values()) != [KEYS, KEYS, KEYS, "not there"] or polars_left not in ("refused", []):
    sys.exit("changed: another writer makes half an export whole, or pyarrow does not")
PYTHON
