"""Find the snapshot of a bucket's live inventory table, and the Parquet files that it is made of.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/metadata-tables-inventory-schema.html
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from reconciler.errors import InventoryRefused
from reconciler.model import InventoryUsed, MetadataTable
from reconciler.ports import Files
from reconciler.sources import engine, fetching, tasks
from reconciler.sources.adapters import Found
from reconciler.sources.columns import Columns

LAG: Final = timedelta(hours=1)
"""S3 brings changes into the table "typically within one hour": older ones are in a snapshot."""

AT_ONCE: Final = 4


class S3Metadata:
    """`sources.adapters.Adapter`: the live inventory table of a bucket, by an Iceberg REST catalog."""

    def __init__(
        self,
        bucket: str,
        ask: Callable[[], Awaitable[MetadataTable | None]],
        load: Callable[[MetadataTable], Awaitable[Mapping[str, Any]]],
        files_of: Callable[[str], Files],
    ) -> None:
        """`ask` is what the store says of the table, `load` the catalog's answer to loadTable.

        `files_of` opens a bucket by its name. Raises ConfigError where the extra is not installed.
        """
        engine.require_extra("s3_metadata", "duckdb", "pyarrow", "pyiceberg")
        self._bucket = bucket
        self._ask = ask
        self._load = load
        self._files_of = files_of

    async def newest(self) -> Found:
        # The state comes first: a snapshot that is loaded after it holds what was filled until then.
        table = await self._ask()
        if (reason := fault(table)) or table is None:
            raise InventoryRefused(reason)
        from reconciler.sources.s3_metadata import iceberg  # noqa: PLC0415 - an extra of its own

        current = iceberg.current(await self._load(table), str(table))
        read: dict[str, bytes] = {}
        files = self._files_of(iceberg.bucket_of(current.manifest_list))

        async def fetch(location: str) -> None:
            read[location] = await fetching.read(files, iceberg.key_of(location, current.manifest_list))

        await fetch(current.manifest_list)
        await tasks.each(iceberg.manifests(current, read), fetch, at_once=AT_ONCE)
        planned = iceberg.plan(current, read)
        used = InventoryUsed(
            name=current.name,
            digest=current.digest,
            began_at=current.made_at - LAG,
            delivered_at=current.made_at,
        )
        return Found(
            used=used,
            files=files,
            listed=planned.files,
            format="Parquet",
            columns=Columns(bucket=self._bucket, sequence="sequencenumber"),
            rows=planned.rows,
            parts_dated_by_start=True,
        )


def fault(table: MetadataTable | None) -> str | None:
    """Why nothing of the table may be used, in one line, or None."""
    if table is None:
        return "the bucket has no S3 Metadata configuration: create one with a live inventory table"
    if not table.enabled:
        return "the bucket's live inventory table is disabled: enable it, and wait until it is filled"
    if table.error:
        return f"the bucket's live inventory table has failed: {table.error}"
    if table.status != "ACTIVE":
        return (
            f"the bucket's live inventory table is {table.status or 'of no known state'}, and not ACTIVE:"
            " until it is filled, it lists a part of the bucket"
        )
    if not (table.warehouse and table.namespace and table.name):
        return "the store does not say where the bucket's live inventory table is"
    return None
