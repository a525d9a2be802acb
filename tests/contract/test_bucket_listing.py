"""ListObjectsV2 on real servers, and on one that misbehaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.embedded.client import free_ports
from reconciler.errors import ConfigError, Halt, ListingBroken, StoreUnavailable
from reconciler.model import ObjectPage
from reconciler.stores.s3 import BucketConfig, open_bucket
from reconciler.stores.s3.client import Bucket as OpenedBucket
from tests.servers import Bucket
from tests.support.buckets import CAPABILITIES, config_for, config_of
from tests.support.faulty_store import Answer, error, faulty_store, page

pytestmark = pytest.mark.anyio

ODD_KEYS = {
    "media/with space.png",
    "media/ leading and trailing ",
    "media/plus+plus",
    "media/percent%41%",
    "media/a&b<c>'d\"e&amp;",
    "media/\U0001f600/\uff5e",
    "media/e\u0301",  # decomposed, and it stays so
    "media/question?mark#hash",
    "media/" + "/".join("x" * 200 for _ in range(5)) + "/" + "y" * 13,  # 1,024 bytes
}
NOT_STORED = {
    # Answers 404 to the PUT of a newline.
    "moto": {"media/new\nline"},
    # Turns a backslash into a slash, and two slashes into one.
    "seaweedfs": {"media/back\\slash", "media/two//slashes"},
    "juicefs": {"media/two//slashes"},
    "juicefs without etags": {"media/two//slashes"},
}
STORED_BY_SOME = {"media/new\nline", "media/back\\slash", "media/two//slashes"}


async def every_key(bucket: OpenedBucket, prefix: str, page_size: int = 1000) -> list[str]:
    keys: list[str] = []
    token = None
    while True:
        listed = await bucket.listing.list_page(prefix, token=token, page_size=page_size)
        keys += listed.keys
        token = listed.next_token
        if token is None:
            return keys


# --- real servers --------------------------------------------------------------------------------------


async def test_odd_keys_come_back_as_they_were_stored(bucket: Bucket) -> None:
    keys = ODD_KEYS | (STORED_BY_SOME - NOT_STORED.get(bucket.server.kind, set()))
    assert max(len(key.encode()) for key in keys) == 1024
    for key in keys:
        bucket.put(key)
    async with open_bucket(config_of(bucket)) as opened:
        listed = await every_key(opened, "media/")
    assert set(listed) == keys
    assert len(listed) == len(keys)


async def test_keys_that_seaweedfs_stores_under_another_name_are_listed_under_that(
    seaweed_bucket: Bucket,
) -> None:
    seaweed_bucket.put("media/back\\slash")
    seaweed_bucket.put("media/two//slashes")
    async with open_bucket(config_of(seaweed_bucket)) as opened:
        assert set(await every_key(opened, "media/")) == {"media/back/slash", "media/two/slashes"}


async def test_columns_hold_size_etag_without_quotes_and_a_readable_time(bucket: Bucket) -> None:
    etag = bucket.put("media/a", b"12345")
    async with open_bucket(config_of(bucket)) as opened:
        listed = await opened.listing.list_page("media/")
        head = await opened.store(CAPABILITIES[bucket.server.kind]).head("media/a")
    found = listed.object_at(0)
    assert (found.key, found.size, found.etag) == ("media/a", 5, etag)
    assert found.last_modified is not None
    assert abs(datetime.now(UTC) - found.last_modified) < timedelta(minutes=5)
    assert head == replace(found, last_modified=head.last_modified if head else None)


@pytest.mark.incident(6)
async def test_siblings_of_the_prefix_are_not_listed(bucket: Bucket) -> None:
    """I-6."""
    bucket.put("image/a")
    bucket.put("images/b")
    async with open_bucket(config_of(bucket)) as opened:
        assert await every_key(opened, "image/") == ["image/a"]


async def test_pages_by_token_miss_nothing_and_repeat_nothing(bucket: Bucket) -> None:
    keys = {f"media/{number:03}/x" for number in range(25)}
    for key in keys:
        bucket.put(key)
    async with open_bucket(config_of(bucket)) as opened:
        listed = await every_key(opened, "media/", page_size=4)
    assert sorted(listed) == sorted(keys)


async def test_start_after_begins_behind_a_key(bucket: Bucket) -> None:
    for name in "abc":
        bucket.put(f"media/{name} {name}")
    async with open_bucket(config_of(bucket)) as opened:
        listed = await opened.listing.list_page("media/", start_after="media/a a")
    assert listed.keys == ["media/b b", "media/c c"]


async def test_an_empty_prefix_is_an_empty_last_page(bucket: Bucket) -> None:
    async with open_bucket(config_of(bucket)) as opened:
        assert await opened.listing.list_page("media/") == ObjectPage([], [], [], [], None)


@pytest.mark.incident(30)
async def test_a_missing_bucket_halts_and_says_what_to_check(bucket: Bucket) -> None:
    """I-30: it is not an empty one."""
    async with open_bucket(config_of(bucket, name="no-such-bucket")) as opened:
        with pytest.raises(Halt, match=r"'no-such-bucket' at http.*RECONCILER_BUCKET__NAME"):
            await opened.listing.list_page("media/")


@pytest.mark.parametrize(
    ("name", "code"), [("ID", "InvalidAccessKeyId"), ("SECRET", "SignatureDoesNotMatch")]
)
async def test_wrong_credentials_halt_and_name_the_variables(
    seaweed_bucket: Bucket, monkeypatch: pytest.MonkeyPatch, name: str, code: str
) -> None:
    variable = {"ID": "AWS_ACCESS_KEY_ID", "SECRET": "AWS_SECRET_ACCESS_KEY"}[name]
    monkeypatch.setenv(variable, "wrong")
    async with open_bucket(config_of(seaweed_bucket)) as opened:
        with pytest.raises(Halt, match=f"{code}.*AWS_ACCESS_KEY_ID"):
            await opened.listing.list_page("media/")


async def test_no_credentials_at_all_is_a_fault_of_the_configuration(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with open_bucket(config_of(bucket)) as opened:
        with pytest.raises(ConfigError, match="set AWS_ACCESS_KEY_ID"):
            await opened.listing.list_page("media/")


# --- stores that misbehave -----------------------------------------------------------------------------


async def test_an_endpoint_that_is_down_is_unavailable_and_named(credentials: None) -> None:
    url = f"http://127.0.0.1:{free_ports(1)}"
    async with open_bucket(config_for(url)) as opened:
        with pytest.raises(StoreUnavailable, match=f"{url}.*RECONCILER_BUCKET__ENDPOINT_URL"):
            await opened.listing.list_page("media/")


async def test_a_store_that_never_answers_is_given_up(credentials: None) -> None:
    async with faulty_store(Answer(silent=True)) as store:
        config = config_for(store.endpoint_url, timeout=timedelta(seconds=0.2))
        async with open_bucket(config) as opened:
            with pytest.raises(StoreUnavailable, match=r"no answer|[Tt]imeout"):
                await opened.listing.list_page("media/")


@pytest.mark.parametrize(
    "fault",
    [
        Answer(error("SlowDown"), 503),
        Answer(error("InternalError"), 500),
        Answer(error("RequestTimeout"), 400),
        Answer(error("RequestRateLimitExceeded"), 400),
        Answer("", 429),
        Answer("<html>gateway</html>", 502),
        Answer(error("SlowDown")),
        Answer(error("InternalError")),
        Answer(page(["media/a"]), missing=5),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[-60:-40]} {answer.missing}",
)
async def test_transient_faults_are_tried_again(credentials: None, fault: Answer) -> None:
    """I-23: two of them come inside a 200."""
    async with (
        faulty_store(fault, fault, Answer(page(["media/a"]))) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        assert (await opened.listing.list_page("media/")).keys == ["media/a"]
    assert len(store.requests) == 3


async def test_a_fault_that_lasts_is_given_up_after_a_few_tries(credentials: None) -> None:
    seen: list[tuple[str, str]] = []

    def note(operation: str, outcome: str, _seconds: float) -> None:
        seen.append((operation, outcome))

    async with faulty_store(Answer(error("SlowDown"), 503)) as store:
        config = replace(config_for(store.endpoint_url), on_request=note)
        async with open_bucket(config) as opened:
            with pytest.raises(StoreUnavailable, match="failed 5 times, last with: SlowDown"):
                await opened.listing.list_page("media/")
    assert seen == [("ListObjectsV2", "throttled")] * 5


@pytest.mark.incident(1)
@pytest.mark.incident(30)
@pytest.mark.parametrize(
    ("answer", "complaint", "sizes"),
    [
        (Answer(error("SomethingElse")), "SomethingElse", 1),
        (Answer(error("InvalidArgument"), 400), "InvalidArgument", 1),
        (Answer(page(["media/a"], truncated=True)), "no token", 4),
        (Answer(page(["media/a"], token="again")), "repeats", 1),
        (Answer(page(["media/a"])[:-30]), "cut off", 4),
        (Answer(""), "cut off", 4),
        (Answer("<html><body>welcome</body></html>"), "another kind, <html>", 4),
        (Answer(page(["media/a", "other/b"])), "outside of the prefix 'media/'", 1),
    ],
    ids=["error in a 200", "400", "no token", "same token", "cut off", "empty", "html", "other prefix"],
)
async def test_a_page_that_cannot_be_trusted_breaks_the_listing(
    credentials: None, answer: Answer, complaint: str, sizes: int
) -> None:
    """I-1, I-30: none of them is an empty or a last page. One that cannot be read is asked for in other
    sizes, since one odd key may spoil it.
    """
    async with (
        faulty_store(answer) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        with pytest.raises(ListingBroken, match=complaint):
            await opened.listing.list_page("media/", token="again")
    assert len(store.requests) == sizes


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (Answer(error("AccessDenied"), 403), "s3:ListBucket"),
        (Answer(error("AccessDenied")), "s3:ListBucket"),
        (Answer(error("ExpiredToken"), 400), "AWS_ACCESS_KEY_ID"),
        (Answer(error("RequestTimeTooSkewed"), 403), "clock"),
    ],
    ids=["denied", "denied in a 200", "expired", "skewed"],
)
async def test_what_only_a_person_can_mend_halts_with_advice(
    credentials: None, answer: Answer, advice: str
) -> None:
    async with (
        faulty_store(answer) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        with pytest.raises(Halt, match=advice):
            await opened.listing.list_page("media/")
    assert len(store.requests) == 1


async def test_an_empty_page_may_be_truncated(credentials: None) -> None:
    async with (
        faulty_store(Answer(page([], token="next")), Answer(page(["media/a"]))) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        assert await every_key(opened, "media/") == ["media/a"]
    assert "continuation-token=next" in store.requests[1].target


async def test_keys_are_decoded_only_where_the_store_says_it_encoded_them(credentials: None) -> None:
    plain = page(["media/a+b%20c"]).replace("<EncodingType>url</EncodingType>", "")
    async with (
        faulty_store(Answer(page(["media/a+b%20c"])), Answer(plain)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        assert (await opened.listing.list_page("media/")).keys == ["media/a b c"]
        assert (await opened.listing.list_page("media/")).keys == ["media/a+b%20c"]
    assert all("encoding-type=url" in request.target for request in store.requests)


async def test_a_redirect_that_never_ends_asks_for_the_region(credentials: None) -> None:
    async with (
        faulty_store(Answer("", 301)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        with pytest.raises(Halt, match=r"301.*RECONCILER_BUCKET__REGION"):
            await opened.listing.list_page("media/")


@pytest.mark.incident(30)
async def test_a_404_that_is_no_answer_of_a_store_breaks_the_listing(credentials: None) -> None:
    """I-30: a proxy's page, for one."""
    async with (
        faulty_store(Answer("<html>not found</html>", 404)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        with pytest.raises(ListingBroken, match="404"):
            await opened.listing.list_page("media/")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"endpoint_url": "not a url"}, "Invalid endpoint"),
        ({"name": "no bucket/name"}, "RECONCILER_BUCKET__NAME"),
    ],
)
async def test_settings_that_cannot_work_are_faults_of_the_configuration(
    credentials: None, changes: dict[str, str], complaint: str
) -> None:
    config: BucketConfig = replace(config_for("http://127.0.0.1:1"), **changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=complaint) as caught:
        async with open_bucket(config) as opened:
            await opened.listing.list_page("media/")
    assert "\n" not in str(caught.value)
