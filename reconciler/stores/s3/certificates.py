"""Copies of the certificates of erasures, under `.reconciler/` in the bucket."""

from collections.abc import Collection

from reconciler.errors import Halt
from reconciler.model import CERTIFICATES
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.listing import BucketListing
from reconciler.stores.s3.retries import Calls


class BucketCertificates:
    """`ports.Certificates` of one bucket."""

    def __init__(self, calls: Calls, listing: BucketListing) -> None:
        self._calls = calls
        self._listing = listing

    async def names(self) -> Collection[str]:
        """The keys of all of them. Raises StoreUnavailable, ListingBroken, Halt."""
        found, token = set[str](), None
        while True:
            page = await self._listing.list_page(CERTIFICATES, token=token)
            found.update(page.keys)
            token = page.next_token
            if token is None:
                return found

    async def read(self, name: str) -> str:
        """The document. Raises StoreUnavailable, and Halt where it cannot be read."""
        try:
            return await self._calls.carry_out("GetObject", lambda: self._fetch(name), lambda got: got)
        except Refusal as refusal:
            raise self._calls.place.explain("GetObject", refusal, Halt) from None

    async def put(self, name: str, document: str) -> None:
        """Write one; its name tells it from any other. Raises StoreUnavailable, Halt."""
        asked = {"Key": name, "Body": document.encode(), "ContentType": "application/json"}
        try:
            await self._calls.send("PutObject", lambda _: None, **asked)
        except Refusal as refusal:
            raise self._calls.place.explain("PutObject", refusal, Halt) from None

    async def _fetch(self, name: str) -> str:
        answer = await self._calls.client.get_object(Bucket=self._calls.bucket, Key=name)
        async with answer["Body"] as stream:
            return bytes(await stream.read()).decode(errors="replace")
