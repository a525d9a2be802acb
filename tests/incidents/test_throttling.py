"""A store that throttles is asked for less, and everything goes all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
import structlog

from reconciler.model import Deletion, Outcome
from reconciler.stores.s3 import open_bucket
from reconciler.stores.s3.deletion import SINGLES_AT_ONCE
from tests.integration.site import make_site
from tests.support.buckets import CAPABILITIES, config_of
from tests.support.faulty_store import NAMESPACE, Answer, Request, error, serving
from tests.support.quirky_store import BUCKET, Quirks, QuirkyStore, quirky_store

pytestmark = [pytest.mark.anyio, pytest.mark.incident(21)]

DELETING, LISTING = "DeleteObjects", "ListObjectsV2"


@asynccontextmanager
async def storm(operation: str, refused: int, how: Callable[[Request], Answer]) -> AsyncIterator[QuirkyStore]:
    """A store that answers the first requests of the operation so, as often as `refused` says."""
    store, left = QuirkyStore(Quirks()), refused

    def answer(request: Request) -> Answer:
        nonlocal left
        usual = request.method == "POST" if operation == DELETING else "list-type=2" in request.target
        scratch = ".reconciler" in request.target or b".reconciler" in request.body
        if not usual or not left or scratch:
            return store.answer(request)
        left -= 1
        return how(request)

    async with serving(answer) as store.endpoint_url:
        yield store


def slow_down(_: Request) -> Answer:
    return Answer(error("SlowDown"), 503)


def unavailable(_: Request) -> Answer:
    return Answer("<html>busy</html>", 503)


def too_many(_: Request) -> Answer:
    return Answer("", 429)


def as_wasabi(_: Request) -> Answer:
    return Answer(error("RequestRateLimitExceeded"), 400)


def each_key(request: Request) -> Answer:
    """A 200 whose every key is refused."""
    names = request.body.decode().split("<Key>")[1:]
    refused = "".join(
        f"<Error><Key>{name.partition('<')[0]}</Key><Code>SlowDown</Code></Error>" for name in names
    )
    return Answer(f"<DeleteResult {NAMESPACE}>{refused}</DeleteResult>")


@pytest.mark.parametrize("how", [slow_down, unavailable, too_many, as_wasabi, each_key])
async def test_deletions_slow_down_and_converge(database: str, how: Callable[[Request], Answer]) -> None:
    async with storm(DELETING, 3, how) as store:
        store.put(*(f"image/{number}" for number in range(40)))
        site = make_site(database, store.bucket())
        with structlog.testing.capture_logs() as logs:
            report = await site.once(delete_mode="direct")
        assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 40)
        assert store.keys() == set()
    slowed = [line for line in logs if line["event"] == "the store throttles: slowing down"]
    assert {line["requests"] for line in slowed} == {"deleting"}
    assert slowed[0]["in_flight"] == 16, "half of what is set"


async def test_listing_slows_down_by_itself(database: str) -> None:
    async with storm(LISTING, 3, slow_down) as store:
        store.put("image/orphan")
        site = make_site(database, store.bucket())
        with structlog.testing.capture_logs() as logs:
            report = await site.once(delete_mode="direct")
        assert report.removed.objects == 1
    slowed = [line for line in logs if line["event"] == "the store throttles: slowing down"]
    assert {line["requests"] for line in slowed} == {"listing"}
    assert slowed[0]["in_flight"] == 8


async def test_deletions_that_hang_do_not_keep_a_listing_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has connections of its own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    async with quirky_store(Quirks(silent_above=0)) as store:
        store.put("image/a")
        bucket = store.bucket()
        config = config_of(bucket, name=BUCKET)
        async with open_bucket(config) as opened:
            objects = opened.store(CAPABILITIES["moto"])
            async with anyio.create_task_group() as group:
                for number in range(60):
                    group.start_soon(objects.delete, [Deletion(key=f"image/{number}")])
                connections = config.delete_concurrency + SINGLES_AT_ONCE + config.copy_concurrency
                with anyio.fail_after(20):
                    while store.operations.count(DELETING) < connections:  # noqa: ASYNC110 - it has no event
                        await anyio.sleep(0.01)
                    page = await opened.listing.list_page("image/")
                group.cancel_scope.cancel()
    assert page.keys == ["image/a"]
