"""HeadObject, DeleteObjects and DeleteObject on real servers, and on one that misbehaves."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from urllib.parse import unquote

import pytest

from reconciler.errors import Halt, StoreFull, StoreUnavailable
from reconciler.model import Capabilities, Deletion, ListingOrder, ObjectResult
from reconciler.stores.s3 import open_bucket
from tests.servers import Bucket
from tests.support.buckets import CAPABILITIES, config_for, config_of
from tests.support.faulty_store import Answer, delete_result, error, faulty_store

pytestmark = pytest.mark.anyio

DELETED, MISSING, CHANGED, FAILED = (
    ObjectResult.DELETED,
    ObjectResult.MISSING,
    ObjectResult.CHANGED,
    ObjectResult.FAILED,
)
PLAIN = Capabilities(order=ListingOrder.BYTES, conditional_batch_delete=False, conditional_delete=False)
BATCHED = replace(PLAIN, conditional_batch_delete=True)
SINGLE = replace(PLAIN, conditional_delete=True)

ODD_KEYS = (
    "media/with space.png",
    "media/ leading and trailing ",
    "media/plus+plus",
    "media/percent%41%",
    "media/a&b<c>'d\"e&amp;]]>",
    "media/\U0001f600/\uff5e",
    "media/question?mark#hash",
    "media/tab\tin it",
    "media/" + "/".join("x" * 200 for _ in range(5)) + "/" + "y" * 13,
)


def asked(*keys: str, etag: str | None = None) -> list[Deletion]:
    return [Deletion(key=key, etag=etag) for key in keys]


# --- real servers --------------------------------------------------------------------------------------


async def test_odd_keys_are_deleted_and_their_lookalikes_stay(bucket: Bucket) -> None:
    lookalikes = {"media/withspace.png", "media/plus plus", "media/percentA%", "media/leading and trailing"}
    for key in (*ODD_KEYS, *lookalikes):
        bucket.put(key)
    async with open_bucket(config_of(bucket)) as opened:
        results = await opened.store(CAPABILITIES[bucket.server.kind]).delete(asked(*ODD_KEYS))
    assert [(result.key, result.result) for result in results] == [(key, DELETED) for key in ODD_KEYS]
    assert bucket.keys() == lookalikes


async def test_keys_that_xml_cannot_carry_are_deleted_one_by_one(seaweed_bucket: Bucket) -> None:
    """SeaweedFS reports such a key of a batch as deleted, and leaves it."""
    keys = ("media/bell\x07", "media/return\rnewline\n", "media/escape\x1b[0m")
    for key in keys:
        seaweed_bucket.put(key)
    async with open_bucket(config_of(seaweed_bucket)) as opened:
        results = await opened.store(CAPABILITIES["seaweedfs"]).delete(asked(*keys))
    assert [result.result for result in results] == [DELETED] * 3
    assert seaweed_bucket.keys() == set()


async def test_a_newline_goes_in_a_batch(seaweed_bucket: Bucket) -> None:
    seaweed_bucket.put("media/new\nline")
    async with open_bucket(config_of(seaweed_bucket)) as opened:
        results = await opened.store(CAPABILITIES["seaweedfs"]).delete(asked("media/new\nline"))
    assert [result.result for result in results] == [DELETED]
    assert seaweed_bucket.keys() == set()


@pytest.mark.incident(37)
async def test_a_key_that_is_gone_already_counts_as_gone(bucket: Bucket) -> None:
    """I-37."""
    async with open_bucket(config_of(bucket)) as opened:
        results = await opened.store(CAPABILITIES[bucket.server.kind]).delete(asked("media/never-there"))
    assert results[0].result in {DELETED, MISSING}


@pytest.mark.incident(10)
async def test_only_the_object_that_was_marked_is_deleted(bucket: Bucket) -> None:
    """I-10: the second key was uploaded again in between."""
    marked = {key: bucket.put(key, b"old") for key in ("media/same", "media/again")}
    bucket.put("media/again", b"new")
    async with open_bucket(config_of(bucket)) as opened:
        results = await opened.store(CAPABILITIES[bucket.server.kind]).delete(
            [Deletion(key=key, etag=etag) for key, etag in marked.items()]
        )
    assert [result.result for result in results] == [DELETED, CHANGED]
    assert bucket.keys() == {"media/again"}


async def test_a_repeated_conditional_delete_finds_the_key_missing(bucket: Bucket) -> None:
    """What a crash between delete and confirmation leads to; the store may answer 412."""
    etag = bucket.put("media/a")
    async with open_bucket(config_of(bucket)) as opened:
        store = opened.store(CAPABILITIES[bucket.server.kind])
        first = await store.delete(asked("media/a", etag=etag))
        second = await store.delete(asked("media/a", etag=etag))
    assert first[0].result is DELETED
    assert second[0].result in {DELETED, MISSING}


async def test_single_deletes_compare_etags_on_every_store(bucket: Bucket) -> None:
    etag = bucket.put("media/a")
    bucket.put("media/b", b"other")
    async with open_bucket(config_of(bucket)) as opened:
        results = await opened.store(SINGLE).delete(asked("media/a", "media/b", etag=etag))
    assert [result.result for result in results] == [DELETED, CHANGED]
    assert bucket.keys() == {"media/b"}


@pytest.mark.incident(21)
async def test_a_thousand_keys_go_in_one_call(seaweed_bucket: Bucket) -> None:
    seen: list[str] = []

    def note(operation: str, _outcome: str, _seconds: float) -> None:
        seen.append(operation)

    keys = [f"media/{number:04}" for number in range(1000)]
    for key in keys[::50]:
        seaweed_bucket.put(key)
    async with open_bucket(replace(config_of(seaweed_bucket), on_request=note)) as opened:
        results = await opened.store(CAPABILITIES["seaweedfs"]).delete(asked(*keys))
    assert [result.key for result in results] == keys
    assert seaweed_bucket.keys() == set()
    assert seen == ["DeleteObjects"]


@pytest.mark.incident(23)
async def test_a_key_that_may_not_be_deleted_fails_alone(moto_bucket: Bucket) -> None:
    """I-23: the store answers 200, and says no inside."""
    for key in ("media/free", "locked/a"):
        moto_bucket.put(key)
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:DeleteObject",
                "Resource": f"arn:aws:s3:::{moto_bucket.name}/locked/*",
            }
        ],
    }
    moto_bucket.client.put_bucket_policy(Bucket=moto_bucket.name, Policy=json.dumps(policy))
    async with open_bucket(config_of(moto_bucket)) as opened:
        results = await opened.store(PLAIN).delete(asked("locked/a", "media/free"))
    assert [result.result for result in results] == [FAILED, DELETED]
    assert "AccessDenied" in results[0].detail
    assert moto_bucket.keys() == {"locked/a"}


async def test_head_tells_an_object_from_none(bucket: Bucket) -> None:
    etag = bucket.put("media/a b+c", b"12345")
    async with open_bucket(config_of(bucket)) as opened:
        store = opened.store(PLAIN)
        found = await store.head("media/a b+c")
        assert await store.head("media/a") is None
    assert found is not None
    assert (found.key, found.size, found.etag) == ("media/a b+c", 5, etag)
    assert found.last_modified is not None
    assert found.last_modified.tzinfo is not None


async def test_a_missing_bucket_halts(bucket: Bucket) -> None:
    async with open_bucket(config_of(bucket, name="no-such-bucket")) as opened:
        with pytest.raises(Halt, match="RECONCILER_BUCKET__NAME"):
            await opened.store(PLAIN).delete(asked("media/a"))


# --- what may not be asked -----------------------------------------------------------------------------


async def test_a_key_named_twice_is_refused(credentials: None) -> None:
    async with faulty_store(Answer("")) as store, open_bucket(config_for(store.endpoint_url)) as opened:
        with pytest.raises(ValueError, match="twice"):
            await opened.store(PLAIN).delete(asked("a", "b", "a"))
    assert store.requests == []


@pytest.mark.incident(24)
async def test_an_etag_that_the_store_would_ignore_is_refused(credentials: None) -> None:
    """I-24: it would delete whatever is there."""
    async with faulty_store(Answer("")) as store, open_bucket(config_for(store.endpoint_url)) as opened:
        with pytest.raises(ValueError, match="HEAD first"):
            await opened.store(PLAIN).delete(asked("a", etag="0123"))
    assert store.requests == []


async def test_an_etag_that_no_call_can_carry_fails_and_sends_nothing(credentials: None) -> None:
    async with faulty_store(Answer("")) as store, open_bucket(config_for(store.endpoint_url)) as opened:
        results = await opened.store(BATCHED).delete(asked("bell\x07", etag="0123"))
    assert [result.result for result in results] == [FAILED]
    assert store.requests == []


async def test_an_empty_batch_asks_nothing(credentials: None) -> None:
    async with faulty_store(Answer("")) as store, open_bucket(config_for(store.endpoint_url)) as opened:
        assert list(await opened.store(PLAIN).delete([])) == []
    assert store.requests == []


# --- stores that misbehave -----------------------------------------------------------------------------


@pytest.mark.incident(23)
async def test_a_key_that_the_answer_leaves_out_has_failed(credentials: None) -> None:
    """I-23."""
    async with (
        faulty_store(Answer(delete_result(["a"]))) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        results = await opened.store(PLAIN).delete(asked("a", "b"))
    assert [result.result for result in results] == [DELETED, FAILED]
    assert "does not mention" in results[1].detail


async def test_a_key_both_deleted_and_refused_has_failed(credentials: None) -> None:
    async with (
        faulty_store(Answer(delete_result(["a"], a="AccessDenied"))) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        results = await opened.store(PLAIN).delete(asked("a"))
    assert [result.result for result in results] == [FAILED]


async def test_codes_of_single_keys_are_told_apart(credentials: None) -> None:
    answer = delete_result(["a"], b="NoSuchKey", c="PreconditionFailed", d="AccessDenied")
    async with (
        faulty_store(Answer(answer), Answer("")) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        results = await opened.store(BATCHED).delete(asked("a", "b", "c", "d", etag="0123"))
    assert [result.result for result in results] == [DELETED, MISSING, CHANGED, FAILED]


@pytest.mark.incident(37)
async def test_a_412_for_an_object_that_is_gone_is_missing(credentials: None) -> None:
    """I-37: the HEAD behind the 412 says 404."""
    async with (
        faulty_store(Answer(delete_result(a="PreconditionFailed")), Answer("", 404)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        results = await opened.store(BATCHED).delete(asked("a", etag="0123"))
    assert [result.result for result in results] == [MISSING]
    assert [request.method for request in store.requests] == ["POST", "HEAD"]


async def test_only_the_keys_with_transient_codes_go_again(credentials: None) -> None:
    async with (
        faulty_store(
            Answer(delete_result(["a"], b="SlowDown", c="InternalError", d="AccessDenied")),
            Answer(delete_result(["b"], c="InternalError")),
            Answer(delete_result(["c"])),
        ) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        results = await opened.store(PLAIN).delete(asked("a", "b", "c", "d"))
    assert [result.result for result in results] == [DELETED, DELETED, DELETED, FAILED]
    again = [request.body.count(b"<Key>") for request in store.requests]
    assert again == [4, 2, 1]


async def test_a_key_that_stays_busy_fails_in_the_end(credentials: None) -> None:
    async with (
        faulty_store(Answer(delete_result(a="SlowDown"))) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        results = await opened.store(PLAIN).delete(asked("a"))
    assert [result.result for result in results] == [FAILED]
    assert "SlowDown" in results[0].detail
    assert len(store.requests) == 5


async def test_what_an_earlier_round_said_outlives_the_store(credentials: None) -> None:
    async with (
        faulty_store(
            Answer(delete_result(["a"], b="SlowDown")), Answer(error("InternalError"), 500)
        ) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        results = await opened.store(PLAIN).delete(asked("a", "b"))
    assert [result.result for result in results] == [DELETED, FAILED]


@pytest.mark.parametrize(
    "fault",
    [
        Answer(error("SlowDown"), 503),
        Answer(error("InternalError")),
        Answer(delete_result(["a"])[:-20]),
        Answer("<html></html>"),
        Answer(delete_result(["a"]), missing=3),
    ],
    ids=["503", "error in a 200", "cut off", "html", "connection lost"],
)
async def test_an_answer_that_says_nothing_is_asked_for_again(credentials: None, fault: Answer) -> None:
    async with (
        faulty_store(fault, Answer(delete_result(["a"]))) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        results = await opened.store(PLAIN).delete(asked("a"))
    assert [result.result for result in results] == [DELETED]
    assert len(store.requests) == 2


@pytest.mark.parametrize("key", ["a", "bell\x07"], ids=["batch", "single"])
async def test_where_nothing_is_known_of_any_key_the_store_is_unavailable(
    credentials: None, key: str
) -> None:
    async with (
        faulty_store(Answer(error("SlowDown"), 503)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        with pytest.raises(StoreUnavailable, match="SlowDown"):
            await opened.store(PLAIN).delete(asked(key))


@pytest.mark.parametrize(
    ("code", "status", "error_of"),
    [
        ("MalformedXML", 400, StoreUnavailable),
        ("AccessDenied", 403, Halt),
        ("QuotaExceeded", 403, StoreFull),
    ],
)
@pytest.mark.parametrize("keys", [("a", "b"), ("bell\x07",)], ids=["batch", "single"])
async def test_what_is_refused_of_scratch_keys_too_is_about_the_store_or_us(
    credentials: None, code: str, status: int, error_of: type[Exception], keys: tuple[str, ...]
) -> None:
    async with (
        faulty_store(Answer(error(code), status)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        with pytest.raises(error_of, match=code):
            await opened.store(PLAIN).delete(asked(*keys))


@pytest.mark.parametrize(("status", "expected"), [(204, DELETED), (404, MISSING)])
async def test_answers_to_a_single_delete_are_told_apart(
    credentials: None, status: int, expected: ObjectResult
) -> None:
    async with (
        faulty_store(Answer("", status)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        results = await opened.store(SINGLE).delete(asked("a", etag="0123"))
    assert [result.result for result in results] == [expected]
    assert store.requests[0].headers["if-match"] == '"0123"'


async def test_wrong_credentials_halt(credentials: None) -> None:
    async with (
        faulty_store(Answer(error("InvalidAccessKeyId"), 403)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        with pytest.raises(Halt, match="AWS_ACCESS_KEY_ID"):
            await opened.store(SINGLE).delete(asked("a", etag="0123"))
        with pytest.raises(Halt, match="AWS_ACCESS_KEY_ID"):
            await opened.store(PLAIN).delete(asked("a"))


async def test_batches_carry_an_md5_and_no_crc(credentials: None) -> None:
    """I-22: older stores answer MissingContentMD5 to a CRC32."""
    async with (
        faulty_store(Answer(delete_result(["a"]))) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        await opened.store(PLAIN).delete(asked("a"))
    headers = store.requests[0].headers
    assert "content-md5" in headers
    assert not [name for name in headers if "checksum" in name]
    assert b"<Quiet>false</Quiet>" in store.requests[0].body


@pytest.mark.parametrize("key", ["a/../b", "./a", "a/./b", "a//b", "/a", "..", "a/..", "%2e%2e/a"])
async def test_paths_are_sent_as_they_are(credentials: None, key: str) -> None:
    """A client that tidies `..` away would look at, and delete, another object."""
    async with (
        faulty_store(Answer("", 404)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        opened_store = opened.store(SINGLE)
        await opened_store.head(key)
        await opened_store.delete(asked(key, etag="0123"))
    assert [unquote(request.target) for request in store.requests] == [f"/bucket/{key}"] * 2


async def test_a_leading_slash_never_goes_in_a_batch(credentials: None) -> None:
    """MinIO strips it there: `/a` would delete `a`."""
    async with (
        faulty_store(Answer("", 204)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        await opened.store(PLAIN).delete(asked("/a"))
    assert [(request.method, request.target) for request in store.requests] == [("DELETE", "/bucket//a")]


async def test_a_look_behind_a_412_that_fails_leaves_the_key_failed(credentials: None) -> None:
    async with (
        faulty_store(Answer(delete_result(a="PreconditionFailed")), Answer("", 403)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        results = await opened.store(BATCHED).delete(asked("a", etag="0123"))
    assert [result.result for result in results] == [FAILED]
    assert "403" in results[0].detail


async def test_single_deletes_that_the_time_does_not_suffice_for_are_not_sent(credentials: None) -> None:
    """However long a batch is, none of its deletions is sent late."""
    async with faulty_store(Answer(silent=True)) as store:
        config = config_for(store.endpoint_url, timeout=timedelta(seconds=0.2))
        async with open_bucket(config) as opened:
            keys = [f"bell\x07{number}" for number in range(12)]
            results = await opened.store(replace(PLAIN)).delete([Deletion(key="/first"), *asked(*keys)])
    assert {result.result for result in results} == {FAILED}
    assert len(store.requests) < 12
    assert "used up its time" in results[-1].detail


async def test_a_batch_with_a_known_key_survives_silence_about_the_others(credentials: None) -> None:
    async with (
        faulty_store(Answer(delete_result(["a"])), Answer("", 503)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        results = await opened.store(PLAIN).delete(asked("bell\x07", "a"))
    assert [result.result for result in results] == [FAILED, DELETED]


async def test_a_call_is_not_repeated_once_it_may_not_be(credentials: None) -> None:
    """A pause seen between two attempts: what was asked before stays unknown, and is repeated later."""
    asked_for: list[bool] = []

    def may_delete() -> None:
        asked_for.append(True)
        if len(asked_for) > 1:
            raise StoreUnavailable("paused")

    async with faulty_store(Answer(error("SlowDown"), status=503)) as store:
        config = replace(config_for(store.endpoint_url), may_delete=may_delete)
        async with open_bucket(config) as opened:
            for known, etag in ((PLAIN, None), (SINGLE, "0" * 32)):
                asked_for.clear()
                store.requests.clear()
                with pytest.raises(StoreUnavailable, match="paused"):
                    await opened.store(known).delete(asked("a", etag=etag))
                assert len(store.requests) == 1
