"""S3 Metadata as AWS makes it: a live inventory table in Iceberg, its catalog, what the bucket says of both.

The table is written by PyIceberg with its SQL catalog; the catalog stub answers in the shapes of
https://iceberg.apache.org/rest-catalog-spec/ with what S3 Tables adds: a prefix that is an encoded ARN, and
signatures for the service `s3tables`, which it checks. The schema is that of
https://docs.aws.amazon.com/AmazonS3/latest/userguide/metadata-tables-inventory-schema.html
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import pyarrow as pa
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from flask import Flask, Response, jsonify, request
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import ManifestContent, write_manifest_list
from pyiceberg.table import Table
from werkzeug.serving import make_server

from tests.servers import Bucket
from tests.support.inventories import IDENTITY

WAREHOUSE: Final = "arn:aws:s3tables:us-east-1:111122223333:bucket/aws-s3"
SCHEMA: Final = pa.schema(
    [
        pa.field("bucket", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("sequence_number", pa.string(), nullable=False),
        pa.field("version_id", pa.string()),
        pa.field("is_delete_marker", pa.bool_()),
        pa.field("size", pa.int64()),
        pa.field("last_modified_date", pa.timestamp("us")),
        pa.field("e_tag", pa.string()),
        pa.field("storage_class", pa.string()),
        pa.field("is_multipart", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class Version:
    """A row of the table."""

    key: str
    sequence: str
    size: int | None = 1
    modified: datetime | None = None
    etag: str | None = "e"
    marker: bool = False
    bucket: str | None = None


@dataclass(slots=True)
class LiveTable:
    """The table of a bucket, whose files lie in another. `spoil` changes what the catalog answers."""

    bucket: Bucket
    files: Bucket
    folder: Path
    spoil: Callable[[dict[str, Any]], None] = lambda _: None
    refuse: int | None = None
    table: Table = field(init=False)

    def __post_init__(self) -> None:
        catalog = SqlCatalog(
            "aws",
            uri=f"sqlite:///{self.folder}/catalog.db",
            warehouse=f"s3://{self.files.name}/warehouse",
            **{
                "s3.endpoint": self.files.server.endpoint_url,
                "s3.access-key-id": self.files.server.access_key,
                "s3.secret-access-key": self.files.server.secret_key,
                "s3.region": self.files.server.region,
            },
        )
        catalog.create_namespace(self.namespace)
        self.table = catalog.create_table(f"{self.namespace}.inventory", SCHEMA)

    @property
    def namespace(self) -> str:
        return "b_" + self.bucket.name.replace(".", "_")

    def state(self, status: str = "ACTIVE", *, enabled: bool = True, error: str = "") -> None:
        """What the bucket says of its table from now on; with status "" nothing at all."""
        told = f"<Error><ErrorCode>{error}</ErrorCode></Error>" if error else ""
        body = f"""<GetBucketMetadataConfigurationResult><MetadataConfigurationResult>
            <DestinationResult><TableBucketType>aws</TableBucketType>
            <TableBucketArn>{WAREHOUSE}</TableBucketArn><TableNamespace>{self.namespace}</TableNamespace>
            </DestinationResult><InventoryTableConfigurationResult>
            <ConfigurationState>{"ENABLED" if enabled else "DISABLED"}</ConfigurationState>
            <TableStatus>{status}</TableStatus>{told}<TableName>inventory</TableName>
            </InventoryTableConfigurationResult></MetadataConfigurationResult>
            </GetBucketMetadataConfigurationResult>"""
        connection = HTTPConnection(urlsplit(self.files.server.endpoint_url).netloc)
        connection.request("PUT", f"/{self.bucket.name}?metadataConfiguration", body if status else "")
        assert connection.getresponse().status in {200, 404}
        connection.close()

    def listed(self) -> list[Version]:
        """What the bucket holds now."""
        pages = self.bucket.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name)
        return [
            Version(each["Key"], "8", each["Size"], each["LastModified"], each["ETag"].strip('"'))
            for page in pages
            for each in page.get("Contents", ())
        ]

    def deliver(self, lines: Sequence[Version] | None = None, *, marked: bool = True) -> None:
        """Replace the rows by these, in a file for each half."""
        lines = self.listed() if lines is None else list(lines)
        if marked and IDENTITY not in {each.key for each in lines}:
            lines = [*lines, Version(IDENTITY, "8")]
        lines.sort(key=lambda each: each.key)
        half = len(lines) // 2
        write = self.table.overwrite if self.table.current_snapshot() else self.table.append
        write(self._rows(lines[:half]))
        self.table.append(self._rows(lines[half:]))

    def data_files(self) -> list[str]:
        """The keys of the current snapshot's files."""
        beginning = f"s3://{self.files.name}/"
        return [each.file.file_path.removeprefix(beginning) for each in self.table.scan().plan_files()]

    def with_deletes(self) -> str:
        """A list of the snapshot's manifests, one of them with delete files: PyIceberg makes none."""
        snapshot = self.table.current_snapshot()
        assert snapshot is not None
        location = f"{snapshot.manifest_list}-deletes"
        manifests = deepcopy(snapshot.manifests(self.table.io))
        manifests[0]._data[3] = ManifestContent.DELETES
        output = self.table.io.new_output(location)
        with write_manifest_list(2, output, snapshot.snapshot_id, None, 1, "deflate") as writer:
            writer.add_manifests(manifests)
        return location

    def _rows(self, lines: Sequence[Version]) -> pa.Table:
        rows = [
            {
                "bucket": each.bucket or self.bucket.name,
                "key": each.key,
                "sequence_number": each.sequence,
                "is_delete_marker": each.marker,
                "size": 0 if each.marker else each.size,
                "last_modified_date": each.modified and each.modified.replace(tzinfo=None),
                "e_tag": each.etag,
                "is_multipart": "-" in (each.etag or ""),
            }
            for each in lines
        ]
        return pa.Table.from_pylist(rows, SCHEMA)

    @contextmanager
    def catalog(self) -> Iterator[str]:
        """Serve the table; the address of the catalog."""
        app = Flask("catalog")
        prefix = quote(WAREHOUSE, safe="")

        @app.before_request
        def check() -> Response | None:
            if self.refuse is not None:
                return Response('{"error": {"message": "no"}}', status=self.refuse)
            given = request.headers["Authorization"]
            url = f"http://{request.host}{request.environ['RAW_URI']}"
            signed = {name: request.headers[name] for name in ("X-Amz-Content-Sha256", "X-Amz-Date")}
            again = AWSRequest(request.method, url, headers=signed)
            again.context["timestamp"] = signed["X-Amz-Date"]
            server = self.files.server
            credentials = Credentials(server.access_key, server.secret_key)
            signer = SigV4Auth(credentials, "s3tables", server.region)
            text = signer.string_to_sign(again, signer.canonical_request(again))
            return None if signer.signature(text, again) in given else Response("signature", status=403)

        @app.get("/iceberg/v1/config")
        def config() -> Response:
            assert request.args["warehouse"] == WAREHOUSE
            return jsonify({"defaults": {}, "overrides": {"prefix": prefix}})

        @app.get(f"/iceberg/v1/{WAREHOUSE}/namespaces/{self.namespace}/tables/inventory")
        def load() -> Response:
            answer = {
                "metadata-location": self.table.metadata_location,
                "metadata": json.loads(self.table.metadata.model_dump_json()),
                "config": {},
            }
            self.spoil(answer)
            return jsonify(answer)

        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.port}/iceberg"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def aged(answer: dict[str, Any], milliseconds: int) -> None:
    """Make every snapshot older."""
    for each in [*answer["metadata"]["snapshots"], *answer["metadata"]["snapshot-log"]]:
        each["timestamp-ms"] -= milliseconds
