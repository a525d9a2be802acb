"""In what order the store lists, whether StartAfter begins where it says, and whether keys come back as put.

SeaweedFS lists `a/b` before `a!`, and `a//b` as `a/b`; directory buckets of S3 list in no order; gateways
over a file system cannot have `a` beside `a/b`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from reconciler.errors import ListingBroken
from reconciler.model import ListingOrder
from reconciler.stores.s3.concurrency import side_by_side
from reconciler.stores.s3.listing import BucketListing
from reconciler.stores.s3.probing.scratch import Scratch

_NAMES: Final = ("B", "a", "a!", "a/b", "a/b/c", "a0", "b/1", "b/2", "\uff5e", "\U0001f600")
"""Where orders differ: case, a file beside a directory of its name, characters below `/`, and two that
UTF-16 sorts the other way round."""
_STARTS: Final = ("A", "a", "a!", "a/", "a/b", "a/b/z", "a/zz", "b", "c", "\uff5e")
"""StartAfter at keys, between them, at directories, inside them and past their end."""
_SPELLINGS: Final = (
    "two//slashes",
    "back\\slash",
    "Case",
    "case ",
    "dot.",
    "e\u0301",
    "\u00e9",
    "a+b",
    "a%2Fb",
    "a%20b",
)
"""What file systems, and gateways over them, are known to make something else of; each on its own, since
what rewrites one may leave another. SeaweedFS makes `/` of the first two, JuiceFS of the first alone."""
_STEP: Final = 3
"""Keys a page while the tokens are tried: entries and directories are cut in all places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """What the listing can be trusted with."""

    order: ListingOrder
    start_after: bool
    rewrites_keys: bool


async def probe_ordering(scratch: Scratch, listing: BucketListing, declared: ListingOrder | None) -> Ordering:
    """About 35 requests, most of them side by side; a third of them where an order is `declared`.

    A declared order is believed, unless the store rewrites keys: such a listing cannot be merged with
    the rows in any order.
    """
    root = f"{scratch.root}order/"
    if declared is not None:
        rewrites = await _rewrites(scratch, listing)
        order = ListingOrder.NONE if rewrites else declared
        return Ordering(order=order, start_after=order is ListingOrder.BYTES, rewrites_keys=rewrites)
    stored = await side_by_side([partial(scratch.try_put, root + name) for name in _NAMES])
    if not all(stored):
        # A file system has no file beside a directory of its name. What takes no key at all raises here.
        await scratch.put(f"{scratch.root}plain")
        rewrites = await _rewrites(scratch, listing)
        return Ordering(order=ListingOrder.NONE, start_after=False, rewrites_keys=rewrites)
    by_token, (start_after, rewrites) = (
        await _by_token(root, listing),
        await side_by_side([partial(_starts_after, root, listing), partial(_rewrites, scratch, listing)]),
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


async def _rewrites(scratch: Scratch, listing: BucketListing) -> bool:
    """Whether any key that the store takes does not come back as it was put.

    Each has a directory of its own: what two are made into would hide that one of them is gone.
    """
    roots = [f"{scratch.root}odd/{number:02}/" for number in range(len(_SPELLINGS))]
    keys = [root + name for root, name in zip(roots, _SPELLINGS, strict=True)]
    taken = await side_by_side([partial(scratch.try_put, key) for key in keys])
    listed = await side_by_side([partial(_listed, root, scratch, listing) for root in roots])
    return any(
        took and names is not None and names != [key]
        for key, took, names in zip(keys, taken, listed, strict=True)
    )


async def _listed(root: str, scratch: Scratch, listing: BucketListing) -> Sequence[str] | None:
    """What lies there; it goes at the end, whatever it is called. None where the listing is broken."""
    try:
        keys = (await listing.list_page(root)).keys
    except ListingBroken:
        return None
    for key in keys:
        scratch.expect(key)
    return list(keys)
