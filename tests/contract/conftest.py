"""Fixtures of the contract tests: each port's double and its real server, side by side."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from reconciler.model import ListingOrder
from reconciler.stores.s3 import retries
from tests.contract.catalog import Stage, staged
from tests.contract.sides import (
    BucketSide,
    CatalogSide,
    memory_bucket,
    memory_catalog,
    real_bucket,
    real_catalog,
)
from tests.servers import Bucket, given_server


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """For stores of the tests' own, which check none; and short pauses between retries."""
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")


@pytest.fixture(params=["memory", "postgres"])
def backing_database(request: pytest.FixtureRequest) -> str | None:
    """The address of a real database, or None for one in memory."""
    return None if request.param == "memory" else request.getfixturevalue("database")


@pytest.fixture
async def stage(database: str) -> AsyncIterator[Stage]:
    """A catalog on a real Postgres, with a term."""
    async with staged(database) as opened:
        yield opened


@pytest.fixture
async def catalog(backing_database: str | None) -> AsyncIterator[CatalogSide]:
    if backing_database is None:
        yield await memory_catalog()
        return
    async with staged(backing_database) as stage:
        yield real_catalog(stage)


OURS = ["memory", "memory without order", "seaweed", "moto"]


@pytest.fixture(params=["given"] if given_server() else OURS)
def backing_bucket(request: pytest.FixtureRequest) -> Bucket | ListingOrder:
    """A real bucket, or the order of one in memory."""
    if request.param.startswith("memory"):
        return ListingOrder.BYTES if request.param == "memory" else ListingOrder.NONE
    bucket: Bucket = request.getfixturevalue(f"{request.param}_bucket")
    return bucket


@pytest.fixture
async def side(backing_bucket: Bucket | ListingOrder) -> AsyncIterator[BucketSide]:
    if isinstance(backing_bucket, ListingOrder):
        opening = memory_bucket(backing_bucket)
    else:
        opening = real_bucket(backing_bucket)
    async with opening as opened:
        yield opened
