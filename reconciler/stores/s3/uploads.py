"""Unfinished multipart uploads, which cost money and appear in no listing of objects."""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

import anyio

from reconciler.errors import ListingBroken, StoreUnavailable
from reconciler.model import DeletionResult, ObjectResult, Upload, believable
from reconciler.stores.s3.answers import refused
from reconciler.stores.s3.concurrency import side_by_side
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.retries import Calls
from reconciler.stores.s3.single import remove
from reconciler.stores.s3.witness import Witness

PAGE_SIZE = 1000


class BucketUploads:
    """`ports.Uploads` of one bucket."""

    def __init__(self, calls: Calls, limiter: anyio.CapacityLimiter, witness: Witness) -> None:
        self._calls = calls
        self._limiter = limiter
        self._witness = witness

    async def pages(self, prefix: str) -> AsyncIterator[Sequence[Upload]]:
        place: dict[str, str] = {}
        while True:
            answer = await self._page(prefix, place)
            uploads = [_upload(entry) for entry in answer.get("Uploads", ())]
            yield [each for each in uploads if each.key.startswith(prefix)]
            if not answer.get("IsTruncated"):
                return
            following = _next_place(answer, uploads)
            if following == place:
                raise ListingBroken(f"the listing of uploads in {self._calls.place} repeats its place")
            place = following

    async def _page(self, prefix: str, place: Mapping[str, str]) -> dict[str, Any]:
        asked = {"Prefix": prefix, "MaxUploads": PAGE_SIZE, **place}
        async with self._limiter:
            try:
                return await self._calls.send("ListMultipartUploads", dict, **asked)
            except (Refusal, StoreUnavailable) as why:
                raise await self._witness.blame("ListMultipartUploads", prefix, why) from None

    async def abort(self, batch: Sequence[Upload]) -> Sequence[DeletionResult]:
        """Send one request per upload, a few at once. An upload that ended meanwhile is MISSING."""
        until = self._calls.deadline()
        return await side_by_side([partial(self._abort, each, until) for each in batch])

    async def _abort(self, upload: Upload, until: float) -> DeletionResult:
        answer = await remove(
            self._calls,
            self._limiter,
            self._witness,
            "AbortMultipartUpload",
            upload.key,
            until=until,
            may_send=self._calls.may_delete,
            UploadId=upload.id,
        )
        if not isinstance(answer, Refusal):
            return answer
        if answer.code == "NoSuchUpload":
            return DeletionResult(key=upload.key, result=ObjectResult.MISSING)
        return refused(upload.key, answer)


def _upload(entry: Mapping[str, Any]) -> Upload:
    return Upload(key=entry["Key"], id=entry["UploadId"], begun_at=believable(entry.get("Initiated")))


def _next_place(answer: Mapping[str, Any], uploads: Sequence[Upload]) -> dict[str, str]:
    """Where the next page begins. Some stores name only the upload: the key is then the last upload's."""
    key = answer.get("NextKeyMarker") or (uploads[-1].key if uploads else "")
    place = {"KeyMarker": key, "UploadIdMarker": answer.get("NextUploadIdMarker")}
    return {name: value for name, value in place.items() if value}
