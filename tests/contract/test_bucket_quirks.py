"""Stores that say yes and mean no, one quirk at a time: what the probe makes of each, and the deletion after.

I-22, I-23, I-24: the ladder goes CRC32, Content-MD5, smaller batches, single DELETEs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final
from urllib.parse import unquote

import pytest

from reconciler.errors import Halt, ListingBroken, StoreUnavailable
from reconciler.model import Capabilities, Deletion, Digest, ListingOrder, ObjectResult, PutCondition
from reconciler.stores.s3 import open_bucket
from reconciler.stores.s3.batching import SMALLEST
from tests.support.buckets import config_for
from tests.support.faulty_store import Answer, faulty_store, page
from tests.support.quirky_store import BUCKET, Quirks, QuirkyStore, quirky_store

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("credentials")]

DELETED, CHANGED, FAILED = ObjectResult.DELETED, ObjectResult.CHANGED, ObjectResult.FAILED

EVERYTHING = Capabilities(
    order=ListingOrder.BYTES,
    start_after=True,
    conditional_batch_delete=True,
    conditional_delete=True,
    batch_digest=Digest.CRC32,
    copy=True,
    copy_conditional=True,
    multipart_copy=True,
    multipart_listing=True,
)
"""What the store does without quirks."""


REWRITTEN = {"order": ListingOrder.NONE, "rewrites_keys": True}
SPELLS: Final[tuple[Callable[[str], str], ...]] = (
    lambda key: key.replace("//", "/"),
    lambda key: key.replace("\\", "/"),
    lambda key: re.sub(r"[/\\]+", "/", key),
    lambda key: unicodedata.normalize("NFC", key),
    lambda key: unicodedata.normalize("NFD", key),
    lambda key: key.rstrip(" "),
    lambda key: key.rstrip("."),
    unquote,
    lambda key: key.replace("%20", " "),
    lambda key: key.replace("%2F", "/"),
    lambda key: key.replace("+", " "),
    lambda key: key if key == key.lower() else key.replace("Case", "case"),
)
"""What file systems, and gateways over them, make of keys."""


async def probe(store: QuirkyStore, *, patience: timedelta = timedelta(seconds=20)) -> Capabilities:
    async with open_bucket(config_for(store.endpoint_url, name=BUCKET, timeout=patience)) as opened:
        return await opened.prober.probe()


async def delete(
    store: QuirkyStore,
    found: Capabilities,
    batch: list[Deletion],
    *,
    patience: timedelta = timedelta(seconds=20),
) -> list[ObjectResult]:
    async with open_bucket(config_for(store.endpoint_url, name=BUCKET, timeout=patience)) as opened:
        return [each.result for each in await opened.store(found).delete(batch)]


def marked(store: QuirkyStore, *keys: str) -> list[Deletion]:
    """The objects as they are now, to be deleted if they still are."""
    return [Deletion(key=key, etag=store.objects[key].etag) for key in keys]


@pytest.mark.incident(22)
@pytest.mark.incident(24)
@pytest.mark.parametrize(
    ("quirks", "seen"),
    [
        (Quirks(), {}),
        (Quirks(needs_md5=True), {"batch_digest": Digest.MD5}),
        (Quirks(needs_crc32=True), {"batch_digest": Digest.CRC32}),
        (
            Quirks(no_batches=True),
            {"batch_digest": None, "batch_size": 1, "conditional_batch_delete": False},
        ),
        (Quirks(ignores_etag_alone=True), {"conditional_delete": False}),
        (Quirks(ignores_etag_in_batch=True), {"conditional_batch_delete": False}),
        (Quirks(ignores_etag_of_source=True), {"copy_conditional": False}),
        (Quirks(rank=lambda key: key[::-1]), {"order": ListingOrder.NONE, "start_after": True}),
        (Quirks(ignores_start_after=True), {"order": ListingOrder.NONE, "start_after": False}),
        (Quirks(repeats_token=True), {"order": ListingOrder.NONE}),
        (Quirks(token_is_last_key=True), {}),
        (Quirks(refuses_etags_of_parts=True), {"compares_parts": False}),
        (Quirks(decodes_part_sources_twice=True), {"multipart_copy_encoded": False}),
        *((Quirks(put_condition=each), {"conditional_put": each}) for each in PutCondition),
        (Quirks(unknown_put_condition=True), {"conditional_put": PutCondition.REFUSED}),
        (
            Quirks(directories=True),
            {"order": ListingOrder.NONE, "start_after": False, "rewrites_keys": False},
        ),
        *((Quirks(spells=spells), REWRITTEN) for spells in SPELLS),
        (Quirks(empty_pages=True), {}),
        (Quirks(error_in_200={"DeleteObjects": 1, "ListObjectsV2": 1, "CopyObject": 1}), {}),
        (Quirks(slow_down=4), {}),
    ],
    ids=lambda value: value and str(next(iter(value), "")) if isinstance(value, dict) else None,
)
async def test_the_probe_finds_each_quirk_and_leaves_nothing(quirks: Quirks, seen: dict[str, object]) -> None:
    async with quirky_store(quirks) as store:
        assert await probe(store) == replace(EVERYTHING, **seen)  # type: ignore[arg-type]  # by name
    assert store.objects == {}


async def test_a_declared_order_is_believed_and_costs_no_requests() -> None:
    async with quirky_store(Quirks(rank=lambda key: key[::-1])) as store:
        config = config_for(store.endpoint_url, name=BUCKET, timeout=timedelta(seconds=20))
        async with open_bucket(config) as opened:
            found = await opened.prober.probe(ListingOrder.BYTES)
    assert (found.order, found.start_after, found.rewrites_keys) == (ListingOrder.BYTES, True, False)
    assert store.objects == {}
    assert store.operations.count("ListObjectsV2") < 15


@pytest.mark.attack(76)
@pytest.mark.parametrize("declared", [None, *ListingOrder])
@pytest.mark.parametrize("spells", SPELLS)
async def test_no_order_is_believed_of_a_store_that_rewrites_keys(
    spells: Callable[[str], str], declared: ListingOrder | None
) -> None:
    async with (
        quirky_store(Quirks(spells=spells)) as store,
        open_bucket(config_for(store.endpoint_url, name=BUCKET)) as opened,
    ):
        found = await opened.prober.probe(declared)
    assert (found.order, found.rewrites_keys) == (ListingOrder.NONE, True)


async def test_a_bucket_whose_listing_shows_nothing_is_found_out() -> None:
    async with quirky_store(Quirks(no_index=True)) as store:
        found = await probe(store)
    assert (found.lists, found.order, found.copy) == (False, ListingOrder.NONE, True)


async def test_a_store_without_etags_is_found_out() -> None:
    async with quirky_store(Quirks(no_etags=True)) as store:
        found = await probe(store)
    assert (found.etags, found.order, found.copy) == (False, ListingOrder.BYTES, True)


async def test_a_probe_that_is_refused_for_another_reason_than_a_permission_says_why() -> None:
    async with quirky_store(Quirks(refuses_puts="MissingContentLength")) as store:
        found = await probe(store)
    assert not found.probed
    assert found.refusal == "PutObject was refused with MissingContentLength"


async def test_nothing_that_is_put_comes_with_a_digest_behind_its_body() -> None:
    """Over https botocore would send a trailer, which Ceph 16 answers with 411."""
    async with quirky_store() as store:
        await probe(store)
    puts = [headers for operation, headers in store.headers if operation == "PutObject"]
    assert puts
    assert all("content-md5" in headers for headers in puts)
    assert not any({"x-amz-trailer", "x-amz-sdk-checksum-algorithm"} & headers.keys() for headers in puts)


async def test_a_momentary_load_makes_no_smaller_batches() -> None:
    async with quirky_store(Quirks(silent_above=300, silent_times=1)) as store:
        found = await probe(store, patience=timedelta(seconds=1))
    assert (found.batch_digest, found.batch_size) == (Digest.CRC32, 1000)


@pytest.mark.incident(22)
async def test_a_store_that_times_out_at_a_thousand_keys_gets_smaller_batches() -> None:
    keys = [f"media/{number:03}" for number in range(600)]
    async with quirky_store(Quirks(silent_above=300)) as store:
        found = await probe(store, patience=timedelta(seconds=1))
        assert (found.batch_digest, found.batch_size) == (Digest.CRC32, 250)
        store.put(*keys)
        store.batches.clear()
        assert set(await delete(store, found, marked(store, *keys))) == {DELETED}
        assert (sorted(store.batches), store.keys()) == ([100, 250, 250], set())


@pytest.mark.incident(22)
async def test_a_batch_that_proves_too_much_later_is_halved_for_good() -> None:
    """What the probe deletes is not there, which may be quicker than what the collector deletes."""
    keys = [f"media/{number:03}" for number in range(100)]
    async with quirky_store() as store:
        found = await probe(store)
        store.put(*keys)
        store.quirks.silent_above = 60
        config = config_for(store.endpoint_url, name=BUCKET, timeout=timedelta(seconds=1.5))
        async with open_bucket(config) as opened:
            objects = opened.store(found)
            with pytest.raises(StoreUnavailable, match="no answer"):
                await objects.delete(marked(store, *keys))
            assert store.keys() == set(keys)
            results = await objects.delete(marked(store, *keys))
    assert {each.result for each in results} == {DELETED}
    assert store.batches[-3:] == [100, 50, 50]


async def test_a_batch_is_not_halved_without_end() -> None:
    async with quirky_store(Quirks(silent_above=0)) as store:
        config = config_for(store.endpoint_url, name=BUCKET, timeout=timedelta(seconds=0.2))
        async with open_bucket(config) as opened:
            objects = opened.store(EVERYTHING)
            for _ in range(6):
                with pytest.raises(StoreUnavailable):
                    await objects.delete([Deletion(key=f"media/{number}") for number in range(40)])
    assert min(store.batches) == SMALLEST


@pytest.mark.incident(23)
async def test_an_error_of_one_key_is_that_keys_alone() -> None:
    async with quirky_store(Quirks(failing={"media/b": "InternalError"})) as store:
        store.put("media/a", "media/b", "media/c")
        results = await delete(store, EVERYTHING, marked(store, "media/a", "media/b", "media/c"))
        assert results == [DELETED, FAILED, DELETED]
        assert store.keys() == {"media/b"}


@pytest.mark.incident(23)
async def test_a_store_that_leaves_keys_out_of_its_answer_is_not_believed() -> None:
    async with quirky_store(Quirks(unmentioned={"media/b"})) as store:
        store.put("media/a", "media/b")
        assert await delete(store, EVERYTHING, marked(store, "media/a", "media/b")) == [DELETED, FAILED]
        assert store.keys() == {"media/b"}


@pytest.mark.incident(23)
async def test_a_store_whose_batches_delete_nothing_is_asked_key_by_key() -> None:
    """The answer says deleted, and what was to go is still there."""

    class Everything(set[str]):
        def __contains__(self, key: object) -> bool:
            return True

    async with quirky_store(Quirks(says_deleted=Everything())) as store:
        found = await probe(store)
        assert (found.batch_digest, found.conditional_delete) == (None, True)
        store.put("media/a", "media/b")
        store.batches.clear()
        assert await delete(store, found, marked(store, "media/a", "media/b")) == [DELETED] * 2
        assert (store.keys(), store.batches) == (set(), [])


@pytest.mark.incident(22)
async def test_without_batches_each_key_goes_alone_and_is_compared() -> None:
    async with quirky_store(Quirks(no_batches=True)) as store:
        found = await probe(store)
        store.put("media/a", "media/b")
        to_delete = marked(store, "media/a", "media/b")
        store.objects["media/b"] = replace(store.objects["media/b"], body=b"uploaded again")
        assert await delete(store, found, to_delete) == [DELETED, CHANGED]
        assert store.keys() == {"media/b"}


async def test_a_storm_of_slow_down_says_nothing_of_what_the_store_can_do() -> None:
    """I-30: an error is no answer. Were it one, each key would go in a call of its own."""
    async with quirky_store(Quirks(slow_down=10_000)) as store:
        with pytest.raises(StoreUnavailable, match="SlowDown"):
            await probe(store)


@pytest.mark.incident(14)
async def test_a_repeated_token_ends_the_listing() -> None:
    async with quirky_store(Quirks(repeats_token=True)) as store:
        store.put(*(f"media/{number:04}" for number in range(1500)))
        async with open_bucket(config_for(store.endpoint_url, name=BUCKET)) as opened:
            page = await opened.listing.list_page("media/")
            assert page.next_token is not None
            with pytest.raises(ListingBroken, match="repeats its continuation token"):
                await opened.listing.list_page("media/", token=page.next_token)


# --- what is no S3 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        Answer("<!DOCTYPE html><html><body>console</body></html>"),
        Answer("<html>404</html>", 404),
        Answer("", 404),
        Answer("not allowed", 405),
        Answer('{"error": "not found"}', 404),
    ],
    ids=["console", "404 page", "empty 404", "405", "json"],
)
async def test_what_is_no_s3_is_named_so(answer: Answer) -> None:
    async with faulty_store(answer) as store, open_bucket(config_for(store.endpoint_url)) as opened:
        with pytest.raises(Halt, match=r"not how an S3 store answers.*RECONCILER_BUCKET__ENDPOINT_URL"):
            await opened.prober.probe()
    assert {request.method for request in store.requests} == {"GET"}


@pytest.mark.parametrize("body", ["<html>busy</html>", "<html><p>busy</html>", ""])
async def test_a_page_of_html_in_between_is_no_fault_of_the_program(body: str) -> None:
    """A proxy may answer anything, at any time."""
    async with (
        faulty_store(Answer(page([])), Answer(body)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        with pytest.raises(StoreUnavailable):
            await opened.prober.probe()
