"""Probe PUT: whether the object shows in the listing and has an ETag, and what the store does with If-Match.

Ceph 16 answers 412 to the right ETag as HTTP writes it, in quotes, and compares one without; where its bucket
keeps versions it refuses every ETag. MinIO and JuiceFS overwrite any object. Swift does not know conditions.
"""

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
    """What a PUT leaves behind, and the condition that it compares first."""

    lists: bool
    etags: bool
    condition: PutCondition


async def probe_writing(scratch: Scratch, listing: BucketListing) -> Writing:
    """Probe PUT, in about five successive requests."""
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
        return True  # the probe of the order finds out what such a listing shows


async def probe_condition(scratch: Scratch) -> PutCondition:
    """How an existing object is written with a right and a wrong ETag."""
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
    """Whether the PUT succeeds. The bytes are always the same, so the right ETag stays the same."""
    try:
        await scratch.write(key, key.encode(), IfMatch=etag)
    except Refusal as refusal:
        if refusal.fatal or refusal.denied:
            raise
        return False
    return True
