"""Inventories as S3 delivers them, written by other code than reads them: pyarrow, csv and pyorc.

The schemas are those of https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory.html and of
real reports (nix-cache), whose Parquet has UTC timestamps and whose CSV has no header.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pyorc

from tests.servers import Bucket

IDENTITY: Final = ".reconciler/identity.json"
HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of an inventory. `extra`: of a version, whether it is the latest, and a delete marker."""

    key: str | None
    size: int | None = 1
    modified: datetime | None = None
    etag: str | None = "e"
    latest: bool = True
    marker: bool = False


def parquet(bucket: str, lines: Sequence[Listed], *, versions: bool = False) -> tuple[str, bytes]:
    """The schema as the manifest has it, and a file."""
    columns: dict[str, Any] = {
        "bucket": pa.array([bucket] * len(lines), pa.string()),
        "key": pa.array([each.key for each in lines], pa.string()),
    }
    if versions:
        columns["version_id"] = pa.array(["v"] * len(lines), pa.string())
        columns["is_latest"] = pa.array([each.latest for each in lines], pa.bool_())
        columns["is_delete_marker"] = pa.array([each.marker for each in lines], pa.bool_())
    columns |= {
        "size": pa.array([each.size for each in lines], pa.int64()),
        "last_modified_date": pa.array([each.modified for each in lines], pa.timestamp("ms", tz="UTC")),
        "e_tag": pa.array([each.etag for each in lines], pa.string()),
        "storage_class": pa.array(["STANDARD"] * len(lines), pa.string()),
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="snappy", row_group_size=7)
    kinds = {"size": "int64", "last_modified_date": "int64"}
    named = " ".join(f"optional {kinds.get(each, 'binary')} {each};" for each in columns)
    return f"message s3.inventory {{  {named}}}", sink.getvalue()


def csv_gz(bucket: str, lines: Sequence[Listed], *, versions: bool = False) -> tuple[str, bytes]:
    names = ["Bucket", "Key"]
    names += ["VersionId", "IsLatest", "IsDeleteMarker"] if versions else []
    names += ["Size", "LastModifiedDate", "ETag", "StorageClass"]
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for each in lines:
        of_version = ["v", str(each.latest).lower(), str(each.marker).lower()] if versions else []
        at = "" if each.modified is None else f"{each.modified:%Y-%m-%dT%H:%M:%S}.000Z"
        size = "" if each.size is None else each.size
        writer.writerow(
            [bucket, quote_plus(each.key or ""), *of_version, size, at, each.etag or "", "STANDARD"]
        )
    return ", ".join(names), gzip.compress(text.getvalue().encode() + b"\n\n")


def orc(bucket: str, lines: Sequence[Listed], *, versions: bool = False) -> tuple[str, bytes]:
    of_version = "version_id:string,is_latest:boolean,is_delete_marker:boolean," if versions else ""
    schema = (
        f"struct<bucket:string,key:string,{of_version}size:bigint,last_modified_date:timestamp,"
        "e_tag:string,storage_class:string>"
    )
    sink = io.BytesIO()
    with pyorc.Writer(sink, schema) as writer:
        for each in lines:
            seen = ("v", each.latest, each.marker) if versions else ()
            writer.write((bucket, each.key, *seen, each.size, each.modified, each.etag, "STANDARD"))
    return schema, sink.getvalue()


FORMATS: Final[Mapping[str, Callable[..., tuple[str, bytes]]]] = {
    "Parquet": parquet,
    "CSV": csv_gz,
    "ORC": orc,
}
_ENDINGS: Final = {"Parquet": "parquet", "CSV": "csv.gz", "ORC": "orc"}


@dataclass(slots=True)
class Inventory:
    """The daily inventory of a bucket, delivered to another. Of all versions: moto says that of each."""

    bucket: Bucket
    destination: Bucket
    form: str = "Parquet"
    versions: bool = True
    id: str = "daily"
    prefix: str = "reports"
    days: int = field(default=0, init=False)

    def configure(self, **changes: Any) -> None:
        configuration: dict[str, Any] = {
            "Destination": {
                "S3BucketDestination": {
                    "Bucket": f"arn:aws:s3:::{self.destination.name}",
                    "Format": self.form,
                    "Prefix": self.prefix,
                }
            },
            "IsEnabled": True,
            "Id": self.id,
            "IncludedObjectVersions": "All" if self.versions else "Current",
            "OptionalFields": ["Size", "LastModifiedDate", "ETag", "StorageClass"],
            "Schedule": {"Frequency": "Daily"},
            **changes,
        }
        self.bucket.client.put_bucket_inventory_configuration(
            Bucket=self.bucket.name, Id=self.id, InventoryConfiguration=configuration
        )

    def listed(self) -> list[Listed]:
        """What the bucket holds now, in the store's own words."""
        pages = self.bucket.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name)
        return [
            Listed(each["Key"], each["Size"], each["LastModified"], each["ETag"].strip('"'))
            for page in pages
            for each in page.get("Contents", ())
        ]

    def deliver(
        self,
        lines: Sequence[Listed] | None = None,
        *,
        began: datetime | None = None,
        files: int = 2,
        marked: bool = True,
        spoil: Callable[[dict[str, Any], dict[str, bytes]], None] = lambda *_: None,
    ) -> str:
        """Write one more inventory, an hour under way unless `began` says otherwise. Returns its folder.

        `spoil` changes the manifest, and the files by their keys, before they are put.
        """
        self.days += 1
        lines = self.listed() if lines is None else list(lines)
        if marked and IDENTITY not in {each.key for each in lines}:
            lines = [*lines, Listed(IDENTITY, 1, datetime(2026, 1, 1, tzinfo=UTC))]
        began = began or datetime.now(UTC) - HOUR + self.days * timedelta(seconds=1)
        place = f"{self.prefix}/{self.bucket.name}/{self.id}"
        lines.sort(key=lambda each: each.key or "")
        step = -(-len(lines) // files)
        bodies: dict[str, bytes] = {}
        schema, entries = "", []
        for number in range(files):
            some = lines[number * step : (number + 1) * step]
            schema, body = FORMATS[self.form](self.bucket.name, some, versions=self.versions)
            key = f"{place}/data/{self.days}-{number}.{_ENDINGS[self.form]}"
            bodies[key] = body
            md5 = hashlib.md5(body).hexdigest()
            entries.append({"key": key, "size": len(body), "MD5checksum": md5})
        manifest: dict[str, Any] = {
            "sourceBucket": self.bucket.name,
            "destinationBucket": f"arn:aws:s3:::{self.destination.name}",
            "version": "2016-11-30",
            "creationTimestamp": str(int(began.timestamp() * 1000)),
            "fileFormat": self.form,
            "fileSchema": schema,
            "files": entries,
        }
        spoil(manifest, bodies)
        for key, body in bodies.items():
            self.destination.put(key, body)
        folder = f"{place}/2026-01-{self.days:02}T01-00Z"
        text = json.dumps(manifest).encode()
        self.destination.put(f"{folder}/manifest.json", text)
        self.destination.put(f"{folder}/manifest.checksum", hashlib.md5(text).hexdigest().encode() + b"\n")
        return folder
