"""A real store, empty at first, and what is done in it by s5cmd."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from reconciler.embedded.client import start_supervisor
from reconciler.embedded.seaweedfs import EmbeddedS3, start_s3
from tools.benchmarks.corpus import keys_by_day
from tools.benchmarks.programs import Run, measure, program, slow_way


@contextmanager
def late(store: EmbeddedS3, milliseconds: float) -> Iterator[EmbeddedS3]:
    """The same store, which each request reaches so much later."""
    with slow_way(store.endpoint_url, milliseconds) as address:
        yield replace(store, endpoint_url=address)


@contextmanager
def opened() -> Iterator[EmbeddedS3]:
    """A SeaweedFS of its own, empty."""
    supervisor = start_supervisor()
    try:
        yield start_s3(supervisor)
    finally:
        supervisor.close()


def upload(store: EmbeddedS3, bucket: str, keys: int) -> None:
    """Fill a new bucket with small objects."""
    with tempfile.TemporaryDirectory(prefix="objects-") as tree:
        for _, names in keys_by_day(keys):
            for name in names:
                path = Path(tree) / name
                if not path.parent.exists():
                    path.parent.mkdir(parents=True)
                path.write_bytes(b"sixteen octets..")
        s5cmd(store, "mb", f"s3://{bucket}")
        s5cmd(store, "cp", f"{tree}/", f"s3://{bucket}/")


def s5cmd(store: EmbeddedS3, *arguments: str) -> Run:
    command = [program("s5cmd"), "--endpoint-url", store.endpoint_url, *arguments]
    return measure(command, {**store.environment(), "AWS_REGION": store.region})
