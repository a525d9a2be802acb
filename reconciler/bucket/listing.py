"""ListObjectsV2, a page a call."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from reconciler.bucket.faults import Refusal
from reconciler.bucket.parsing import parse_page
from reconciler.bucket.retries import Calls
from reconciler.errors import ListingBroken
from reconciler.model import ObjectPage

PAGE_SIZE: Final = 1000
"""Keys a page: the most that stores give. Asked for outright, because SeaweedFS would give more."""


class BucketListing:
    """`ports.Listing` of one bucket. Order is for the reader to assert; what it says of itself is here."""

    def __init__(self, client: Any, bucket: str, calls: Calls) -> None:  # noqa: ANN401 - made at run time
        self._client = client
        self._bucket = bucket
        self._calls = calls

    async def list_page(
        self, prefix: str, *, start_after: str = "", token: str | None = None, page_size: int = PAGE_SIZE
    ) -> ObjectPage:
        """The next page under `prefix`: after `start_after` ("" for the beginning), or by `token`.

        An empty page with a token is legal: go on. Raises StoreUnavailable, ListingBroken, Halt.
        """
        asked = {
            "Bucket": self._bucket,
            "Prefix": prefix,
            "MaxKeys": page_size,
            # Keys may hold what XML cannot; asked for by us, botocore leaves the decoding to us as well.
            "EncodingType": "url",
        }
        if token is not None:
            asked["ContinuationToken"] = token
        elif start_after:
            asked["StartAfter"] = start_after
        call = partial(self._client.list_objects_v2, **asked)
        try:
            page = await self._calls.send("ListObjectsV2", call, _read_page)
        except Refusal as refusal:
            raise self._calls.place.explain("ListObjectsV2", refusal, ListingBroken) from None
        self._check(page, prefix, token)
        return page

    def _check(self, page: ObjectPage, prefix: str, token: str | None) -> None:
        if token is not None and page.next_token == token:
            raise ListingBroken(f"the listing of {self._calls.place} repeats its continuation token")
        # Everything between two strings that start with the prefix starts with it too.
        if page.keys and not (min(page.keys).startswith(prefix) and max(page.keys).startswith(prefix)):
            raise ListingBroken(
                f"the listing of {self._calls.place} names keys outside of the prefix {prefix!r}"
            )


def _read_page(answer: dict[str, Any]) -> ObjectPage:
    return parse_page(answer["Body"])
