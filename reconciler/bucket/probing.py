"""What the store can do, found out on scratch keys of our own: some stores say yes and mean no.

About 25 requests, most of them side by side. SeaweedFS lists `a/b` before `a!`; MinIO ignored If-Match
and deleted (I-24); moto ignores the ETag in a batch and deletes. None of that can be read off an answer.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import anyio

from reconciler.bucket.answers import parse_delete_answer
from reconciler.bucket.faults import Refusal
from reconciler.bucket.listing import BucketListing
from reconciler.bucket.parsing import bare_etag
from reconciler.bucket.retries import Calls
from reconciler.errors import Halt, ListingBroken
from reconciler.model import RESERVED_PREFIX, Capabilities, ListingOrder

SCRATCH_PREFIX: Final = f"{RESERVED_PREFIX}probe/"

_NAMES: Final = ("B", "a", "a!", "a/b", "a/b/c", "a0", "b/1", "b/2", "\uff5e", "\U0001f600")
"""Where orders differ: case, a file beside a directory of its name, characters below `/`, and two that
UTF-16 sorts the other way round."""
_STARTS: Final = ("A", "a", "a!", "a/", "a/b", "a/b/z", "a/zz", "b", "c", "\uff5e")
"""StartAfter at keys, between them, at directories, inside them and past their end."""
_STEP: Final = 3
"""Keys a page while the tokens are tried: entries and directories are cut in all places."""
_WRONG_ETAG: Final = "00000000000000000000000000000000"
_CLEANUP_SECONDS: Final = 10.0
_NOTHING: Final = Capabilities(
    order=ListingOrder.NONE, conditional_batch_delete=False, conditional_delete=False, versioned=False
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
        except Refusal as refusal:
            if refusal.fatal:
                raise self._calls.place.explain("PutObject", refusal, Halt) from None
            return _NOTHING
        return Capabilities(
            order=order,
            conditional_batch_delete=in_batch,
            conditional_delete=alone,
            versioned=versioned,
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
                await self._remove(root, keys, versioned=versioned)

    async def _put_all(self, keys: Sequence[str]) -> dict[str, str]:
        etags: dict[str, str] = {}
        faults: list[Exception] = []

        async def put(key: str) -> None:
            call = partial(self._client.put_object, Bucket=self._bucket, Key=key, Body=key.encode())
            try:
                etags[key] = await self._calls.send(
                    "PutObject", call, lambda answer: bare_etag(answer.get("ETag", ""))
                )
            except Exception as fault:  # noqa: BLE001 - raised below, out of the group
                faults.append(fault)

        async with anyio.create_task_group() as group:
            for key in keys:
                group.start_soon(put, key)
        if faults:
            raise faults[0]
        return etags

    async def _remove(self, root: str, keys: Sequence[str], *, versioned: bool) -> None:
        """Delete the scratch keys, with their versions where the bucket keeps them. Best effort."""
        try:
            doomed: list[dict[str, str]] = [{"Key": key} for key in keys]
            if versioned:
                doomed = await self._versions(root) or doomed
            await self._delete_batch(doomed)
        except (Refusal, Exception):  # noqa: BLE001 - a few bytes under .reconciler/ stay behind
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
            for start in _STARTS:
                page = await self._listing.list_page(root, start_after=root + start)
                if page.keys != [key for key in expected if key > root + start]:
                    return ListingOrder.NONE
        except ListingBroken:
            return ListingOrder.NONE
        return ListingOrder.BYTES

    async def _by_token(self, root: str) -> list[str]:
        page = await self._listing.list_page(root, page_size=_STEP)
        keys = page.keys
        while page.next_token is not None and len(keys) <= len(_NAMES):
            page = await self._listing.list_page(root, token=page.next_token, page_size=_STEP)
            keys = keys + page.keys
        return keys

    # --- conditions --------------------------------------------------------------------------------

    async def _conditions(self, etags: Mapping[str, str]) -> tuple[bool, bool]:
        """Whether a batch, and whether a single DELETE, compares ETags: both of a wrong and a right one."""
        wrong_together, right_together, wrong_alone, right_alone = sorted(etags)[-4:]
        try:
            await self._delete_batch(
                [
                    {"Key": wrong_together, "ETag": _WRONG_ETAG},
                    {"Key": right_together, "ETag": etags[right_together]},
                ]
            )
            in_batch = True
        except Refusal:
            in_batch = False
        refused = not await self._delete_if(wrong_alone, _WRONG_ETAG)
        accepted = await self._delete_if(right_alone, etags[right_alone])
        return (
            in_batch and await self._exists(wrong_together) and not await self._exists(right_together),
            refused and accepted and await self._exists(wrong_alone) and not await self._exists(right_alone),
        )

    async def _delete_batch(self, entries: Sequence[Mapping[str, str]]) -> None:
        call = partial(
            self._client.delete_objects, Bucket=self._bucket, Delete={"Objects": entries, "Quiet": False}
        )
        await self._calls.send("DeleteObjects", call, lambda answer: parse_delete_answer(answer["Body"]))

    async def _delete_if(self, key: str, etag: str) -> bool:
        call = partial(self._client.delete_object, Bucket=self._bucket, Key=key, IfMatch=f'"{etag}"')
        try:
            await self._calls.send("DeleteObject", call, lambda _: None)
        except Refusal:
            return False
        return True

    async def _exists(self, key: str) -> bool:
        call = partial(self._client.head_object, Bucket=self._bucket, Key=key)
        try:
            return await self._calls.send("HeadObject", call, lambda _: True)
        except Refusal as refusal:
            if refusal.missing:
                return False
            raise
