"""Whether what is put shows in the listing and has an ETag, and what becomes of If-Match on a PUT.

Ceph 16 answers 412 to the right ETag as HTTP writes it, in quotes, and compares one without; where its bucket
keeps versions it refuses every one. MinIO and JuiceFS write whatever stands there. Swift knows no conditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reconciler.errors import ListingBroken
from reconciler.model import PutCondition
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.listing import BucketListing
from reconciler.stores.s3.probing.scratch import Scratch

_WRONG_ETAG: Final = "00000000000000000000000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What a PUT leaves behind, and what it compares before."""

    lists: bool
    etags: bool
    condition: PutCondition


async def probe_writing(scratch: Scratch, listing: BucketListing) -> Writing:
    """About five requests, one after the other."""
    key = f"{scratch.root}write"
    await scratch.put(key)
    return Writing(
        lists=await _lists(listing, key),
        etags=bool(await scratch.etag(key)),
        condition=await probe_condition(scratch),
    )


async def _lists(listing: BucketListing, key: str) -> bool:
    try:
        return key in (await listing.list_page(key)).keys
    except ListingBroken:
        return True  # what it shows is another matter, which asking for the order finds out


async def probe_condition(scratch: Scratch) -> PutCondition:
    """What a right ETag and a wrong one come to on an object that stands there."""
    key = f"{scratch.root}condition"
    etag = (await scratch.put(key)).etag
    if await _writes(scratch, key, f'"{_WRONG_ETAG}"'):
        return PutCondition.IGNORED
    if await _writes(scratch, key, f'"{etag}"'):
        return PutCondition.COMPARED
    if await _writes(scratch, key, etag) and not await _writes(scratch, key, _WRONG_ETAG):
        return PutCondition.UNQUOTED
    return PutCondition.REFUSED


async def _writes(scratch: Scratch, key: str, etag: str) -> bool:
    """Always the same bytes, so that the right ETag stays what it was."""
    try:
        await scratch.write(key, key.encode(), IfMatch=etag)
    except Refusal as refusal:
        if refusal.fatal or refusal.denied:
            raise
        return False
    return True
