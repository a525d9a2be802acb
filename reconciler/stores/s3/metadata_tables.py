"""The bucket's S3 Metadata: its live inventory table, and the Iceberg REST catalog that knows the table."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from reconciler.errors import Halt, StoreUnavailable
from reconciler.model import MetadataTable
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.retries import Calls

_OPERATION: Final = "GetBucketMetadataConfiguration"
_LOAD: Final = "LoadTable"
_SERVICE: Final = "s3tables"
_NO_SUCH: Final = frozenset({"MetadataConfigurationNotFound", "404"})


async def metadata_table(calls: Calls) -> MetadataTable | None:
    """The bucket's live inventory table; None where none is configured. Raises StoreUnavailable, Halt."""
    try:
        return await calls.send(_OPERATION, _read)
    except Refusal as refusal:
        if refusal.code in _NO_SUCH or refusal.missing:
            return None
        raise calls.place.explain(_OPERATION, refusal, StoreUnavailable) from None


async def load_table(calls: Calls, catalog: str | None, table: MetadataTable) -> Mapping[str, Any]:
    """The answer to loadTable of the Iceberg REST catalog at that address, None for S3 Tables' own.

    Raises StoreUnavailable, Halt.
    """
    base = catalog or f"https://{_SERVICE}.{calls.client.meta.region_name}.amazonaws.com/iceberg"
    try:
        config = await _get(calls, f"{base}/v1/config?warehouse={quote(table.warehouse, safe='')}")
        told = {**(config.get("defaults") or {}), **(config.get("overrides") or {})}
        # Of S3 Tables it is the warehouse's ARN, percent-encoded already; others have none.
        prefix = f"{told['prefix']}/" if told.get("prefix") else ""
        place = f"namespaces/{quote(table.namespace, safe='')}/tables/{quote(table.name, safe='')}"
        return await _get(calls, f"{base}/v1/{prefix}{place}?snapshots=refs")
    except Refusal as refusal:
        raise calls.place.explain(_LOAD, refusal, Halt if refusal.missing else StoreUnavailable) from None


async def _get(calls: Calls, url: str) -> Mapping[str, Any]:
    return await calls.carry_out(_LOAD, lambda: calls.client.get_signed(_LOAD, _SERVICE, url), _as_json)


def _as_json(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refusal("Unreadable", "the table catalog's answer is no JSON object", status=0)
    return found


def _read(answer: Mapping[str, Any]) -> MetadataTable | None:
    result = answer.get("GetBucketMetadataConfigurationResult") or {}
    found: Mapping[str, Any] = result.get("MetadataConfigurationResult") or {}
    to: Mapping[str, Any] = found.get("DestinationResult") or {}
    inventory: Mapping[str, Any] | None = found.get("InventoryTableConfigurationResult")
    if not inventory:
        return None
    error: Mapping[str, Any] = inventory.get("Error") or {}
    return MetadataTable(
        enabled=inventory.get("ConfigurationState") == "ENABLED",
        status=str(inventory.get("TableStatus") or ""),
        error=" ".join(filter(None, (error.get("ErrorCode"), error.get("ErrorMessage")))),
        warehouse=str(to.get("TableBucketArn") or ""),
        namespace=str(to.get("TableNamespace") or ""),
        name=str(inventory.get("TableName") or ""),
    )
