"""A report's manifest, which is written after its shards, and repeats the configuration that made it.

https://cloud.google.com/storage/docs/insights/inventory-reports. Names are compared as `plainly` spells them,
since the API writes `storageFilters` and a manifest `storage_filters`.

A report's `etag` is that of Google's JSON API. What a HEAD of the S3 API shows is the MD5, as the report's
`md5Hash` has it in another spelling; an object that was composed, or put in parts, has none, and is kept.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from reconciler.errors import InventoryRefused
from reconciler.sources.columns import Columns, Dialect, plainly

NEEDED: Final = ("name", "size", "updated", "md5Hash", "timeDeleted")
"""Fields of the report without which nothing may be nominated."""

_SEPARATORS: Final = frozenset({"\n", "\r\n"})
_SHARD: Final = re.compile(r"[^/]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`filters` are those of the source other than the bucket; `rows` is of all shards together."""

    bucket: str
    filters: tuple[str, ...]
    began_at: datetime
    rows: int
    shards: tuple[str, ...]
    told_shards: int
    columns: Columns

    @property
    def format(self) -> str:
        return "Parquet" if self.columns.dialect is None else "CSV"


def read(name: str, body: bytes) -> Manifest:
    """The manifest. Raises InventoryRefused where it cannot be read as one."""
    try:
        found = _plain(json.loads(body))
        config = found["reportconfig"]
        options = config["objectmetadatareportoptions"]
        source = options["storagefilters"]
        shards = tuple(str(each) for each in found["reportshardsfilenames"])
        if not all(_SHARD.fullmatch(each) for each in shards):
            raise ValueError("a shard is no file beside the manifest")
        began = datetime.fromisoformat(str(found["snapshottime"]))
        return Manifest(
            bucket=str(source["bucket"]),
            filters=tuple(sorted(key for key, value in source.items() if key != "bucket" and value)),
            began_at=began if began.tzinfo else began.replace(tzinfo=UTC),
            rows=int(found["recordsprocessed"]),
            shards=shards,
            told_shards=int(found["shardcount"]),
            columns=_columns(config, tuple(plainly(str(each)) for each in options["metadatafields"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InventoryRefused(f"inventory {name} has a manifest that cannot be read: {error!r}") from None


def fault(found: Manifest, bucket: str) -> str | None:
    """Why the report is not one to be used, or None."""
    if found.bucket != bucket:
        return f"is of bucket {found.bucket!r}, and not of {bucket!r}"
    if found.filters:
        return (
            f"is filtered ({', '.join(found.filters)}): what it leaves out would look missing; configure one"
            " without a filter"
        )
    if lacking := [each for each in NEEDED if plainly(each) not in found.columns.names]:
        return f"lacks the fields {', '.join(lacking)}: add them to the report's configuration"
    if len(found.shards) != found.told_shards or not found.shards:
        return f"names {len(found.shards)} of {found.told_shards} shards"
    dialect = found.columns.dialect
    if dialect and (len(dialect.delimiter) != 1 or dialect.separator not in _SEPARATORS):
        return (
            f"is CSV with {dialect.delimiter!r} between fields and {dialect.separator!r} between records:"
            " only one character, and a line feed, can be read"
        )
    return None


def _columns(config: Mapping[str, Any], names: tuple[str, ...]) -> Columns:
    dialect = None
    if "parquetoptions" not in config:
        options = config["csvoptions"]
        dialect = Dialect(
            delimiter=options.get("delimiter") or ",",
            separator=options.get("recordseparator") or "\n",
            header=bool(options.get("headerrequired")),
        )
    return Columns(
        names,
        key="name",
        size="size",
        modified="updated",
        etag="md5hash",
        deleted="timedeleted",
        md5=True,
        dialect=dialect,
    )


def _plain(found: Any) -> Any:  # noqa: ANN401 - as parsed
    """With every name of an object spelled plainly."""
    if isinstance(found, dict):
        return {plainly(key): _plain(value) for key, value in found.items()}
    return [_plain(each) for each in found] if isinstance(found, list) else found
