"""The requests that go without botocore's detours answer as botocore's own do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aioboto3
import pytest
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import ClientError

from reconciler.stores.s3.direct import DirectClient
from tests.servers import Bucket

pytestmark = pytest.mark.anyio

COPY = "video/copy"
KEYS = ("image/a", "image/a b+c%20d", "image/ä/€😀", "image/~x/'quoted'", "image/a=b&c?d#e", "image/*")


def stripped(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Without what differs from request to request."""
    return {name: value for name, value in answer.items() if name not in {"ResponseMetadata", "LastModified"}}


@pytest.fixture
def plain(bucket: Bucket) -> Any:
    """What opens botocore's own client of the bucket's server."""
    return aioboto3.Session().client("s3", endpoint_url=bucket.server.endpoint_url, region_name="us-east-1")


async def both(plain: Any, bucket: Bucket, method: str, **asked: Any) -> tuple[Any, Any]:
    """The answer or the error of each, botocore's first."""
    found: list[Any] = []
    async with plain as client:
        for each in (client, DirectClient(client, bucket.name)):
            try:
                found.append(stripped(await getattr(each, method)(Bucket=bucket.name, **asked)))
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                found.append((status, error.response["Error"]["Code"]))
    return found[0], found[1]


@pytest.mark.parametrize("key", KEYS)
async def test_a_head_is_answered_the_same(plain: Any, bucket: Bucket, key: str) -> None:
    bucket.client.put_object(
        Bucket=bucket.name,
        Key=key,
        Body=b"bytes",
        ContentType="image/png",
        CacheControl="max-age=60",
        Metadata={"owner": "ada", "x": "y"},
    )
    own, direct = await both(plain, bucket, "head_object", Key=key)
    assert direct == own
    assert direct["ContentLength"] == 5
    assert {"ContentType", "Metadata"} <= direct.keys()


@pytest.mark.parametrize("key", KEYS)
async def test_a_copy_is_the_same_object(plain: Any, bucket: Bucket, key: str) -> None:
    etag = bucket.put(key, b"bytes")
    source = {"Bucket": bucket.name, "Key": key}
    asked = {"CopySource": source, "CopySourceIfMatch": f'"{etag}"', "Key": COPY}
    own, direct = await both(plain, bucket, "copy_object", **asked)
    assert direct["CopyObjectResult"]["ETag"] == own["CopyObjectResult"]["ETag"]
    copied = bucket.client.get_object(Bucket=bucket.name, Key=COPY)
    assert copied["Body"].read() == b"bytes"


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("head_object", {"Key": "image/none"}),
        ("copy_object", {"Key": "image/b", "CopySource": "/nowhere-such-bucket/image/none"}),
    ],
)
async def test_what_is_refused_is_refused_the_same(
    plain: Any, bucket: Bucket, method: str, asked: dict[str, Any]
) -> None:
    own, direct = await both(plain, bucket, method, **asked)
    assert direct == own
    assert isinstance(direct, tuple), "it was not refused"


async def test_a_deletion_takes_that_key_and_no_other(plain: Any, bucket: Bucket) -> None:
    for key in KEYS:
        bucket.put(key)
    async with plain as client:
        await DirectClient(client, bucket.name).delete_object(Bucket=bucket.name, Key=KEYS[1])
    assert bucket.keys() == {*KEYS} - {KEYS[1]}


async def test_what_the_server_sends_elsewhere_is_left_to_botocore(
    plain: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("image/a")
    send, asked = AIOHTTPSession.send, 0

    async def redirected(session: AIOHTTPSession, request: Any) -> Any:
        nonlocal asked
        asked += 1
        answer = await send(session, request)
        if asked == 1:
            answer.status_code = 301
        return answer

    monkeypatch.setattr(AIOHTTPSession, "send", redirected)
    async with plain as client:
        found = await DirectClient(client, bucket.name).head_object(Bucket=bucket.name, Key="image/a")
    assert found["ContentLength"] == 1
    assert asked == 2
