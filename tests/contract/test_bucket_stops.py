"""What stops a deletion is asked before each request, of whatever kind, and of nothing that brings back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.errors import StoreUnavailable
from reconciler.model import DeletionResult, ObjectResult, Upload, Version
from reconciler.stores.s3 import open_bucket
from reconciler.stores.s3.client import Bucket
from tests.support.buckets import config_for
from tests.support.faulty_store import Answer, FaultyStore, faulty_store

pytestmark = pytest.mark.anyio

KEYS = [f"image/{number}" for number in range(40)]
LET_THROUGH = 5


@asynccontextmanager
async def stopping() -> AsyncIterator[tuple[Bucket, FaultyStore]]:
    """A store that deletes anything, and a stop after so many requests."""
    asked = 0

    def may_delete() -> None:
        nonlocal asked
        asked += 1
        if asked > LET_THROUGH:
            raise StoreUnavailable("paused")

    async with faulty_store(Answer("", 204)) as store:
        config = replace(config_for(store.endpoint_url, timeout=timedelta(seconds=20)), may_delete=may_delete)
        async with open_bucket(config) as opened:
            yield opened, store


def versions(*, marker: bool) -> list[Version]:
    return [Version(key=key, id="v1", marker=marker, latest=True, last_modified=None) for key in KEYS]


Remove = Callable[[Bucket], Awaitable[Sequence[DeletionResult]]]


@pytest.mark.parametrize(
    "remove",
    [
        lambda bucket: bucket.versions.remove(versions(marker=False)),
        lambda bucket: bucket.versions.remove(versions(marker=True)),
        lambda bucket: bucket.uploads.abort([Upload(key=key, id="1", begun_at=None) for key in KEYS]),
    ],
    ids=["versions", "markers", "uploads"],
)
async def test_nothing_is_sent_after_the_stop(remove: Remove, credentials: None) -> None:
    async with stopping() as (bucket, store):
        results = await remove(bucket)
    assert len(store.requests) == LET_THROUGH
    left = [each for each in results if each.result is ObjectResult.FAILED]
    assert len(left) == len(KEYS) - LET_THROUGH
    assert {each.detail for each in left} == {"paused"}


async def test_what_brings_back_is_not_stopped(credentials: None) -> None:
    async with stopping() as (bucket, store):
        results = await bucket.versions.remove(versions(marker=True), reveals=True)
    assert {each.result for each in results} == {ObjectResult.DELETED}
    assert len(store.requests) == len(KEYS)
