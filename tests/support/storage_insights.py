"""Inventory reports as Google's Storage Insights delivers them, written by other code than reads them.

Fields and names are those of https://cloud.google.com/storage/docs/insights/inventory-reports and of
`gcloud storage insights inventory-reports create`, whose default fields these are.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tests.servers import Bucket
from tests.support.inventories import HOUR, IDENTITY

ID: Final = "0b0a7a5e-2d4a-4f6d-9c50-6a3f3f9d2b11"
FIELDS: Final = (
    "project",
    "bucket",
    "name",
    "location",
    "size",
    "timeCreated",
    "timeDeleted",
    "updated",
    "storageClass",
    "etag",
    "retentionExpirationTime",
    "crc32c",
    "md5Hash",
    "generation",
    "metageneration",
    "contentType",
    "contentEncoding",
    "timeStorageClassUpdated",
)
TIMES: Final = {each for each in FIELDS if each.startswith("time") or each.endswith("Time")} | {"updated"}
WHOLE: Final = {"size", "generation", "metageneration"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a report; `md5` in hexadecimal, None of an object that was composed."""

    name: str
    size: int = 1
    updated: datetime | None = None
    md5: str | None = "0" * 32
    deleted: datetime | None = None


@dataclass(slots=True)
class Reports:
    """The daily reports of a bucket, delivered to another. `csv`: delimiter, separator, names or not."""

    bucket: Bucket
    destination: Bucket
    csv: tuple[str, str, bool] | None = None
    path: str = "inventory_reports"
    days: int = field(default=0, init=False)

    @property
    def place(self) -> str:
        return f"gs://{self.destination.name}/{self.path}/"

    def listed(self) -> list[Line]:
        pages = self.bucket.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name)
        return [
            Line(each["Key"], each["Size"], each["LastModified"], each["ETag"].strip('"'))
            for page in pages
            for each in page.get("Contents", ())
        ]

    def deliver(
        self,
        lines: Sequence[Line] | None = None,
        *,
        spoil: Callable[[dict[str, Any], dict[str, bytes]], None] = lambda *_: None,
    ) -> str:
        """Write one more report in two shards. Returns its manifest's key.

        `spoil` changes the manifest, and the shards by their names, before they are put.
        """
        self.days += 1
        lines = self.listed() if lines is None else list(lines)
        if IDENTITY not in {each.name for each in lines}:
            lines = [*lines, Line(IDENTITY, 1, datetime(2026, 1, 1, tzinfo=UTC))]
        began = datetime.now(UTC) - HOUR + self.days * timedelta(seconds=1)
        begins = f"{ID}_2026-01-{self.days:02}T01:00"
        half, ending = -(-len(lines) // 2), "parquet" if self.csv is None else "csv"
        shards = {
            f"{begins}_{number}.{ending}": self._shard(lines[number * half : (number + 1) * half])
            for number in range(2)
        }
        manifest: dict[str, Any] = {
            "report_config": self._config(),
            "records_processed": len(lines),
            "snapshot_time": f"{began:%Y-%m-%dT%H:%M:%S.%f}Z",
            "shard_count": len(shards),
            "report_shards_file_names": list(shards),
        }
        spoil(manifest, shards)
        for name, body in shards.items():
            self.destination.put(f"{self.path}/{name}", body)
        key = f"{self.path}/{begins}_manifest.json"
        self.destination.put(key, json.dumps(manifest).encode())
        return key

    def _config(self) -> dict[str, Any]:
        form: dict[str, Any] = {"parquet_options": {}}
        if self.csv is not None:
            delimiter, separator, header = self.csv
            form = {
                "csv_options": {
                    "delimiter": delimiter,
                    "record_separator": separator,
                    "header_required": header,
                }
            }
        return {
            "name": f"projects/1/locations/eu/reportConfigs/{ID}",
            "frequency_options": {"frequency": "DAILY"},
            "object_metadata_report_options": {
                "metadata_fields": list(FIELDS),
                "storage_filters": {"bucket": self.bucket.name},
                "storage_destination_options": {
                    "bucket": self.destination.name,
                    "destination_path": self.path,
                },
            },
            **form,
        }

    def _shard(self, lines: Sequence[Line]) -> bytes:
        rows = [self._row(each) for each in lines]
        if self.csv is None:
            return _parquet(rows)
        delimiter, separator, header = self.csv
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=delimiter, lineterminator=separator)
        if header:
            writer.writerow(FIELDS)
        for row in rows:
            writer.writerow(
                f"{value:%Y-%m-%dT%H:%M:%S.%f}Z" if isinstance(value, datetime) else value
                for value in row.values()
            )
        return text.getvalue().encode()

    def _row(self, line: Line) -> dict[str, Any]:
        md5 = None if line.md5 is None else base64.b64encode(bytes.fromhex(line.md5)).decode()
        known = {
            "project": "1",
            "bucket": self.bucket.name,
            "name": line.name,
            "location": "EU",
            "size": line.size,
            "timeCreated": line.updated,
            "timeDeleted": line.deleted,
            "updated": line.updated,
            "storageClass": "STANDARD",
            "etag": "CKbVlsrwvYwDEAE=",
            "md5Hash": md5,
            "generation": 1743752582769318,
            "metageneration": 1,
        }
        return {each: known.get(each) for each in FIELDS}


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    def kind(name: str) -> pa.DataType:
        if name in TIMES:
            return pa.timestamp("us", tz="UTC")
        return pa.int64() if name in WHOLE else pa.string()

    sink = io.BytesIO()
    columns = {each: pa.array([row[each] for row in rows], kind(each)) for each in FIELDS}
    pq.write_table(pa.table(columns), sink, compression="snappy", row_group_size=7)
    return sink.getvalue()
