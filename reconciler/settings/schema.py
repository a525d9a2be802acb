"""Every setting: name, unit, default and why that default, and whether it may change at run time."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from reconciler.model import BreakerLimits, ListingOrder, Mode, Policy
from reconciler.settings import values


class Runtime:
    """Marks a setting that the runtime file may set, and that takes effect without a restart."""


RUNTIME = Runtime()


class MayBeEmpty:
    """Marks a setting for which an empty value has a meaning."""


MAY_BE_EMPTY = MayBeEmpty()


def _secret_url(raw: object) -> SecretStr:
    return SecretStr(values.database_url(raw.get_secret_value() if isinstance(raw, SecretStr) else raw))


def _written(parse: Callable[[object], object]) -> BeforeValidator:
    return BeforeValidator(parse)


Flag: TypeAlias = Annotated[bool, _written(values.boolean)]
Duration: TypeAlias = Annotated[timedelta, _written(values.duration)]
Seconds: TypeAlias = Annotated[timedelta, _written(values.at_least(timedelta(seconds=1), "1s"))]
Days: TypeAlias = Annotated[int, _written(values.whole(0, values.LONGEST.days, "days"))]
Count: TypeAlias = Annotated[int, _written(values.whole(0, 10**12, "keys"))]
Column: TypeAlias = Annotated[str, _written(values.column)]
NoColumn: TypeAlias = Annotated[str, _written(values.column_or_none), MAY_BE_EMPTY]
"""A column's name; empty where the table has no such column."""
Table: TypeAlias = Annotated[str, _written(values.table)]


class Section(BaseModel):
    """A group of settings that share a prefix of their names."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class MediaColumns(Section):
    """Columns of the media table; the defaults are the gateway's own PascalCase names.

    All but the first three may be set to nothing (`""`) where the table has no such column.
    """

    id: Column = "Id"
    """Primary key."""
    storage_key: Column = "StorageKey"
    """The object's key in the bucket."""
    virtual_key_id: Column = "VirtualKeyId"
    """The owner: the id of a virtual key."""
    size_bytes: NoColumn = "SizeBytes"
    """The object's size in bytes; may be NULL or 0."""
    created_at: NoColumn = "CreatedAt"
    """When the row was made; NULL protects, and without the column every row is protected."""
    expires_at: NoColumn = "ExpiresAt"
    """When the media expires; NULL never."""
    last_accessed_at: NoColumn = "LastAccessedAt"
    """Last access; NULL means never accessed. Without the column nothing is ever stale."""
    deleted_at: NoColumn = "DeletedAt"
    """Soft deletion; used where the table has this column."""
    media_type: NoColumn = "MediaType"
    """What kind of media it is, of whatever type; storage is told apart by it where the table has it."""
    provider: NoColumn = "Provider"
    """Who made it; as `media_type`."""


class KeyColumns(Section):
    """Columns of the virtual keys' table; the defaults are the gateway's own PascalCase names."""

    id: Column = "Id"
    """Primary key: integer, bigint, uuid or text."""
    is_enabled: Column = "IsEnabled"
    """Whether the key may be used."""
    expires_at: NoColumn = "ExpiresAt"
    """When the key expires; NULL never."""


class CatalogSettings(Section):
    """Where the gateway keeps its rows. Names are written as Postgres stores them, unquoted."""

    media_table: Table = "MediaRecords"
    """The media table, `table` or `schema.table`. Default: the gateway's own."""
    keys_table: Table = "VirtualKeys"
    """The virtual keys' table, `table` or `schema.table`. Default: the gateway's own."""
    media_columns: MediaColumns = MediaColumns()
    key_columns: KeyColumns = KeyColumns()


class BucketSettings(Section):
    """The bucket. Credentials come from the usual AWS chain (environment, profile, IRSA)."""

    name: Annotated[str, _written(values.bucket_name)]
    """The bucket's name."""
    endpoint_url: Annotated[str | None, _written(values.endpoint_url)] = None
    """Another S3-compatible store's address. Default: AWS."""
    region: Annotated[str | None, _written(values.region)] = None
    """The bucket's region. Default: what the AWS chain says."""
    prefixes: Annotated[tuple[str, ...], _written(values.prefixes)]
    """Managed prefixes, a JSON list such as `["image/", "video/"]`; `[""]` is the whole bucket.
    Nothing outside is ever touched."""
    listing_order: Annotated[
        Literal["probe", "bytes", "none"], _written(values.one_of("probe", "bytes", "none"))
    ] = "probe"
    """`bytes` trusts byte order and StartAfter (still asserted), `none` joins without order.
    Default `probe`: find out, since a wrong guess costs a pass and the probe costs a few requests."""
    request_timeout: Seconds = timedelta(seconds=30)
    """The longest one request may take. 30s: a slow store takes that long
    for a batch of 1,000 deletions."""
    key_shape: Annotated[re.Pattern[str] | None, _written(values.pattern)] = None
    """A regular expression that a whole key matches; keys of another shape are kept and counted.
    Default: none, every key in the prefixes is ours."""

    @property
    def order(self) -> ListingOrder | None:
        """The declared order, or None where it is to be probed."""
        return None if self.listing_order == "probe" else ListingOrder(self.listing_order)


class BreakerSettings(Section):
    """Above any of these a pass is not released."""

    max_fraction: Annotated[float, _written(values.fraction)] = 0.1
    """Share of what was looked at that may go in 24 h. A tenth: retention of a busy day stays well below."""
    max_count: Count = 100_000
    """Keys that may go in 24 h, whatever their share: the bound that still holds in a large bucket."""
    max_dangling: Count = 100
    """Rows without their object that may go in 24 h. Small: each of them is a lost object."""
    min_count: Count = 20
    """Below this many findings the fraction is not asked: one orphan among five objects is no alarm."""


class LeaseSettings(Section):
    """Which replica may act."""

    ttl: Annotated[timedelta, _written(values.at_least(timedelta(seconds=2), "2s"))] = timedelta(seconds=30)
    """How long the work may stand still after a leader vanished: until another one deletes.

    30s: the lease then lasts 15s unless renewed, as leaders' leases in Kubernetes do.
    """

    @property
    def lasts(self) -> timedelta:
        """The lease itself, unless renewed: half of `ttl`.

        Most of what is left then is the former leader's time to object, before the new one deletes.
        """
        return self.ttl / 2


class WebSettings(Section):
    """Where metrics and probes are served."""

    host: Annotated[str, _written(values.host)] = "0.0.0.0"
    """Address to listen on. All of them: Prometheus and the kubelet come from outside the pod."""
    port: Annotated[int, _written(values.whole(0, 65_535, "a port (0 takes a free one)"))] = 8080
    """TCP port; 0 takes a free one."""


class SchemaSettings(BaseSettings):
    """What `migrate --sql` needs: the gateway's schema, and how to log."""

    # `load` reads the sources, since it knows where each value came from; the class itself reads none.
    model_config = SettingsConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    catalog: CatalogSettings = CatalogSettings()
    log_format: Annotated[
        Literal["auto", "console", "json"], _written(values.one_of("auto", "console", "json"))
    ] = "auto"
    """`console` or `json`. Default `auto`: console on a terminal, JSON elsewhere."""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        _written(values.one_of("debug", "info", "warning", "error")),
    ] = "info"
    """The least severe event that is logged; `debug` adds tracebacks."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


class DatabaseSettings(SchemaSettings):
    """What `migrate` needs: the same, and the database."""

    database_url: Annotated[SecretStr, _written(_secret_url)]
    """`postgresql://user:password@host:port/database`, the primary.
    A replica lags, and lag looks like drift."""
    database_url_file: Annotated[str | None, _written(values.file_path)] = None
    """A file that holds the database's URL instead, such as a mounted secret; one line.
    Read again for every new connection, so that a password that was changed needs no restart."""


class Settings(DatabaseSettings):
    """Every setting of the daemon."""

    bucket: BucketSettings

    dry_run: Annotated[Flag, RUNTIME] = True
    """Whether the write gateway refuses. True: nothing is deleted before somebody says so."""
    enable_auto_cleanup: Annotated[Flag, RUNTIME] = True
    """Whether expired, stale, revoked and ownerless media go."""
    orphan_cleanup_enabled: Annotated[Flag, RUNTIME] = True
    """Whether objects without a record go."""
    dangling_cleanup_enabled: Annotated[Flag, RUNTIME] = True
    """Whether records without an object go."""
    media_retention_days: Annotated[int, _written(values.whole(1, values.LONGEST.days, "days")), RUNTIME] = 90
    """Days after which media that is no longer accessed goes. At least 1: 0 would empty the bucket."""
    recent_access_days: Annotated[Days, RUNTIME] = 30
    """Days for which an access protects media beyond its retention."""
    revoked_key_policy: Annotated[
        Literal["keep", "delete"], _written(values.one_of("keep", "delete")), RUNTIME
    ] = "keep"
    """What becomes of the media of a disabled or expired virtual key.
    `keep`: such keys are often enabled again."""
    key_grace: Annotated[Duration, RUNTIME] = timedelta(days=7)
    """How long a key must have been disabled or expired before `delete` applies.
    A week to notice a mistake."""
    max_deletes_per_second: Annotated[float | None, _written(values.rate), RUNTIME] = 100.0
    """Keys a second over all replicas, or `unlimited`. 100: far below what stores throttle at."""
    breaker: Annotated[BreakerSettings, RUNTIME] = BreakerSettings()

    grace_period: Duration = timedelta(hours=48)
    """Minimum age of an object or row before it counts as drift. Two days, for
    late uploads and presigned URLs."""
    delete_delay: Duration = timedelta(hours=24)
    """Time between mark and deletion. A day in which a person can step in."""
    delete_mode: Annotated[
        Literal["auto", "direct", "quarantine", "versioned"],
        _written(values.one_of("auto", "direct", "quarantine", "versioned")),
    ] = "auto"
    """How objects are deleted: `versioned` by a delete marker, `quarantine` after a copy under
    `.reconciler/`, `direct` for good. Default `auto`: versioned where the bucket keeps versions, else
    quarantine, so that what goes can be brought back unless somebody says otherwise."""
    undo_window: Duration = timedelta(days=7)
    """How long what was deleted can be brought back; then copies, hidden versions and removed rows go.
    A week to notice a mistake; until then the bytes are paid for, and prompts are kept."""
    ledger_retention: Annotated[timedelta, _written(values.at_least(timedelta(days=1), "1d"))] = timedelta(
        days=90
    )
    """How long the ledger says what went and why. 90d: a quarter, for whoever asks later; at least 1d, since
    the breaker looks back a day."""
    abort_multipart_after: Duration = timedelta(days=7)
    """Age at which a multipart upload in the managed prefixes that nobody has completed is aborted.
    A week: longer than any upload takes; its parts are paid for, and no listing of objects shows them."""
    upload_window: Duration = timedelta(hours=1)
    """How long a tombstone lives: the longest time from a writer's PUT to its INSERT."""
    sweep_interval: Duration = timedelta(hours=6)
    """Time between two sweeps of the bucket. 6h: a listing of 100 M keys costs half a dollar."""
    retention_interval: Duration = timedelta(minutes=5)
    """Time between two retention passes, which read indexes only."""
    accounting_interval: Annotated[timedelta, _written(values.at_least(timedelta(minutes=1), "1m"))] = (
        timedelta(hours=1)
    )
    """Time between two readings of the whole media table that say how much is stored, by media type and
    provider. 1h: growth shows within hours, and the table is read once."""
    listing_concurrency: Annotated[int, _written(values.whole(1, 1_024, "key ranges at once"))] = 16
    """Key ranges listed at once. 16 streams of 50 ms a page are 300,000 keys a second."""
    delete_concurrency: Annotated[int, _written(values.whole(1, 256, "batches in flight"))] = 32
    """Batches of up to 1,000 deletions in flight, as far as the rate allows.
    32: measured, SeaweedFS goes a quarter faster than with 8."""
    lease: LeaseSettings = LeaseSettings()
    web: WebSettings = WebSettings()

    def policy(self) -> Policy:
        """The desired state, as planning reads it."""
        return Policy(
            prefixes=self.bucket.prefixes,
            grace_period=self.grace_period,
            delete_delay=self.delete_delay,
            media_retention=timedelta(days=self.media_retention_days),
            recent_access=timedelta(days=self.recent_access_days),
            key_grace=self.key_grace,
            delete_revoked=self.revoked_key_policy == "delete",
            auto_cleanup=self.enable_auto_cleanup,
            orphan_cleanup=self.orphan_cleanup_enabled,
            dangling_cleanup=self.dangling_cleanup_enabled,
            key_shape=self.bucket.key_shape,
        )

    def limits(self) -> BreakerLimits:
        """The breaker's limits."""
        return BreakerLimits(**self.breaker.model_dump())

    def mode(self) -> Mode:
        """Whether the write gateway lets writes through."""
        return Mode.DRY_RUN if self.dry_run else Mode.LIVE

    def config_hash(self) -> str:
        """16 hexadecimal digits that change with whatever could change a verdict or a release.

        Policy, limits, bucket, prefixes and the schema's mapping; neither the rate nor logging.
        """
        policy = self.policy()
        shape = policy.key_shape
        parts = {
            "policy": {name: str(getattr(policy, name)) for name in sorted(POLICY_FIELDS)},
            "prefixes": policy.prefixes,
            "key_shape": shape.pattern if shape else None,
            "limits": self.breaker.model_dump(),
            "bucket": [self.bucket.endpoint_url, self.bucket.name],
            # Those columns are only told.
            "catalog": self.catalog.model_dump(exclude={"media_columns": {"media_type", "provider"}}),
        }
        canonical = json.dumps(parts, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


POLICY_FIELDS = frozenset(Policy.__dataclass_fields__) - {"prefixes", "key_shape"}
