"""In what order the store lists, whether StartAfter begins where it says, and whether keys come back as put.

SeaweedFS lists `a/b` before `a!`, and `a//b` as `a/b`; directory buckets of S3 list in no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from reconciler.bucket.concurrency import side_by_side
from reconciler.bucket.faults import Refusal
from reconciler.bucket.listing import BucketListing
from reconciler.bucket.probing.scratch import Scratch
from reconciler.errors import ListingBroken
from reconciler.model import ListingOrder

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """What the listing can be trusted with."""

    order: ListingOrder
    start_after: bool
    rewrites_keys: bool


async def probe_ordering(scratch: Scratch, listing: BucketListing, declared: ListingOrder | None) -> Ordering:
    """About 25 requests, most of them side by side; two where an order is `declared`.

    A declared order is believed, unless the store rewrites keys: such a listing cannot be merged with
    the rows in any order.
    """
    root, odd = f"{scratch.root}order/", f"{scratch.root}odd/"
    if declared is not None:
        rewrites = await _rewrites(odd, scratch, listing)
        order = ListingOrder.NONE if rewrites else declared
        return Ordering(order=order, start_after=order is ListingOrder.BYTES, rewrites_keys=rewrites)
    await scratch.put_all([root + name for name in _NAMES])
    by_token, (start_after, rewrites) = (
        await _by_token(root, listing),
        await side_by_side(
            [partial(_starts_after, root, listing), partial(_rewrites, odd, scratch, listing)]
        ),
    )
    # A listing that names rows' keys otherwise cannot be merged with them, in any order.
    sorted_ = by_token == _expected(root) and start_after and not rewrites
    return Ordering(
        order=ListingOrder.BYTES if sorted_ else ListingOrder.NONE,
        start_after=start_after,
        rewrites_keys=rewrites,
    )


def _expected(root: str, after: str = "") -> list[str]:
    """Code points: the byte order of UTF-8."""
    return sorted(root + name for name in _NAMES if root + name > after)


async def _by_token(root: str, listing: BucketListing) -> Sequence[str]:
    """The scratch keys as the tokens give them; nothing where the listing contradicts itself."""
    keys: list[str] = []
    token = None
    try:
        while len(keys) <= len(_NAMES):
            page = await listing.list_page(root, token=token, page_size=_STEP)
            keys += page.keys
            token = page.next_token
            if token is None:
                return keys
    except ListingBroken:
        pass
    return ()


async def _starts_after(root: str, listing: BucketListing) -> bool:
    try:
        pages = await side_by_side(
            [partial(listing.list_page, root, start_after=root + start) for start in _STARTS]
        )
    except ListingBroken:
        return False
    return all(
        sorted(page.keys) == _expected(root, root + start) for start, page in zip(_STARTS, pages, strict=True)
    )


async def _rewrites(root: str, scratch: Scratch, listing: BucketListing) -> bool:
    """Whether a key comes back as the one that a file system makes of it."""
    scratch.expect(root + _REWRITTEN)
    try:
        await scratch.put(root + _ODD)
        page = await listing.list_page(root)
    except (Refusal, ListingBroken):
        return False
    return root + _REWRITTEN in page.keys
