"""manifest.json: an inventory's files, and when the store began to look.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from reconciler.errors import InventoryRefused
from reconciler.model import InventoryConfiguration, InventoryFile
from reconciler.sources.columns import Columns, plainly

_MD5: Final = re.compile(r"[0-9a-f]{32}")
_COLUMN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PARQUET: Final = re.compile(r"\b(?:required|optional)\s+\w+\s+(\w+)")
_ORC: Final = re.compile(r"(\w+):\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`began_at` is `creationTimestamp`: when the scan began, and not when it ended."""

    bucket: str
    began_at: datetime
    format: str
    columns: Columns
    files: tuple[InventoryFile, ...]


def read(name: str, body: bytes) -> Manifest:
    """The manifest. Raises InventoryRefused where it cannot be read as one."""
    try:
        found = json.loads(body)
        # A string of milliseconds.
        began = datetime.fromtimestamp(int(found["creationTimestamp"]) / 1000, UTC)
        form = str(found["fileFormat"])
        return Manifest(
            bucket=str(found["sourceBucket"]),
            began_at=began,
            format=form,
            columns=_columns(form, str(found["fileSchema"])),
            files=tuple(_file(each) for each in found["files"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InventoryRefused(f"inventory {name} has a manifest that cannot be read: {error!r}") from None


def fault(found: Manifest, bucket: str, configured: InventoryConfiguration) -> str | None:
    """Why the inventory is not the one that was asked for, or None."""
    if found.bucket != bucket:
        return f"is of bucket {found.bucket!r}, and not of {bucket!r}"
    if found.format != configured.format:
        return f"is in {found.format}, and its configuration says {configured.format}: wait for the next one"
    if found.columns.versions != configured.all_versions:
        other = "all versions" if found.columns.versions else "current versions only"
        return f"lists {other}, and its configuration says otherwise: wait for the next one"
    if lacking := [each for each in found.columns.needed if each not in found.columns.names]:
        return f"lacks the columns {', '.join(lacking)}: wait for one with the optional fields"
    if not found.files:
        return "lists no files"
    return None


def _columns(form: str, schema: str) -> Columns:
    if form == "CSV":
        names = [each.strip() for each in schema.split(",")]
    else:
        names = (_PARQUET if form == "Parquet" else _ORC).findall(schema)
    if not names or not all(_COLUMN.fullmatch(each) for each in names):
        raise ValueError(f"fileSchema {schema[:100]!r}")
    return Columns(tuple(plainly(each) for each in names))


def _file(entry: dict[str, Any]) -> InventoryFile:
    key, size, md5 = str(entry["key"]), int(entry["size"]), str(entry["MD5checksum"]).lower()
    if not key or size < 0 or not _MD5.fullmatch(md5):
        raise ValueError(f"file {entry!r}")
    return InventoryFile(key=key, size=size, md5=md5)
