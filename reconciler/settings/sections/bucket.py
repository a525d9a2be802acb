"""The bucket, its quarantine, and how it is read."""

from datetime import timedelta
from typing import Annotated, Literal

from reconciler.model import KeyShape, ListingOrder
from reconciler.settings import values
from reconciler.settings.types import (
    Seconds,
    Section,
    written,
)


class BucketSettings(Section):
    """The bucket. Credentials come from the usual AWS chain (environment, profile, IRSA)."""

    name: Annotated[str, written(values.bucket_name)]
    """The bucket's name."""
    endpoint_url: Annotated[str | None, written(values.endpoint_url)] = None
    """Another S3-compatible store's address. Default: AWS."""
    region: Annotated[str | None, written(values.region)] = None
    """The bucket's region. Default: what the AWS chain says."""
    addressing_style: Annotated[
        Literal["auto", "path", "virtual"], written(values.one_of("auto", "path", "virtual"))
    ] = "auto"
    """Where a request names the bucket: `path` in the path, `virtual` in the host name, which some stores
    demand. Default `auto`: what the AWS configuration says (`s3.addressing_style`), else the path at an
    endpoint, and AWS's own choice without one."""
    prefixes: Annotated[tuple[str, ...], written(values.prefixes)]
    """Managed prefixes, a JSON list such as `["image/", "video/"]`, each ending in `/`; `[""]` is the whole
    bucket. Nothing outside is ever touched."""
    listing_order: Annotated[
        Literal["probe", "bytes", "none"], written(values.one_of("probe", "bytes", "none"))
    ] = "probe"
    """`bytes` trusts byte order and StartAfter (still asserted), `none` joins without order.
    Default `probe`: find out, since a wrong guess costs a pass and the probe costs a few requests."""
    request_timeout: Seconds = timedelta(seconds=30)
    """The longest that one request may take. 30s: a slow store takes that long
    for a batch of 1,000 deletions."""
    key_shape: Annotated[KeyShape | None, written(values.pattern)] = None
    """A regular expression in RE2's syntax that a whole key matches; other keys are kept and
    counted. Default: none, every key in the prefixes is ours."""

    @property
    def style(self) -> str | None:
        """The declared addressing style, or None where the AWS configuration decides."""
        return None if self.addressing_style == "auto" else self.addressing_style

    @property
    def order(self) -> ListingOrder | None:
        """The declared order, or None where it is to be probed."""
        return None if self.listing_order == "probe" else ListingOrder(self.listing_order)


class QuarantineSettings(Section):
    """Where the copies of deleted objects are."""

    bucket: Annotated[str | None, written(values.bucket_name)] = None
    """Another bucket at the same endpoint for the copies, such as where a collector of another program would
    take them for objects without a record. `.reconciler/quarantine-of/` there says whose they are. Copies
    made before a change stay where they are, and are brought back from and purged there. Default: the copies
    stay in the bucket."""


class SweepSettings(Section):
    """How a sweep learns what the bucket holds."""

    source: Annotated[
        Literal["list", "inventory", "s3_metadata", "listing_parquet"],
        written(values.one_of("list", "inventory", "s3_metadata", "listing_parquet")),
    ] = "list"
    """`list` lists the bucket; `inventory` takes the newest S3 Inventory report instead, `s3_metadata` the
    live inventory table of Amazon S3 Metadata; `listing_parquet` lists it to local disk and compares there,
    for more keys than the database or one process should hold. All but the first need the extra
    `.[inventory]`. See [scale](scale.md). Default: `list`, which needs nothing configured and sees what is
    there now."""


class InventorySettings(Section):
    """The bucket's inventory, where `SWEEP__SOURCE` is not `list`. See [scale](scale.md)."""

    id: Annotated[str | None, written(values.claim)] = None
    """The id of the bucket's inventory configuration: in Parquet, ORC or CSV, without a filter, with the
    optional fields Size, LastModifiedDate and ETag. Its destination, in the same store, is read with the same
    credentials. Required for `inventory`."""
    destination: Annotated[str | None, written(values.reports)] = None
    """Where Google's Storage Insights leaves its reports, as `gs://BUCKET/PATH`. They are taken then, and not
    S3 Inventory's: Parquet or CSV with the fields name, size, updated, md5Hash and timeDeleted. `ID` is the
    configuration's UUID. Default: none; S3's configuration names its destination itself."""
    engine: Annotated[Literal["duckdb", "ray"], written(values.one_of("duckdb", "ray"))] = "duckdb"
    """`duckdb` compares in this process; `ray` on many machines (extra `.[ray]`): on the cluster at
    `RAY_ADDRESS`, or without it on this machine. Default: `duckdb`, which starts nothing."""
    catalog: Annotated[str | None, written(values.endpoint_url)] = None
    """For `s3_metadata`: the address of the Iceberg REST catalog that has the table, asked with the bucket's
    credentials. Default: that of S3 Tables in the bucket's region."""
    max_age: Annotated[timedelta, written(values.at_least(timedelta(hours=1), "1h"))] = timedelta(hours=72)
    """How long ago an inventory may have begun. 72h: a daily one is up to a day under way, and one may be
    late. At least 1h."""
    memory: Annotated[int, written(values.memory)] = 1024**3
    """Memory that the comparison may take; what does not fit goes to disk. 1GiB; at least 512MiB."""
    disk: Annotated[int, written(values.room)] = 40 * 1024**3
    """What the inventory's files may take on local disk, and again what the comparison puts there. 40GiB: for
    some 300 million objects."""
    directory: Annotated[str | None, written(values.file_path)] = None
    """The folder for both. Default: the system's for temporary files."""
