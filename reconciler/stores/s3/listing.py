"""ListObjectsV2, one page per call."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.errors import ListingBroken
from reconciler.model import ObjectPage
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.parsing import parse_page
from reconciler.stores.s3.retries import Calls

PAGE_SIZE: Final = 1000
"""Keys per page: the most that stores give. We ask for it explicitly, because SeaweedFS would give more."""
OTHER_SIZES: Final = (613, 97, 1)
"""Sizes to retry an unreadable page with (cut off, or a token that is not XML). They share no divisor."""
_INSIDE: Final = "\0"
"""The first character of our own tokens: NUL, the prefix listed now, NUL, and the store's token."""


class BucketListing:
    """`ports.Listing` of one bucket. It checks each page's own claims; the reader asserts the order."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def list_page(
        self, prefix: str, *, start_after: str = "", token: str | None = None, page_size: int = PAGE_SIZE
    ) -> ObjectPage:
        """The next page under `prefix`: after `start_after` ("" for the beginning), or by `token`.

        An empty page with a token is legal: go on. An unreadable page is requested again in other sizes, so
        that it ends with another key. Raises StoreUnavailable, ListingBroken, Halt.
        """
        inside, place = _place_of(prefix, start_after, token)
        try:
            page = await self._readable(inside, place, page_size)
            page = await self._continued(page, prefix, inside, page_size)
        except Refusal as refusal:
            raise self._calls.place.explain("ListObjectsV2", refusal, ListingBroken) from None
        self._check(page, prefix, token)
        return page

    async def _readable(self, prefix: str, place: Mapping[str, str], page_size: int) -> ObjectPage:
        broken: ListingBroken | None = None
        for size in (page_size, *(each for each in OTHER_SIZES if each < page_size)):
            try:
                return await self._ask(prefix, place, size)
            except ListingBroken as error:
                broken = broken or error
        after = next(iter(place.values()), prefix)
        raise ListingBroken(f"{broken}; the page that cannot be read follows {after!r}")

    async def _ask(self, prefix: str, place: Mapping[str, str], size: int) -> ObjectPage:
        # Keys may hold what XML cannot. Because we ask for the encoding, botocore leaves decoding to us.
        asked = {"Prefix": prefix, "MaxKeys": size, "EncodingType": "url", **place}
        return await self._calls.send("ListObjectsV2", _read_page, **asked)

    async def _continued(self, page: ObjectPage, prefix: str, inside: str, size: int) -> ObjectPage:
        """The page with a token for what follows, even where a full page falsely says that it is the last.

        SeaweedFS 4.48 ends a listing at a full page whose last key `k` has other keys below it, `k/…` (R-77).
        """
        if page.next_token is None and len(page.keys) >= size:
            below = f"{page.keys[-1]}/"
            if (await self._ask(below, {}, 1)).keys:
                return replace(page, next_token=f"{_INSIDE}{below}{_INSIDE}")
        elif page.next_token is not None and inside != prefix:
            return replace(page, next_token=f"{_INSIDE}{inside}{_INSIDE}{page.next_token}")
        return page

    def _check(self, page: ObjectPage, prefix: str, token: str | None) -> None:
        if token is not None and page.next_token == token:
            raise ListingBroken(f"the listing of {self._calls.place} repeats its continuation token")
        # Every string between two that start with the prefix starts with it too.
        if page.keys and not (min(page.keys).startswith(prefix) and max(page.keys).startswith(prefix)):
            raise ListingBroken(
                f"the listing of {self._calls.place} names keys outside of the prefix {prefix!r}"
            )


def _place_of(prefix: str, start_after: str, token: str | None) -> tuple[str, dict[str, str]]:
    """The prefix of the page, and the parameters that request it."""
    if token is not None and token.startswith(_INSIDE):
        _, below, theirs = token.split(_INSIDE, 2)
        return below, {"ContinuationToken": theirs} if theirs else {}
    if token is not None:
        return prefix, {"ContinuationToken": token}
    return prefix, {"StartAfter": start_after} if start_after else {}


def _read_page(answer: dict[str, Any]) -> ObjectPage:
    return parse_page(answer["Body"])
