"""Every setting: name, unit, default and why that default, and whether it may change at run time."""

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from reconciler.model import FOREVER, BreakerLimits, Mode, Policy, Rules
from reconciler.model.durations import duration_text
from reconciler.settings import addresses, rules, sections, values
from reconciler.settings.types import MAY_BE_EMPTY, RUNTIME, Days, Duration, Flag, written


def _secret_url(raw: object) -> SecretStr:
    return SecretStr(addresses.database_url(raw.get_secret_value() if isinstance(raw, SecretStr) else raw))


def _as_long_as_undo(retention: timedelta, info: ValidationInfo) -> timedelta:
    """The ledger is what rows come back from (R-59)."""
    window = info.data.get("undo_window", retention)
    if retention < window:
        raise ValueError(
            f"must be at least RECONCILER_UNDO_WINDOW ({duration_text(window)}), and is"
            f" {duration_text(retention)}: a row whose line has left the ledger cannot be undone"
        )
    return retention


def _within_reach(retention: rules.RetentionSettings, info: ValidationInfo) -> rules.RetentionSettings:
    bucket, catalog = info.data.get("bucket"), info.data.get("catalog")
    if bucket and catalog and (found := list(rules.misfits(retention, bucket.prefixes, catalog))):
        raise ValueError("; ".join(found))
    quota = info.data.get("quota")
    if retention.source == "conduit" and quota and quota.of_model():
        raise ValueError(
            "SOURCE conduit takes no quota, since its policies have none: unset RECONCILER_QUOTA__MAX_BYTES"
            " and RECONCILER_QUOTA__MAX_OBJECTS"
        )
    return retention


def _elsewhere(quarantine: sections.QuarantineSettings, info: ValidationInfo) -> sections.QuarantineSettings:
    bucket, mode = info.data.get("bucket"), info.data.get("delete_mode")
    if quarantine.bucket is None:
        return quarantine
    if bucket and quarantine.bucket == bucket.name:
        raise ValueError("BUCKET is RECONCILER_BUCKET__NAME: name another bucket, or unset it")
    if mode in {"direct", "versioned"}:
        raise ValueError(f"BUCKET has no effect with RECONCILER_DELETE_MODE={mode}: unset one of them")
    return quarantine


def _known_owners(adoption: sections.AdoptionSettings) -> sections.AdoptionSettings:
    if adoption.enabled and adoption.owner_from is None:
        raise ValueError("ENABLED needs RECONCILER_ADOPTION__OWNER_FROM: nothing says whose objects are")
    return adoption


def _configured(inventory: sections.InventorySettings, info: ValidationInfo) -> sections.InventorySettings:
    sweep = info.data.get("sweep")
    if sweep and sweep.source == "inventory" and inventory.id is None:
        raise ValueError("ID is required with RECONCILER_SWEEP__SOURCE=inventory: name the configuration")
    if sweep and sweep.source == "listing_parquet" and inventory.engine == "ray":
        raise ValueError(
            "ENGINE=ray does not go with RECONCILER_SWEEP__SOURCE=listing_parquet, whose files are on this"
            " machine: use duckdb"
        )
    bucket = info.data.get("bucket")
    plain = bucket and (bucket.endpoint_url or "").startswith("http://")
    if (
        sweep
        and sweep.source == "s3_metadata"
        and plain
        and not (inventory.catalog or "").startswith("http://")
    ):
        # One connection pool serves both, and that of a plain endpoint checks no certificate.
        raise ValueError("CATALOG must be https, and so must RECONCILER_BUCKET__ENDPOINT_URL, or neither")
    return inventory


class SchemaSettings(BaseSettings):
    """What `migrate --sql` needs: the gateway's schema, and how to log."""

    # `load` reads the sources, since it knows where each value came from; the class itself reads none.
    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    catalog: sections.CatalogSettings = sections.CatalogSettings()
    log_format: Annotated[
        Literal["auto", "console", "json"], written(values.one_of("auto", "console", "json"))
    ] = "auto"
    """`console` or `json`. Default `auto`: console on a terminal, JSON elsewhere."""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        written(values.one_of("debug", "info", "warning", "error")),
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

    database_url: Annotated[SecretStr, written(_secret_url)]
    """`postgresql://user:password@host:port/database`, the primary: a replica lags, and lag looks like drift.
    libpq's parameters are read as providers hand them out. Those that change nothing here are ignored
    (`channel_binding`, keepalives), and those that cannot be honoured are refused by name. Settings of the
    server go into `options=-c%20name%3Dvalue`."""
    database_url_file: Annotated[str | None, written(values.file_path)] = None
    """A file that holds the database's URL instead, such as a mounted secret; one line.
    It is read again for every new connection, so a changed password needs no restart."""
    operator: Annotated[str, written(values.person), MAY_BE_EMPTY] = ""
    """Who gives orders where `--by` names no one, for what is recorded about them. Default: the user of the
    shell and the host; in a container those say little."""


class Settings(DatabaseSettings):
    """Every setting of the daemon."""

    bucket: sections.BucketSettings

    dry_run: Annotated[Flag, RUNTIME] = True
    """Refuse every deletion. True: nothing is deleted until you switch it off."""
    enable_auto_cleanup: Annotated[Flag, RUNTIME] = True
    """Retention: delete expired, stale, revoked and ownerless media."""
    orphan_cleanup_enabled: Annotated[Flag, RUNTIME] = True
    """Delete orphans: objects without a record."""
    dangling_cleanup_enabled: Annotated[Flag, RUNTIME] = True
    """Delete dangling records: records without an object."""
    media_retention_days: Annotated[int, written(values.whole(1, values.LONGEST.days, "days")), RUNTIME] = 90
    """Days after which media that is no longer accessed is deleted. At least 1: 0 would empty the bucket."""
    recent_access_days: Annotated[Days, RUNTIME] = 30
    """Days for which an access protects media beyond its retention."""
    revoked_key_policy: Annotated[
        Literal["keep", "delete"], written(values.one_of("keep", "delete")), RUNTIME
    ] = "keep"
    """What happens to the media of a disabled or expired virtual key.
    `keep`: such keys are often enabled again."""
    key_grace: Annotated[Duration, RUNTIME] = timedelta(days=7)
    """How long a key must have been disabled or expired before `delete` applies.
    A week to notice a mistake."""
    max_deletes_per_second: Annotated[float | None, written(values.rate), RUNTIME] = 100.0
    """Keys a second over all replicas, or `unlimited`. 100: far below what stores throttle at."""
    breaker: Annotated[sections.BreakerSettings, RUNTIME] = sections.BreakerSettings()
    approval_ttl: Annotated[timedelta, written(values.at_least(timedelta(hours=1), "1h")), RUNTIME] = (
        timedelta(hours=24)
    )
    """How long an approval counts, for each mark from when it may go: from the approval, or from the end of
    its delay where that is later. What is left then waits for a decision again. 24h: what was looked at
    yesterday may be another thing today; at least 1h, which a collection may take."""

    grace_period: Duration = timedelta(hours=48)
    """Minimum age of an object or row before it counts as drift. Two days, for
    late uploads and presigned URLs."""
    delete_delay: Duration = timedelta(hours=24)
    """Time between mark and deletion. A day in which a person can step in."""
    departure_delay: Duration = timedelta(0)
    """Time between the commit that removes a record and the deletion of its object, where the triggers are
    installed. None: who deletes a record, or its virtual key, waits for that, and it can be undone. With
    `direct` at least DELETE_DELAY."""
    delete_mode: Annotated[
        Literal["auto", "direct", "quarantine", "versioned"],
        written(values.one_of("auto", "direct", "quarantine", "versioned")),
    ] = "auto"
    """How objects are deleted. `versioned`: a delete marker hides each object. `quarantine`: each object is
    copied under `.reconciler/quarantine/` before it is deleted. `direct`: for good, and only by this name.
    Default `auto`: versioned where the bucket keeps versions and a deleted object was seen to come back in
    each managed prefix, else quarantine, so that deletions can be undone. A live run halts where quarantine
    is needed and the store makes no copies."""
    quarantine: Annotated[sections.QuarantineSettings, AfterValidator(_elsewhere)] = (
        sections.QuarantineSettings()
    )
    undo_window: Duration = timedelta(days=7)
    """How long a deletion can be undone; then copies, hidden versions and removed rows are purged.
    A week to notice a mistake; until then the bytes are paid for, and prompts are kept."""
    ledger_retention: Annotated[
        timedelta,
        written(values.at_least(timedelta(days=1), "1d")),
        AfterValidator(_as_long_as_undo),
        Field(validate_default=True),
    ] = timedelta(days=90)
    """How long the ledger says what was deleted and why. 90d: a quarter, for later questions; at least 1d,
    since the breaker looks back a day, and UNDO_WINDOW, since removed rows are kept in it."""
    abort_multipart_after: Duration = timedelta(days=7)
    """Age at which an unfinished multipart upload in the managed prefixes is aborted.
    A week: longer than any upload takes; its parts are paid for, and no listing of objects shows them."""
    hold_for: Annotated[timedelta, written(values.at_least(timedelta(hours=1), "1h"))] = timedelta(days=30)
    """How long a hold of the program's own lasts: on what an undo brought back, and on what the store refuses
    to delete, which is tried again then. 30d: time to find the cause; at least 1h, or the next pass would
    delete again what has just come back."""
    upload_window: Duration = timedelta(hours=1)
    """The longest time from a writer's PUT to its INSERT, and so the life of a tombstone."""
    sweep_interval: Duration = timedelta(hours=6)
    """Time between two sweeps of the bucket. 6h: a listing of 100 M keys costs half a dollar."""
    retention_interval: Duration = timedelta(minutes=5)
    """Time between two retention passes, which read indexes only."""
    sweep: sections.SweepSettings = sections.SweepSettings()
    inventory: Annotated[
        sections.InventorySettings, AfterValidator(_configured), Field(validate_default=True)
    ] = sections.InventorySettings()
    integrity_interval: Annotated[timedelta | None, written(values.interval)] = timedelta(days=7)
    """Time between two sweeps that also compare objects with their rows' sizes, and with MD5s where
    `CATALOG__MEDIA_COLUMNS__CONTENT_HASH` is mapped; or `never`. `plan` compares each time. 7d: it reads the
    whole table, where a sweep otherwise reads an index."""
    accounting_interval: Annotated[timedelta, written(values.at_least(timedelta(minutes=1), "1m"))] = (
        timedelta(hours=1)
    )
    """Time between two readings of the whole media table, which count what is stored by media type and
    provider. 1h: growth shows within hours, and the table is read once. At least 1m."""
    price_per_gib_month: Annotated[float, written(values.price)] = 0.0
    """What the store charges for a GiB a month, in your currency: dashboards and the status page then show
    what drift costs, and what is deleted and not freed yet. 0: not shown, since prices differ too much for a
    guess."""
    listing_concurrency: Annotated[int, written(values.whole(1, 1_024, "key ranges at once"))] = 16
    """Key ranges listed at once. 16 streams of 50 ms a page are 300,000 keys a second."""
    delete_concurrency: Annotated[int, written(values.whole(1, 256, "batches in flight"))] = 32
    """Batches of up to 1,000 deletions in flight, as far as the rate allows.
    32: SeaweedFS was measured a quarter faster than with 8."""
    copy_concurrency: Annotated[int, written(values.whole(1, 1_024, "copies in flight"))] = 128
    """Copies into the quarantine and out of it in flight, fewer while the store throttles.
    128: at 30 ms a copy, 4,000 keys a second."""
    quota: Annotated[sections.QuotaSettings, RUNTIME] = sections.QuotaSettings()
    adoption: Annotated[sections.AdoptionSettings, AfterValidator(_known_owners)] = (
        sections.AdoptionSettings()
    )
    retention: Annotated[rules.RetentionSettings, AfterValidator(_within_reach)] = rules.RetentionSettings()
    lease: sections.LeaseSettings = sections.LeaseSettings()
    web: sections.WebSettings = sections.WebSettings()
    admin: sections.AdminSettings = sections.AdminSettings()
    media: sections.MediaSettings = sections.MediaSettings()
    events: sections.EventsSettings = sections.EventsSettings()
    cdn: sections.CdnSettings = sections.CdnSettings()
    erasure: sections.ErasureSettings = sections.ErasureSettings()

    def policy(self) -> Policy:
        """The desired state, as planning reads it."""
        everyone = Policy(
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
            quota=self.quota.of_model(),
        )
        if self.retention.source == "conduit":
            # Until its policies are read, and for all that has none.
            return replace(everyone, media_retention=FOREVER, soft_delete_grace=FOREVER)
        return replace(everyone, rules=Rules(tuple(each.of_model(everyone) for each in self.retention.rules)))

    def limits(self) -> BreakerLimits:
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
            # The first is only reported, the others are the media service's.
            "catalog": self.catalog.model_dump(
                exclude={"media_columns": {"content_hash", "access_count"}, "key_columns": {"key_hash"}}
            ),
        }
        if self.adoption.enabled:
            parts["adoption"] = str(self.adoption.owner_from)
        canonical = json.dumps(parts, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


POLICY_FIELDS = frozenset(Policy.__dataclass_fields__) - {"prefixes", "key_shape", "quarantine"}
