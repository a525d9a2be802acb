"""Server-side copies on real servers, and on one that misbehaves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import unquote_plus

import pytest

from reconciler.errors import Halt, KeyRefused, LoginRefused, StoreFull, StoreUnavailable
from reconciler.model import Blame, Copied, CopyRequest, CopyResult
from reconciler.stores.s3 import open_bucket
from reconciler.stores.s3.config import BucketConfig, CopySizes
from tests.servers import Bucket
from tests.support.buckets import CAPABILITIES, config_for, config_of
from tests.support.faulty_store import Answer, Request, error, faulty_store
from tests.support.quirky_store import BUCKET, Quirks, Stored, quirky_store
from tests.support.relay import relay

pytestmark = pytest.mark.anyio

MEBIBYTE = 1024 * 1024
SOURCE, TARGET = "media/a b+\u00e9\U0001f600", ".reconciler/quarantine/op/hash"
TOLD: dict[str, Any] = {
    "ContentType": "image/png",
    "CacheControl": "no-store",
    "Metadata": {"who": "me"},
    "Tagging": "team=media&note=a+b%2Fc",
}


async def copy(config: BucketConfig, *places: str, **conditions: Any) -> Copied:
    source, target = places or (SOURCE, TARGET)
    async with open_bucket(config) as opened:
        return await opened.copies.copy(CopyRequest(source, target, **conditions))


def put(bucket: Bucket, body: bytes, key: str = SOURCE, **told: Any) -> str:
    answer = bucket.client.put_object(Bucket=bucket.name, Key=key, Body=body, **told)
    return str(answer["ETag"]).strip('"')


def told(bucket: Bucket, key: str) -> dict[str, Any]:
    """What is known of an object besides its body."""
    head = bucket.client.head_object(Bucket=bucket.name, Key=key)
    tags = bucket.client.get_object_tagging(Bucket=bucket.name, Key=key)["TagSet"]
    found = {name: head.get(name) for name in ("ContentType", "CacheControl", "Metadata")}
    return {**found, "tags": sorted((tag["Key"], tag["Value"]) for tag in tags)}


def body(bucket: Bucket, key: str) -> bytes:
    answer = bucket.client.get_object(Bucket=bucket.name, Key=key)
    with answer["Body"] as stream:
        return bytes(stream.read())


async def test_content_type_metadata_and_tags_survive(bucket: Bucket) -> None:
    etag = put(bucket, b"hello", **TOLD)
    copied = await copy(config_of(bucket), etag=etag)
    assert (copied.result, copied.etag, copied.size) == (CopyResult.COPIED, etag, 5)
    assert body(bucket, TARGET) == b"hello"
    assert told(bucket, TARGET) == told(bucket, SOURCE)


async def test_a_large_object_is_copied_in_parts(bucket: Bucket) -> None:
    """With the limits lowered to the smallest parts that stores take."""
    content = bytes(range(256)) * (11 * MEBIBYTE // 256) + b"the end"
    etag = put(bucket, content, **TOLD)
    sizes = CopySizes(at_once=5 * MEBIBYTE, part=5 * MEBIBYTE)
    seen: list[str] = []
    config = replace(
        config_of(bucket), copy_sizes=sizes, on_request=lambda operation, *_: seen.append(operation)
    )
    copied = await copy(config, etag=etag)
    assert (copied.result, copied.size) == (CopyResult.COPIED, len(content))
    assert seen.count("UploadPartCopy") == 3
    assert body(bucket, TARGET) == content
    assert told(bucket, TARGET) == told(bucket, SOURCE)


@pytest.mark.attack(10)
@pytest.mark.parametrize("at_once", [100, 1])
async def test_another_object_than_the_one_asked_for_is_not_copied(bucket: Bucket, at_once: int) -> None:
    """Moto ignores the condition of a copy: the look before it counts as well."""
    etag = put(bucket, b"old")
    put(bucket, b"new")
    config = replace(config_of(bucket), copy_sizes=CopySizes(at_once=at_once))
    assert (await copy(config, etag=etag)).result is CopyResult.CHANGED
    assert bucket.keys() == {SOURCE}


async def copy_as_listed(
    bucket: Bucket, etag: str, size: int, sizes: CopySizes, *, only_new: bool = False
) -> tuple[Copied, list[str]]:
    """As the collector copies what a sweep has listed, by what the store can do; and the requests sent."""
    seen: list[str] = []
    config = replace(
        config_of(bucket), copy_sizes=sizes, on_request=lambda operation, *_: seen.append(operation)
    )
    async with open_bucket(config) as opened:
        copies = opened.copies.knowing(CAPABILITIES[bucket.server.kind])
        wanted = CopyRequest(SOURCE, TARGET, etag=etag, only_new=only_new, listed_size=size)
        return await copies.copy(wanted), seen


async def test_what_was_listed_is_copied_in_one_request_where_the_store_compares(bucket: Bucket) -> None:
    etag = put(bucket, b"hello", **TOLD)
    copied, sent = await copy_as_listed(bucket, etag, 5, CopySizes())
    assert (copied.result, copied.etag, copied.size) == (CopyResult.COPIED, etag, 5)
    compares = CAPABILITIES[bucket.server.kind].copy_conditional
    assert sent == (["CopyObject"] if compares else ["HeadObject", "CopyObject"])
    assert body(bucket, TARGET) == b"hello"
    assert told(bucket, TARGET) == told(bucket, SOURCE)


async def test_what_was_listed_is_put_in_a_free_place_in_one_request_where_the_store_compares(
    bucket: Bucket,
) -> None:
    etag = put(bucket, b"hello", **TOLD)
    copied, sent = await copy_as_listed(bucket, etag, 5, CopySizes(), only_new=True)
    assert (copied.result, copied.etag, copied.size) == (CopyResult.COPIED, etag, 5)
    can = CAPABILITIES[bucket.server.kind]
    compares = can.copy_conditional and can.copy_only_new
    assert sent == (["CopyObject"] if compares else ["HeadObject", "HeadObject", "CopyObject"])
    assert told(bucket, TARGET) == told(bucket, SOURCE)


async def test_what_was_listed_is_not_copied_over_another_object_and_is_told_from_a_changed_one(
    bucket: Bucket,
) -> None:
    etag = put(bucket, b"hello")
    put(bucket, b"another", TARGET)
    copied, _ = await copy_as_listed(bucket, etag, 5, CopySizes(), only_new=True)
    assert copied.result is CopyResult.OCCUPIED
    copied, _ = await copy_as_listed(bucket, "0" * 32, 5, CopySizes(), only_new=True)
    assert copied.result is CopyResult.CHANGED
    assert body(bucket, TARGET) == b"another"


@pytest.mark.attack(10)
async def test_another_object_than_the_listed_one_is_not_copied(bucket: Bucket) -> None:
    etag = put(bucket, b"old")
    put(bucket, b"new")
    copied, _ = await copy_as_listed(bucket, etag, 3, CopySizes())
    assert copied.result is CopyResult.CHANGED
    assert bucket.keys() == {SOURCE}


async def test_what_was_listed_and_is_gone_is_missing(bucket: Bucket) -> None:
    etag = put(bucket, b"old")
    bucket.client.delete_object(Bucket=bucket.name, Key=SOURCE)
    copied, _ = await copy_as_listed(bucket, etag, 3, CopySizes())
    assert copied.result is CopyResult.MISSING


async def test_a_large_object_is_looked_at_though_it_was_listed(bucket: Bucket) -> None:
    content = b"x" * (6 * MEBIBYTE)
    etag = put(bucket, content, **TOLD)
    sizes = CopySizes(at_once=5 * MEBIBYTE, part=5 * MEBIBYTE)
    copied, sent = await copy_as_listed(bucket, etag, len(content), sizes)
    assert (copied.result, copied.size) == (CopyResult.COPIED, len(content))
    assert sent[0] == "HeadObject"
    assert told(bucket, TARGET) == told(bucket, SOURCE)


async def test_an_object_put_together_from_parts_is_seen_in_full(bucket: Bucket) -> None:
    """Its copy has another ETag, so both are looked at afterwards."""
    client, name = bucket.client, bucket.name
    upload = client.create_multipart_upload(Bucket=name, Key=SOURCE)["UploadId"]
    parts = [
        {
            "PartNumber": number,
            "ETag": client.upload_part(
                Bucket=name, Key=SOURCE, UploadId=upload, PartNumber=number, Body=content
            )["ETag"],
        }
        for number, content in enumerate((b"a" * (5 * MEBIBYTE), b"the end"), 1)
    ]
    client.complete_multipart_upload(
        Bucket=name, Key=SOURCE, UploadId=upload, MultipartUpload={"Parts": parts}
    )
    listed = client.list_objects_v2(Bucket=name, Prefix="media/")["Contents"][0]
    copied, _ = await copy_as_listed(bucket, listed["ETag"].strip('"'), listed["Size"], CopySizes())
    assert (copied.result, copied.size) == (CopyResult.COPIED, 5 * MEBIBYTE + 7)
    assert len(body(bucket, TARGET)) == 5 * MEBIBYTE + 7


async def test_what_is_not_there_is_missing(bucket: Bucket) -> None:
    assert (await copy(config_of(bucket))).result is CopyResult.MISSING


@pytest.mark.attack(60)
async def test_a_copy_that_must_be_new_writes_over_nothing(bucket: Bucket) -> None:
    put(bucket, b"old", TARGET)
    put(bucket, b"new")
    assert (await copy(config_of(bucket), only_new=True)).result is CopyResult.OCCUPIED
    assert body(bucket, TARGET) == b"old"
    assert (await copy(config_of(bucket), SOURCE, "media/b", only_new=True)).result is CopyResult.COPIED


@pytest.mark.attack(60)
@pytest.mark.parametrize("ignored", [False, True])
async def test_what_is_put_while_parts_are_copied_is_not_written_over(
    moto_bucket: Bucket, ignored: bool
) -> None:
    """The parts take their time, and not every store knows the condition: the look comes last."""
    put(moto_bucket, b"old" * MEBIBYTE)

    def judge(request: Request) -> None:
        if ignored:
            request.headers.pop("if-none-match", None)

    def late(operation: str, *_: object) -> None:
        if operation == "UploadPartCopy":
            put(moto_bucket, b"newer", TARGET)

    config = replace(config_of(moto_bucket), copy_sizes=CopySizes(at_once=1), on_request=late)
    async with relay(moto_bucket.server.endpoint_url, judge) as address:
        copied = await copy(replace(config, endpoint_url=address), only_new=True)
    assert copied.result is CopyResult.OCCUPIED
    assert body(moto_bucket, TARGET) == b"newer"
    assert not moto_bucket.client.list_multipart_uploads(Bucket=moto_bucket.name).get("Uploads")


# --- a store that misbehaves ---------------------------------------------------------------------------

HEAD = Answer("")
COPIED = Answer('<CopyObjectResult><ETag>"x"</ETag></CopyObjectResult>')


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(error("NoSuchKey"), 404), CopyResult.MISSING),
        (Answer(error("PreconditionFailed"), 412), CopyResult.CHANGED),
    ],
    ids=["gone", "changed"],
)
async def test_answers_of_a_copy_are_told_apart(
    credentials: None, answer: Answer, expected: CopyResult
) -> None:
    """The HEAD that follows a 412 shows another object."""
    changed = Answer("", headers={"ETag": '"new"'})
    async with faulty_store(HEAD, answer, changed) as store:
        assert (await copy(config_for(store.endpoint_url))).result is expected


@pytest.mark.attack(72)
@pytest.mark.parametrize(
    ("code", "status", "error_of"),
    [
        ("QuotaExceeded", 403, StoreFull),
        ("XMinioStorageFull", 507, StoreFull),
        ("KMS.DisabledException", 400, StoreFull),
        ("AccessDenied", 403, Halt),
        ("InvalidAccessKeyId", 403, LoginRefused),
        ("NotImplemented", 501, StoreUnavailable),
        ("SlowDown", 503, StoreUnavailable),
    ],
)
async def test_a_copy_that_the_marker_is_refused_as_well_is_about_the_store_or_us(
    credentials: None, code: str, status: int, error_of: type[Exception]
) -> None:
    async with faulty_store(HEAD, Answer(error(code), status)) as store:
        with pytest.raises(error_of, match=code) as caught:
            await copy(config_for(store.endpoint_url))
    assert type(caught.value) is error_of


@pytest.mark.incident(23)
async def test_an_error_inside_a_200_is_no_copy(credentials: None) -> None:
    async with faulty_store(HEAD, Answer(error("InternalError"))) as store:
        with pytest.raises(StoreUnavailable, match="InternalError"):
            await copy(config_for(store.endpoint_url))


async def test_a_copy_that_is_not_there_has_failed(credentials: None) -> None:
    """The store says that it copied, with another ETag, and then has nothing."""
    async with faulty_store(HEAD, COPIED, Answer("", 404)) as store:
        assert (await copy(config_for(store.endpoint_url))).result is CopyResult.FAILED


async def test_wrong_credentials_halt_a_copy(credentials: None) -> None:
    async with faulty_store(HEAD, Answer(error("InvalidAccessKeyId"), 403)) as store:
        with pytest.raises(Halt, match="AWS_ACCESS_KEY_ID"):
            await copy(config_for(store.endpoint_url))


# --- stores that take the source of a part for another object -----------------------------------------

ODD = ["media/x%20y", "media/a%2Fb", "media/100%25.png", "media/a+b"]


@pytest.mark.attack(79)
@pytest.mark.parametrize("key", ODD)
async def test_no_part_is_copied_from_a_key_that_the_store_takes_for_another(
    credentials: None, key: str
) -> None:
    """Ceph 16 decodes the source of a part twice: another object's bytes, of the same size."""
    async with quirky_store(Quirks(decodes_part_sources_twice=True, ignores_etag_of_source=True)) as store:
        store.put(key, "media/plain")
        twin = unquote_plus(key)
        store.objects[twin] = Stored(b"?" * len(key), store.objects[key].modified)
        config = config_for(store.endpoint_url, name=BUCKET)
        async with open_bucket(replace(config, copy_sizes=CopySizes(at_once=3, part=4))) as opened:
            copies = opened.copies.knowing(await opened.prober.probe())
            for source in (key, "media/plain"):
                assert (await copies.copy(CopyRequest(source, "copy"))).result is CopyResult.COPIED
                assert store.objects["copy"].body == source.encode()
        assert store.operations.count("CopyObject") > 0
        sizes = CopySizes(at_once=3, most_at_once=4, part=4)
        async with open_bucket(replace(config, copy_sizes=sizes)) as opened:
            copies = opened.copies.knowing(await opened.prober.probe())
            with pytest.raises(KeyRefused) as refused:
                await copies.copy(CopyRequest(key, "too large"))
        assert refused.value.blame is Blame.OBJECT
        assert "too large" not in store.objects


@pytest.mark.attack(79)
async def test_a_source_that_changes_between_its_parts_is_no_copy(credentials: None) -> None:
    """Ceph 16 ignores the condition of each part, too."""
    async with quirky_store() as store:
        store.put("media/a")
        config = config_for(store.endpoint_url, name=BUCKET)
        sizes = CopySizes(at_once=3, part=4)

        def change(operation: str, _outcome: str, _seconds: float) -> None:
            if operation == "CompleteMultipartUpload":
                store.objects["media/a"] = Stored(b"another", store.objects["media/a"].modified)

        async with open_bucket(replace(config, copy_sizes=sizes, on_request=change)) as opened:
            assert (await opened.copies.copy(CopyRequest("media/a", "copy"))).result is CopyResult.FAILED


@pytest.mark.parametrize("of_class", ["STANDARD", "STANDARD_IA"])
async def test_a_look_tells_the_standard_class_from_others(bucket: Bucket, of_class: str) -> None:
    """Only what is known to be of the standard class is copied without another look."""
    put(bucket, b"hello", StorageClass=of_class)
    async with open_bucket(config_of(bucket)) as opened:
        stored = await opened.store(CAPABILITIES[bucket.server.kind]).head(SOURCE)
    assert stored is not None
    assert stored.plain is (of_class == "STANDARD")
