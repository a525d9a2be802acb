"""What the store can do, found out on scratch keys of our own: some stores say yes and mean no.

About 30 requests in a dozen rounds, those of a round side by side. SeaweedFS lists `a/b` before `a!`, and
`a//b` as `a/b`; MinIO ignored If-Match and deleted (I-24); moto ignores the ETag in a batch and deletes.
None of that can be read off an answer.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import anyio

from reconciler.bucket.answers import DeleteAnswer, read_answer, refused, result_of
from reconciler.bucket.concurrency import side_by_side
from reconciler.bucket.faults import Refusal
from reconciler.bucket.listing import BucketListing
from reconciler.bucket.parsing import bare_etag
from reconciler.bucket.retries import Calls
from reconciler.errors import Halt, ListingBroken
from reconciler.model import RESERVED_PREFIX, Capabilities, Deletion, ListingOrder, ObjectResult, Versioning

SCRATCH_PREFIX: Final = f"{RESERVED_PREFIX}probe/"

_NAMES: Final = ("B", "a", "a!", "a/b", "a/b/c", "a0", "b/1", "b/2", "\uff5e", "\U0001f600")
"""Where orders differ: case, a file beside a directory of its name, characters below `/`, and two that
UTF-16 sorts the other way round."""
_STARTS: Final = ("A", "a", "a!", "a/", "a/b", "a/b/z", "a/zz", "b", "c", "\uff5e")
"""StartAfter at keys, between them, at directories, inside them and past their end."""
_ODD: Final = "n//1\\2"
_REWRITTEN: Final = "n/1/2"
"""What SeaweedFS makes of the key before."""
_STEP: Final = 3
"""Keys a page while the tokens are tried: entries and directories are cut in all places."""
_WRONG_ETAG: Final = "00000000000000000000000000000000"
_CLEANUP_SECONDS: Final = 10.0
_NOTHING: Final = Capabilities(
    order=ListingOrder.NONE, conditional_batch_delete=False, conditional_delete=False
)


class BucketProber:
    """`ports.Prober` of one bucket."""

    def __init__(self, client: Any, bucket: str, calls: Calls, listing: BucketListing) -> None:  # noqa: ANN401
        self._client = client
        self._bucket = bucket
        self._calls = calls
        self._listing = listing

    async def probe(self) -> Capabilities:
        """What the store was seen to do; what could not be found out counts as not there.

        Raises StoreUnavailable where the store does not answer, and Halt where nothing could work
        (no such bucket, wrong credentials): neither says anything about what the store can do.
        """
        versioned = await self._versioned()
        root = f"{SCRATCH_PREFIX}{secrets.token_hex(8)}/"
        try:
            async with self._scratch(root, versioned=versioned) as etags:
                order = await self._order(root)
                in_batch, alone = await self._conditions(etags)
                rewrites = await self._rewrites(root)
        except Refusal as refusal:
            if refusal.fatal:
                raise self._calls.place.explain("PutObject", refusal, Halt) from None
            return _NOTHING
        return Capabilities(
            # A listing that names rows' keys otherwise cannot be merged with them.
            order=ListingOrder.NONE if rewrites else order,
            conditional_batch_delete=in_batch,
            conditional_delete=alone,
            versioning=Versioning.ENABLED if versioned else Versioning.OFF,
            rewrites_keys=rewrites,
        )

    async def _versioned(self) -> bool:
        """Whether the bucket keeps versions; not where it only did so once, or will not say."""
        call = partial(self._client.get_bucket_versioning, Bucket=self._bucket)
        try:
            return await self._calls.send(
                "GetBucketVersioning", call, lambda answer: answer.get("Status") == "Enabled"
            )
        except Refusal as refusal:
            if refusal.fatal:
                raise self._calls.place.explain("GetBucketVersioning", refusal, Halt) from None
            return False

    # --- scratch keys ------------------------------------------------------------------------------

    @asynccontextmanager
    async def _scratch(self, root: str, *, versioned: bool) -> AsyncIterator[dict[str, str]]:
        """The scratch keys with their ETags; they go at the end, also when the probe is cancelled."""
        keys = [root + name for name in _NAMES]
        try:
            yield await self._put_all(keys)
        finally:
            with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
                await self._remove(root, [*keys, root + _ODD, root + _REWRITTEN], versioned=versioned)

    async def _put_all(self, keys: Sequence[str]) -> dict[str, str]:
        etags = await side_by_side([partial(self._put, key) for key in keys])
        return dict(zip(keys, etags, strict=True))

    async def _put(self, key: str) -> str:
        call = partial(self._client.put_object, Bucket=self._bucket, Key=key, Body=key.encode())
        return await self._calls.send("PutObject", call, lambda answer: bare_etag(answer.get("ETag", "")))

    async def _remove(self, root: str, keys: Sequence[str], *, versioned: bool) -> None:
        """Delete the scratch keys, with their versions where the bucket keeps them. Best effort."""
        try:
            doomed: list[dict[str, str]] = [{"Key": key} for key in keys]
            if versioned:
                doomed = await self._versions(root) or doomed
            await self._delete_batch(doomed)
        except Exception:  # noqa: BLE001 - a few bytes under .reconciler/ stay behind
            return

    async def _versions(self, root: str) -> list[dict[str, str]]:
        call = partial(self._client.list_object_versions, Bucket=self._bucket, Prefix=root)
        answer: Mapping[str, Any] = await self._calls.send("ListObjectVersions", call, dict)
        return [
            {"Key": entry["Key"], "VersionId": entry["VersionId"]}
            for entry in (*answer.get("Versions", ()), *answer.get("DeleteMarkers", ()))
        ]

    # --- order -------------------------------------------------------------------------------------

    async def _order(self, root: str) -> ListingOrder:
        """BYTES where every listing is what byte order, tokens and StartAfter make of the scratch keys."""
        expected = sorted(root + name for name in _NAMES)  # code points: the byte order of UTF-8
        try:
            if await self._by_token(root) != expected:
                return ListingOrder.NONE
            pages = await side_by_side(
                [partial(self._listing.list_page, root, start_after=root + start) for start in _STARTS]
            )
        except ListingBroken:
            return ListingOrder.NONE
        honoured = all(
            page.keys == [key for key in expected if key > root + start]
            for start, page in zip(_STARTS, pages, strict=True)
        )
        return ListingOrder.BYTES if honoured else ListingOrder.NONE

    async def _by_token(self, root: str) -> list[str]:
        page = await self._listing.list_page(root, page_size=_STEP)
        keys = page.keys
        while page.next_token is not None and len(keys) <= len(_NAMES):
            page = await self._listing.list_page(root, token=page.next_token, page_size=_STEP)
            keys = keys + page.keys
        return keys

    async def _rewrites(self, root: str) -> bool:
        """Whether a key comes back as the one that a file system makes of it."""
        try:
            await self._put(root + _ODD)
            page = await self._listing.list_page(root + _ODD[:2])
        except (Refusal, ListingBroken):
            return False
        return root + _REWRITTEN in page.keys

    # --- conditions --------------------------------------------------------------------------------

    async def _conditions(self, etags: Mapping[str, str]) -> tuple[bool, bool]:
        """Whether a batch, and whether a single DELETE, compares ETags: a wrong one and a right one each."""
        keys = sorted(etags)[-4:]
        asked = [Deletion(key=key, etag=etags[key]) for key in keys]
        asked[::2] = [Deletion(key=entry.key, etag=_WRONG_ETAG) for entry in asked[::2]]
        together, *alone = await side_by_side(
            [
                partial(self._delete_together, asked[:2]),
                partial(self._delete_alone, asked[2]),
                partial(self._delete_alone, asked[3]),
            ]
        )
        # The answers alone are not believed: what is still there counts as well.
        left = await side_by_side([partial(self._exists, key) for key in keys])
        compared = [ObjectResult.CHANGED, ObjectResult.DELETED]
        return (
            together == compared and left[:2] == [True, False],
            [result for results in alone for result in results] == compared and left[2:] == [True, False],
        )

    async def _delete_together(self, batch: Sequence[Deletion]) -> list[ObjectResult]:
        entries = [{"Key": entry.key, "ETag": entry.etag or ""} for entry in batch]
        try:
            answer = await self._delete_batch(entries)
        except Refusal:
            return []
        return [result_of(entry.key, answer).result for entry in batch]

    async def _delete_alone(self, entry: Deletion) -> list[ObjectResult]:
        call = partial(
            self._client.delete_object, Bucket=self._bucket, Key=entry.key, IfMatch=f'"{entry.etag}"'
        )
        try:
            await self._calls.send("DeleteObject", call, lambda _: None)
        except Refusal as refusal:
            return [refused(entry.key, refusal).result]
        return [ObjectResult.DELETED]

    async def _delete_batch(self, entries: Sequence[Mapping[str, str]]) -> DeleteAnswer:
        call = partial(self._client.delete_objects, Bucket=self._bucket, Delete={"Objects": entries})
        return await self._calls.send("DeleteObjects", call, read_answer)

    async def _exists(self, key: str) -> bool:
        call = partial(self._client.head_object, Bucket=self._bucket, Key=key)
        try:
            return await self._calls.send("HeadObject", call, lambda _: True)
        except Refusal as refusal:
            if refusal.missing:
                return False
            raise
