"""The bucket's inventories: how they are configured, and the bucket in which their files lie."""

from collections.abc import Mapping
from typing import Any, Final

from reconciler.errors import StoreUnavailable
from reconciler.model import InventoryConfiguration, ObjectPage
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.listing import BucketListing
from reconciler.stores.s3.reading import Body, BucketReader
from reconciler.stores.s3.retries import Calls

_OPERATION: Final = "GetBucketInventoryConfiguration"
_NO_SUCH: Final = frozenset({"NoSuchConfiguration", "NoSuchInventoryConfig", "404"})
"""AWS's word, moto's, and none."""


class BucketFiles:
    """`ports.Files` of one bucket."""

    def __init__(self, listing: BucketListing, reader: BucketReader) -> None:
        self._listing = listing
        self._reader = reader

    async def list_page(self, prefix: str, *, start_after: str = "") -> ObjectPage:
        return await self._listing.list_page(prefix, start_after=start_after)

    async def open(self, key: str) -> Body | None:
        return await self._reader.open(key)


async def inventory_configuration(calls: Calls, inventory: str) -> InventoryConfiguration | None:
    """The configuration of that id; None where the bucket has none. Raises StoreUnavailable, Halt."""
    try:
        return await calls.send(_OPERATION, _read, Id=inventory)
    except Refusal as refusal:
        if refusal.code in _NO_SUCH or refusal.missing:
            return None
        raise calls.place.explain(_OPERATION, refusal, StoreUnavailable) from None


def _read(answer: Mapping[str, Any]) -> InventoryConfiguration:
    found: Mapping[str, Any] = answer.get("InventoryConfiguration") or {}
    to: Mapping[str, Any] = (found.get("Destination") or {}).get("S3BucketDestination") or {}
    return InventoryConfiguration(
        id=str(found.get("Id") or ""),
        enabled=bool(found.get("IsEnabled")),
        filters=_filters(found.get("Filter")),
        all_versions=found.get("IncludedObjectVersions") != "Current",
        format=str(to.get("Format") or ""),
        destination=str(to.get("Bucket") or "").rpartition(":")[2],
        prefix=str(to.get("Prefix") or ""),
        fields=frozenset(found.get("OptionalFields") or ()),
    )


def _filters(found: Any) -> str:  # noqa: ANN401 - as parsed
    if not found:
        return ""
    return str(found.get("Prefix") or "") if set(found) <= {"Prefix"} else repr(dict(found))
