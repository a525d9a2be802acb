"""The object that says whose bucket this is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from reconciler.errors import Halt, StoreUnavailable
from reconciler.model import Identity, Seal
from reconciler.stores.s3 import open_bucket
from tests.servers import Bucket
from tests.support.buckets import config_for, config_of
from tests.support.faulty_store import Answer, error, faulty_store

pytestmark = pytest.mark.anyio

OURS = Identity(
    site_id=UUID(int=1),
    bucket="media",
    prefixes=("media/", "bilder-\u00fc/"),
    created_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
)
THEIRS = replace(OURS, site_id=UUID(int=2))


async def test_an_unmarked_bucket_is_marked_and_read_back(bucket: Bucket) -> None:
    async with open_bucket(config_of(bucket)) as opened:
        assert await opened.identity.read() is None
        assert not await opened.identity.exists()
        await opened.identity.write(OURS)
        assert await opened.identity.read() == OURS
        assert await opened.identity.exists()
    assert bucket.keys() == {".reconciler/identity.json"}


async def test_our_own_marker_is_left_as_it_is_with_its_seal(bucket: Bucket) -> None:
    """Who was stopped at the first contact, and wakes when another replica has gone on."""
    sealed = replace(OURS, seal=Seal(epoch=2, nonce=UUID(int=3)))
    async with open_bucket(config_of(bucket)) as opened:
        await opened.identity.write(sealed)
        await opened.identity.write(OURS)
        assert await opened.identity.read() == sealed


async def test_a_marker_of_before_versions_were_suspended_is_exchanged(seaweed_bucket: Bucket) -> None:
    """SeaweedFS refuses the right ETag of such an object. What another write replaced stays refused."""
    sealed = [replace(OURS, seal=Seal(epoch=number, nonce=UUID(int=number))) for number in (1, 2, 3)]
    keep_versions(seaweed_bucket, "Enabled")
    async with open_bucket(config_of(seaweed_bucket)) as opened:
        await opened.identity.write(OURS)
        keep_versions(seaweed_bucket, "Suspended")
        for identity in sealed[:2]:
            seen = await opened.identity.read()
            assert seen is not None
            assert await opened.identity.exchange(identity, seen)
            assert await opened.identity.read() == identity
        assert not await opened.identity.exchange(sealed[2], replace(sealed[0], etag="0" * 32))
        assert await opened.identity.read() == sealed[1]


def keep_versions(bucket: Bucket, status: str) -> None:
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": status})


async def test_a_foreign_marker_is_left_as_it_is(bucket: Bucket) -> None:
    """I-5: two sites at first contact at once must not both believe that the bucket is theirs."""
    async with open_bucket(config_of(bucket)) as opened:
        await opened.identity.write(THEIRS)
        await opened.identity.write(OURS)
        assert await opened.identity.read() == THEIRS


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"[]", b'{"format": 2}', b'{"format": 1}', b'{"format": 1, "site_id": 7}']
)
async def test_what_is_no_marker_halts(bucket: Bucket, body: bytes) -> None:
    bucket.put(".reconciler/identity.json", body)
    async with open_bucket(config_of(bucket)) as opened:
        with pytest.raises(Halt, match=r"identity\.json"):
            await opened.identity.read()


async def test_a_missing_bucket_is_not_an_unmarked_one(bucket: Bucket) -> None:
    async with open_bucket(config_of(bucket, name="no-such-bucket")) as opened:
        with pytest.raises(Halt, match="RECONCILER_BUCKET__NAME"):
            await opened.identity.read()
        with pytest.raises(Halt, match="RECONCILER_BUCKET__NAME"):
            await opened.identity.write(OURS)


async def test_denied_is_not_missing(credentials: None) -> None:
    async with (
        faulty_store(Answer(error("AccessDenied"), 403)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        with pytest.raises(Halt, match="s3:GetObject"):
            await opened.identity.read()
        with pytest.raises(Halt, match="s3:GetObject"):
            await opened.identity.write(OURS)
        with pytest.raises(Halt, match="s3:PutObject"):
            await opened.identity.exchange(OURS, OURS)
        with pytest.raises(Halt, match="s3:GetObject"):
            await opened.identity.exists()


async def test_a_store_that_is_away_is_not_an_unmarked_bucket(credentials: None) -> None:
    """I-30."""
    async with (
        faulty_store(Answer(error("InternalError"), 500)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        with pytest.raises(StoreUnavailable):
            await opened.identity.read()
        with pytest.raises(StoreUnavailable):
            await opened.identity.exists()


async def test_a_store_without_conditional_writes_is_written_without(credentials: None) -> None:
    async with (
        faulty_store(
            Answer(error("NoSuchKey"), 404),
            Answer(error("NotImplemented"), 501),
            Answer(error("NoSuchKey"), 404),
            Answer(""),
        ) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        await opened.identity.write(OURS)
    asked = [(request.method, "if-none-match" in request.headers) for request in store.requests]
    assert asked == [("HEAD", False), ("PUT", True), ("GET", False), ("PUT", False)]
