"""A whole sweep by inventory, with files fetched, rows exported and findings back, against one that lists."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.model import parse_timestamp
from tools.benchmarks.corpus import ELEMENT, gateway_elements
from tools.benchmarks.figures import TIMES, Figure, at_least, at_most, for_comparison
from tools.benchmarks.listing import ORDERED, dry_run
from tools.benchmarks.programs import listing_server
from tools.benchmarks.site import BUCKET, Site

ID = "daily"
FILE = 1_000_000
GROUP = 250_000
HOUR = 3600
BY_INVENTORY = {
    **ORDERED,
    "SWEEP__SOURCE": "inventory",
    "INVENTORY__ID": ID,
    "INVENTORY__MAX_AGE": "72h",
}
SCHEMA = pa.schema(
    [
        ("bucket", pa.string()),
        ("key", pa.string()),
        ("size", pa.int64()),
        ("last_modified_date", pa.timestamp("ms", tz="UTC")),
        ("e_tag", pa.string()),
        ("storage_class", pa.string()),
    ]
)
MESSAGE = (
    "message s3.inventory {  required binary bucket (STRING);  required binary key (STRING);"
    "  optional int64 size;  optional int64 last_modified_date (TIMESTAMP(MILLIS,true));"
    "  optional binary e_tag (STRING);  optional binary storage_class (STRING);}"
)
IDENTITY = ".reconciler/identity.json"


def whole_pass(site: Site, keys: int, cache: Path) -> list[Figure]:
    """Both sweeps on the same bucket and rows, by a dry run of `once`: its own processor time."""
    reports = cache / f"reports-{keys}"
    deliver(keys, reports)
    with listing_server(keys, cache, reports=reports) as endpoint:
        listed = dry_run(site, keys, endpoint)
        inventory = dry_run(site, keys, endpoint, BY_INVENTORY)
    title = f"a sweep of {keys:,} objects and rows by inventory, export and findings included"
    cpu = listed.run.cpu / inventory.run.cpu
    return [
        at_least(title, "processor time of a sweep that lists, against it", cpu, 1, TIMES),
        at_most(title, "peak resident memory", inventory.run.peak_mib, 1024, " MiB"),
        for_comparison(title, "processor time", inventory.run.cpu, " s"),
        for_comparison(title, "processor time by listing", listed.run.cpu, " s"),
        for_comparison(title, "duration_seconds", inventory.duration, " s"),
        for_comparison(title, "duration_seconds by listing", listed.duration, " s"),
    ]


def deliver(keys: int, folder: Path) -> None:
    """Write a daily inventory of the listing server's objects, as S3 does: data, manifest, checksum."""
    place = f"reports/{BUCKET}/{ID}"
    (folder / place / "data").mkdir(parents=True)
    elements = _lines(keys)
    files: list[dict[str, object]] = []
    while some := list(islice(elements, FILE)):
        name = f"{place}/data/{len(files):05}.parquet"
        _write(folder / name, some)
        body = (folder / name).read_bytes()
        files.append({"key": name, "size": len(body), "MD5checksum": hashlib.md5(body).hexdigest()})
    manifest = {
        "sourceBucket": BUCKET,
        "destinationBucket": f"arn:aws:s3:::{BUCKET}",
        "version": "2016-11-30",
        "creationTimestamp": str(int(time.time() - HOUR) * 1000),
        "fileFormat": "Parquet",
        "fileSchema": MESSAGE,
        "files": files,
    }
    text = json.dumps(manifest).encode()
    made = folder / place / time.strftime("%Y-%m-%dT%H-%MZ", time.gmtime())
    made.mkdir()
    (made / "manifest.json").write_bytes(text)
    (made / "manifest.checksum").write_text(f"{hashlib.md5(text).hexdigest()}\n")


def _lines(keys: int) -> Iterator[tuple[str, str, str, str]]:
    """Key, time, ETag and size of every object, the bucket's identity first."""
    yield IDENTITY, "2026-01-01T00:00:00.000Z", "0" * 32, "1"
    for element in gateway_elements(keys):
        found = ELEMENT.search(element.decode())
        assert found is not None
        key, modified, etag, size = found.groups()
        yield key, modified, etag, size


def _write(path: Path, lines: Iterable[tuple[str, str, str, str]]) -> None:
    names, times, etags, sizes = zip(*lines, strict=True)
    many = len(names)
    columns = [
        pa.array([BUCKET] * many, pa.string()),
        pa.array(names, pa.string()),
        pa.array([int(size) for size in sizes], pa.int64()),
        pa.array([parse_timestamp(each) for each in times], SCHEMA.field("last_modified_date").type),
        pa.array(etags, pa.string()),
        pa.array(["STANDARD"] * many, pa.string()),
    ]
    pq.write_table(pa.table(columns, schema=SCHEMA), path, row_group_size=GROUP)
