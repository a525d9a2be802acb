"""The requests that go without botocore's detours answer as botocore's own do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aioboto3
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import ClientError, ConnectionClosedError, ParamValidationError

from reconciler.stores.s3.direct import _QUERY, DirectClient
from tests.servers import Bucket

pytestmark = pytest.mark.anyio

COPY = "video/copy"
KEYS = ("image/a", "image/a b+c%20d", "image/ä/€😀", "image/~x/'quoted'", "image/a=b&c?d#e", "image/*")


def stripped(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Without what differs from request to request."""
    return {name: value for name, value in answer.items() if name not in {"ResponseMetadata", "LastModified"}}


def listed(answer: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """An empty page has no entries at all."""
    return [(each["Key"], each["Size"], each["ETag"]) for each in answer.get("Contents", ())]


@pytest.fixture
def plain(bucket: Bucket) -> Any:
    """What opens botocore's own client of the bucket's server."""
    return aioboto3.Session().client("s3", endpoint_url=bucket.server.endpoint_url, region_name="us-east-1")


async def both(plain: Any, bucket: Bucket, method: str, **asked: Any) -> tuple[Any, Any]:
    """The answer or the error of each, botocore's first."""
    found: list[Any] = []
    async with plain as client:
        for each in (client, DirectClient(client)):
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


@pytest.mark.parametrize(
    "asked",
    [
        {"Prefix": "image/", "MaxKeys": 1000, "EncodingType": "url"},
        {"Prefix": "", "MaxKeys": 2},
        {"Prefix": "image/ä/", "MaxKeys": 1000},
        {"Prefix": "image/a b+c%20", "MaxKeys": 1000},
        {"Prefix": "image/", "MaxKeys": 1000, "StartAfter": KEYS[1]},
        {"Prefix": "image/", "MaxKeys": 1000, "StartAfter": KEYS[2]},
    ],
)
async def test_a_page_of_the_listing_is_the_same(plain: Any, bucket: Bucket, asked: dict[str, Any]) -> None:
    for key in KEYS:
        bucket.put(key)
    async with plain as client:
        clients, place = (client, DirectClient(client)), dict[str, str]()
        more = True
        while more:
            own, direct = [
                await each.list_objects_v2(Bucket=bucket.name, **asked, **place) for each in clients
            ]
            assert listed(direct) == listed(own)
            assert direct["IsTruncated"] is own["IsTruncated"]
            if more := own["IsTruncated"]:
                place = {"ContinuationToken": own["NextContinuationToken"]}


@pytest.mark.parametrize("token", [None, "a session's"])
@pytest.mark.parametrize(
    ("endpoint", "bucket", "style"),
    [
        ("http://store:9000", "media", "path"),
        ("http://store:9000", "media", "virtual"),
        ("https://gateway.example/s3/", "media", "path"),
        (None, "media", "virtual"),
        (None, "media", "path"),
        (None, "with.dots", None),
        (None, "arn:aws:s3:eu-central-1:123456789012:accesspoint/media", None),
    ],
)
async def test_a_page_is_asked_for_where_botocore_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, endpoint: str | None, bucket: str, style: str | None, token: str | None
) -> None:
    """At the same address, for the same region, with the same headers signed."""
    sent: list[Any] = []

    async def remember(_session: AIOHTTPSession, request: Any) -> Any:
        sent.append(request)
        raise ConnectionClosedError(endpoint_url=request.url)

    monkeypatch.setattr(AIOHTTPSession, "send", remember)
    session = aioboto3.Session(
        aws_access_key_id="a", aws_secret_access_key="b", aws_session_token=token, region_name="eu-central-1"
    )
    own = AioConfig(s3={"addressing_style": style} if style else None, retries={"total_max_attempts": 1})
    async with session.client("s3", endpoint_url=endpoint, config=own) as client:
        for each in (client, DirectClient(client)):
            with pytest.raises(ConnectionClosedError):
                await each.list_objects_v2(Bucket=bucket, Prefix="image/ä b", MaxKeys=7, EncodingType="url")
    shown = []
    for request in sent:
        url = urlsplit(request.url)
        scope, signed, _ = header(request, "Authorization").split(", ")
        asked = (url.scheme, url.netloc, url.path, sorted(parse_qsl(url.query)))
        shown.append((request.method, asked, scope, signed))
    assert shown[0] == shown[1]
    assert token is None or header(sent[1], "x-amz-security-token") == token


async def test_a_login_that_has_expired_is_fetched_again(plain: Any, bucket: Bucket) -> None:
    bucket.put("image/a")
    fetched = 0

    async def fetch() -> dict[str, str]:
        nonlocal fetched
        fetched += 1
        ends = datetime.now(UTC) + timedelta(hours=1)
        keys = {"access_key": bucket.server.access_key, "secret_key": bucket.server.secret_key}
        return {**keys, "token": "", "expiry_time": ends.isoformat()}

    async with plain as client:
        client._request_signer._credentials = AioRefreshableCredentials(
            "old", "old", "", datetime.now(UTC) - timedelta(minutes=1), fetch, "test"
        )
        direct = DirectClient(client)
        for _ in range(2):
            assert listed(await direct.list_objects_v2(Bucket=bucket.name, Prefix=""))
    assert fetched == 1


async def test_a_name_that_is_none_of_a_bucket_is_not_sent(plain: Any, bucket: Bucket) -> None:
    bucket.put("image/a")
    async with plain as client:
        direct = DirectClient(client)
        with pytest.raises(ParamValidationError):
            await direct.list_objects_v2(Bucket=f"{bucket.name}/image", Prefix="")


@pytest.mark.parametrize(("status", "code"), [(400, "InvalidArgument"), (400, "ExpiredToken")])
async def test_only_another_region_is_asked_for_twice(
    plain: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    sent = answered_with(monkeypatch, status, f"<Error><Code>{code}</Code></Error>".encode())
    async with plain as client:
        with pytest.raises(ClientError, match=code):
            await DirectClient(client).list_objects_v2(Bucket=bucket.name, Prefix="")
    assert len(sent) == 1


async def test_the_region_that_an_answer_names_is_followed(
    plain: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("image/a")
    body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region></Error>"
    sent = answered_with(monkeypatch, 400, body, times=2)
    async with plain as client:
        direct = DirectClient(client)
        for _ in range(2):
            found = await direct.list_objects_v2(Bucket=bucket.name, Prefix="")
            assert [entry["Key"] for entry in found["Contents"]] == ["image/a"]
    regions = [header(request, "Authorization").split("/")[2] for request in sent]
    assert regions == ["us-east-1", "us-east-1", "eu-central-1", "eu-central-1"]


def header(request: Any, name: str) -> str:
    """Botocore has some of them as bytes."""
    value: str | bytes = request.headers[name]
    return value if isinstance(value, str) else value.decode()


def answered_with(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, times: int = 99) -> list[Any]:
    """Answers the first requests with this instead of the server's answer. Returns the requests sent."""
    send, sent = AIOHTTPSession.send, list[Any]()

    async def answered(session: AIOHTTPSession, request: Any) -> Any:
        sent.append(request)
        answer = await send(session, request)
        if len(sent) <= times:
            answer.status_code, answer._content = status, body
        return answer

    monkeypatch.setattr(AIOHTTPSession, "send", answered)
    return sent


def test_the_parameters_of_a_query_are_in_the_order_in_which_they_are_signed() -> None:
    assert list(_QUERY.values()) == sorted(_QUERY.values())


async def test_a_deletion_takes_that_key_and_no_other(plain: Any, bucket: Bucket) -> None:
    for key in KEYS:
        bucket.put(key)
    async with plain as client:
        await DirectClient(client).delete_object(Bucket=bucket.name, Key=KEYS[1])
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
        found = await DirectClient(client).head_object(Bucket=bucket.name, Key="image/a")
    assert found["ContentLength"] == 1
    assert asked == 2
