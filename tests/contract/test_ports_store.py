"""Copies, versions, uploads and the marker's exchange, asked of the double and of real stores alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from reconciler.model import (
    GONE,
    CopyRequest,
    CopyResult,
    Deletion,
    Identity,
    ObjectResult,
    Seal,
    Upload,
    Version,
)
from reconciler.stores.s3 import versions
from tests.contract.sides import BucketSide

pytestmark = pytest.mark.anyio

KEY, COPY = "image/a", ".reconciler/quarantine/op/hash"
OURS = Identity(
    site_id=UUID(int=1), bucket="media", prefixes=("image/",), created_at=datetime(2026, 1, 2, tzinfo=UTC)
)


def sealed(number: int) -> Identity:
    return replace(OURS, seal=Seal(epoch=number, nonce=UUID(int=number)))


# --- copies ----------------------------------------------------------------------------------------


@pytest.mark.attack(10)
async def test_a_copy_is_of_what_was_asked_for_or_none_is_made(side: BucketSide) -> None:
    side.put(KEY)
    stored = await side.store.head(KEY)
    assert stored is not None
    assert (await side.copies.copy(CopyRequest("image/none", COPY))).result is CopyResult.MISSING
    assert (await side.copies.copy(CopyRequest(KEY, COPY, etag="0" * 32))).result is CopyResult.CHANGED
    assert await side.store.head(COPY) is None
    copied = await side.copies.copy(CopyRequest(KEY, COPY, etag=stored.etag))
    assert (copied.result, copied.etag, copied.size) == (CopyResult.COPIED, stored.etag, stored.size)
    there = await side.store.head(COPY)
    assert there is not None
    assert there.size == stored.size
    assert await side.store.head(KEY) == stored


async def test_a_copy_that_has_to_be_new_writes_over_nothing(side: BucketSide) -> None:
    side.put(COPY)
    assert (await side.copies.copy(CopyRequest(COPY, KEY, only_new=True))).result is CopyResult.COPIED
    before = await side.store.head(KEY)
    assert (await side.copies.copy(CopyRequest(COPY, KEY, only_new=True))).result is CopyResult.OCCUPIED
    assert await side.store.head(KEY) == before
    assert (await side.copies.copy(CopyRequest(COPY, KEY))).result is CopyResult.COPIED


# --- versions --------------------------------------------------------------------------------------


async def test_a_delete_hides_behind_a_marker_until_that_is_removed(side: BucketSide) -> None:
    assert not await side.versions.kept()
    side.keep_versions()
    assert await side.versions.kept()
    for key in (KEY, "image/ab"):
        side.put(key)
    before = await side.store.head(KEY)
    assert before is not None
    (answer,) = await side.store.delete([Deletion(key=KEY, etag=before.etag)])
    assert answer.result is ObjectResult.DELETED
    assert await side.store.head(KEY) is None
    assert (await side.listing.list_page("image/")).keys == ["image/ab"]
    version, identity = _in_order(await side.versions.of(KEY))
    assert (version.id, version.etag, version.size) == (before.version_id, before.etag, before.size)
    assert (version.marker, version.latest) == (False, False)
    assert (identity.id, identity.marker, identity.latest) == (answer.marker_id, True, True)
    (told,) = await side.versions.remove([identity])
    assert told.result is ObjectResult.DELETED
    assert await side.store.head(KEY) == before


async def test_a_version_that_is_removed_by_id_is_gone_for_good(side: BucketSide) -> None:
    side.keep_versions()
    side.put(KEY)
    await side.store.delete([Deletion(key=KEY)])
    version, identity = _in_order(await side.versions.of(KEY))
    results = await side.versions.remove([version, identity])
    assert [(each.key, each.result) for each in results] == [(KEY, ObjectResult.DELETED)] * 2
    assert list(await side.versions.of(KEY)) == []
    assert await side.store.head(KEY) is None
    again = await side.versions.remove([version, identity])
    assert all(each.result in GONE for each in again), "some stores say so, some do not tell it apart"


async def test_what_was_put_later_lies_over_what_was_put_before_and_is_listed_first(side: BucketSide) -> None:
    side.keep_versions()
    side.put(KEY)
    first = await side.store.head(KEY)
    side.put(KEY)
    assert first is not None
    newest, older = await side.versions.of(KEY)
    assert (newest.latest, older.latest, older.id) == (True, False, first.version_id)
    assert (await side.versions.remove([newest]))[0].result is ObjectResult.DELETED
    assert await side.store.head(KEY) == first


async def test_nothing_hides_an_object_that_was_not_meant(side: BucketSide) -> None:
    side.keep_versions()
    side.put(KEY)
    (answer,) = await side.store.delete([Deletion(key=KEY, etag="0" * 32)])
    assert (answer.result, answer.marker_id) == (ObjectResult.CHANGED, None)
    assert await side.store.head(KEY) is not None
    assert len(await side.versions.of(KEY)) == 1


async def test_a_listing_shows_of_versions_that_are_the_latest_what_a_head_does(
    side: BucketSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "DENSE", 1)
    side.keep_versions()
    keys = ["image/a", "image/ab", "image/b", "image/c"]
    for key in (*keys, "image/b", "image/d"):
        side.put(key)
    await side.store.delete([Deletion(key="image/c")])
    found = await side.versions.latest(keys)
    assert {"image/a", "image/b"} <= found.keys() <= {"image/a", "image/ab", "image/b"}
    for key, version in found.items():
        stored = await side.store.head(key)
        assert stored is not None
        assert (version.id, version.etag, version.size) == (stored.version_id, stored.etag, stored.size)
    assert await side.versions.latest(["image/x", "image/y"]) == {}


def _in_order(found: object) -> tuple[Version, Version]:
    """A version and a delete marker, in that order."""
    assert isinstance(found, list)
    version, identity = sorted(found, key=lambda each: each.marker)
    return version, identity


# --- uploads ---------------------------------------------------------------------------------------


async def uploads(side: BucketSide, prefix: str) -> list[Upload]:
    return [each async for page in side.uploads.pages(prefix) for each in page]


async def test_unfinished_uploads_are_listed_under_their_prefix_and_ended_once(side: BucketSide) -> None:
    for key in (KEY, KEY, "image/b", "video/a"):
        side.begin_upload(key)
    found = await uploads(side, "image/")
    assert sorted(each.key for each in found) == [KEY, KEY, "image/b"]
    assert len({each.id for each in found}) == 3
    assert all(each.begun_at is not None for each in found)
    assert (await side.listing.list_page("image/")).keys == []
    going = [each for each in found if each.key == KEY]
    results = await side.uploads.abort(going)
    assert [(each.key, each.result) for each in results] == [(KEY, ObjectResult.DELETED)] * 2
    assert [each.key for each in await uploads(side, "image/")] == ["image/b"]
    (again,) = await side.uploads.abort(going[:1])
    assert again.result in GONE


# --- the marker ------------------------------------------------------------------------------------


@pytest.mark.attack(22)
async def test_a_marker_is_exchanged_for_the_one_that_was_seen(side: BucketSide) -> None:
    await side.identity.write(sealed(1))
    seen = await side.identity.read()
    assert seen is not None
    assert seen.seal == sealed(1).seal
    assert await side.identity.exchange(replace(seen, seal=sealed(2).seal), seen)
    now = await side.identity.read()
    assert now == sealed(2)
    assert now is not None
    assert now.etag != seen.etag
    disputed = replace(now, contested="two of them")
    assert await side.identity.exchange(disputed, now)
    assert await side.identity.read() == disputed


@pytest.mark.attack(22)
async def test_a_marker_that_was_exchanged_meanwhile_is_seen_by_reading_back(side: BucketSide) -> None:
    """Some stores compare, and say no; of one that does not, what is read back is what it says."""
    await side.identity.write(sealed(1))
    seen = await side.identity.read()
    assert seen is not None
    assert await side.identity.exchange(sealed(2), seen)
    exchanged = await side.identity.exchange(sealed(3), seen)
    assert await side.identity.read() == sealed(3 if exchanged else 2)


@pytest.mark.attack(22)
async def test_no_marker_is_made_by_an_exchange(side: BucketSide) -> None:
    """Where it was taken away meanwhile, a person has to look."""
    gone = replace(sealed(1), etag="0" * 32)
    exchanged = await side.identity.exchange(sealed(2), gone)
    assert (await side.identity.read() is not None) == exchanged
    assert await side.identity.exists() == exchanged


async def test_superseded_markers_do_not_pile_up_in_a_bucket_that_keeps_versions(side: BucketSide) -> None:
    side.keep_versions()
    await side.identity.write(sealed(1))
    for number in range(2, 5):
        seen = await side.identity.read()
        assert seen is not None
        assert await side.identity.exchange(sealed(number), seen)
    assert await side.identity.read() == sealed(4)
    (only,) = await side.versions.of(".reconciler/identity.json")
    assert (only.latest, only.marker) == (True, False)
