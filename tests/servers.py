"""The real servers of the tests, as values: how to reach them, and a bucket to look into independently."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import boto3
from botocore.config import Config

from reconciler.embedded.client import HOST, Supervisor, free_ports
from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.embedded.seaweedfs import start_s3

GIVEN: Final = "STORE_UNDER_TEST"
"""The variable in which `python -m tools.stores` hands a store to the contract suite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """`kind` is a name in `tests.support.buckets.CAPABILITIES`, which says what each can do.

    `trusted` is the file of a certificate of its own, where it speaks https.
    """

    kind: str
    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    trusted: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def environment(self) -> dict[str, str]:
        """The usual AWS variables, from which the reconciler takes its credentials."""
        return {
            **({"AWS_CA_BUNDLE": self.trusted} if self.trusted else {}),
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
        }

    def client(self) -> Any:
        """A blocking boto3 client, which shares no code with the reconciler's bucket."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            verify=self.trusted,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"max_attempts": 2},
                # Ceph takes no trailer over https; moto wants a checksum where an object is to be locked.
                request_checksum_calculation="when_required" if self.trusted else "when_supported",
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A fresh bucket; `client` is a blocking boto3 client."""

    name: str
    server: S3Server
    client: Any

    def put(self, key: str, body: bytes = b"x", metadata: Mapping[str, str] | None = None) -> str:
        """Store an object and return its ETag, unquoted."""
        answer = self.client.put_object(Bucket=self.name, Key=key, Body=body, Metadata=dict(metadata or {}))
        return str(answer["ETag"]).strip('"')

    def keys(self, prefix: str = "") -> set[str]:
        """Every key under the prefix, `.reconciler/` included."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {entry["Key"] for page in pages for entry in page.get("Contents", ())}

    def environment(self) -> dict[str, str]:
        """Credentials, and the reconciler's settings of the bucket."""
        return {
            **self.server.environment(),
            "RECONCILER_BUCKET__NAME": self.name,
            "RECONCILER_BUCKET__ENDPOINT_URL": self.server.endpoint_url,
            "RECONCILER_BUCKET__REGION": self.server.region,
        }


@contextmanager
def fresh_bucket(server: S3Server) -> Iterator[Bucket]:
    """A new bucket; it goes with its server at the end of the session."""
    client = server.client()
    bucket = Bucket(name=f"test-{secrets.token_hex(6)}", server=server, client=client)
    client.create_bucket(Bucket=bucket.name)
    try:
        yield bucket
    finally:
        client.close()


def given_server() -> S3Server | None:
    """The store that the suite is to be run on instead of its own two."""
    told = os.environ.get(GIVEN)
    return S3Server(**json.loads(told)) if told else None


def start_seaweedfs(supervisor: Supervisor) -> S3Server:
    """The SeaweedFS of the demo."""
    server = start_s3(supervisor)
    return S3Server(
        kind="seaweedfs",
        endpoint_url=server.endpoint_url,
        access_key=server.access_key,
        secret_key=server.secret_key,
        region=server.region,
    )


def start_moto(supervisor: Supervisor) -> S3Server:
    """A moto server as a process of its own: its threads and warnings stay out of the tests."""
    port = free_ports(1)
    # Isolated, so that what lies next to the script is not taken for a library.
    command = [sys.executable, "-I", str(Path(__file__).parent / "support" / "moto_server.py")]
    supervisor.start("moto", [*command, "-H", HOST, "-p", str(port)])
    supervisor.wait_for("moto", lambda: _answers(port), "moto")
    return S3Server(
        kind="moto",
        endpoint_url=f"http://{HOST}:{port}",
        access_key="moto",
        secret_key="moto-secret",
        region="us-east-1",
    )


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/moto-api/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def execute(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own, for fixtures that have no event loop."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


@contextmanager
def administrator(server: EmbeddedPostgres) -> Iterator[Callable[[str], None]]:
    """Runs statements as `execute` does, on one connection: to open one takes 10 ms of processor time."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(server.url()))
        yield lambda statement: runner.run(connection.execute(statement))
        runner.run(connection.close())


@contextmanager
def fresh_database(
    server: EmbeddedPostgres, template: str = "template0", run: Callable[[str], None] | None = None
) -> Iterator[str]:
    """The address of a new database, a copy of the template; dropped at the end with its connections.

    `run` executes a statement on the server, where there is an `administrator`.
    """
    name = f"test_{secrets.token_hex(6)}"
    run = run or partial(execute, server.url())
    run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
    try:
        yield server.url(name)
    finally:
        run(f'DROP DATABASE "{name}" WITH (FORCE)')
