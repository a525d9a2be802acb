"""Probe the listing: its order, where StartAfter begins, and whether keys come back as they were put.

SeaweedFS lists `a/b` before `a!`, and `a//b` as `a/b`; directory buckets of S3 list in no order; gateways
over a file system cannot have both `a` and `a/b`.
"""

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
"""Names at which orders differ: case, a file and a directory of the same name, characters below `/`, and two
characters that UTF-16 sorts the other way round."""
_STARTS: Final = ("A", "a", "a!", "a/", "a/b", "a/b/z", "a/zz", "b", "c", "\uff5e")
"""Values of StartAfter at keys, between them, at directories, inside them and past their end."""
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
"""Names that file systems, and gateways over them, are known to rewrite. Each is tried on its own, since a
store may rewrite one and leave another. SeaweedFS makes `/` of the first two, JuiceFS of the first alone."""
_STEP: Final = 3
"""Keys per page while the tokens are tried: page ends then fall between and inside all directories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """What can be relied on in the listing."""

    order: ListingOrder
    start_after: bool
    rewrites_keys: bool


async def probe_ordering(scratch: Scratch, listing: BucketListing, declared: ListingOrder | None) -> Ordering:
    """Probe the listing in about 35 requests, most of them concurrent; a third where an order is `declared`.

    A declared order is trusted unless the store rewrites keys: such a listing cannot be merged with
    the rows in any order.
    """
    root = f"{scratch.root}order/"
    if declared is not None:
        rewrites = await _rewrites(scratch, listing)
        order = ListingOrder.NONE if rewrites else declared
        return Ordering(order=order, start_after=order is ListingOrder.BYTES, rewrites_keys=rewrites)
    stored = await side_by_side([partial(scratch.try_put, root + name) for name in _NAMES])
    if not all(stored):
        # A file system cannot have a file and a directory of one name. A store that takes no key raises here.
        await scratch.put(f"{scratch.root}plain")
        rewrites = await _rewrites(scratch, listing)
        return Ordering(order=ListingOrder.NONE, start_after=False, rewrites_keys=rewrites)
    by_token, (start_after, rewrites) = (
        await _by_token(root, listing),
        await side_by_side([partial(_starts_after, root, listing), partial(_rewrites, scratch, listing)]),
    )
    # A listing that spells keys differently from the rows cannot be merged with them, in any order.
    sorted_ = by_token == _expected(root) and start_after and not rewrites
    return Ordering(
        order=ListingOrder.BYTES if sorted_ else ListingOrder.NONE,
        start_after=start_after,
        rewrites_keys=rewrites,
    )


def _expected(root: str, after: str = "") -> list[str]:
    """The keys in order of code points, which is the byte order of UTF-8."""
    return sorted(root + name for name in _NAMES if root + name > after)


async def _by_token(root: str, listing: BucketListing) -> Sequence[str]:
    """The scratch keys in the order of pages by token; none where the listing contradicts itself."""
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

    Each key has its own directory: two keys rewritten to one name would hide that one of them is gone.
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
    """The keys found there, which are deleted at the end under any name. None where the listing is broken."""
    try:
        keys = (await listing.list_page(root)).keys
    except ListingBroken:
        return None
    for key in keys:
        scratch.expect(key)
    return list(keys)
