"""The groups of settings that share a prefix: name, unit, default and why that default."""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from reconciler import model
from reconciler.model import AdoptionTerms, KeyShape, ListingOrder, OwnerFrom, Quota, ValueFrom
from reconciler.settings import adoption, identifiers, values
from reconciler.settings.types import (
    MAY_BE_EMPTY,
    Bytes,
    Column,
    Columns,
    Count,
    Duration,
    Evict,
    Flag,
    NoColumn,
    NoTable,
    Objects,
    QuotaOwner,
    Seconds,
    Section,
    Table,
    written,
)


class MediaColumns(Section):
    """Columns of the media table; the defaults are the gateway's own PascalCase names.

    All but the first two may be set to nothing (`""`) where the table has no such column.
    """

    id: Columns = "Id"
    """Primary key: one column, or several with commas between them (`id,created_at`). Where the named columns
    are not unique, the primary key that includes them is the id."""
    storage_key: Column = "StorageKey"
    """The object's key in the bucket."""
    virtual_key_id: NoColumn = "VirtualKeyId"
    """The owner: the id of a virtual key. Only without a table of keys may it be set to nothing."""
    size_bytes: NoColumn = "SizeBytes"
    """The object's size in bytes; may be NULL or 0."""
    created_at: NoColumn = "CreatedAt"
    """When the row was made; NULL protects, and without the column every row is protected."""
    expires_at: NoColumn = "ExpiresAt"
    """When the media expires; never, where it is NULL or no time."""
    last_accessed_at: NoColumn = "LastAccessedAt"
    """Last access; NULL means never accessed, and a value that is no time (year 1, infinity) protects.
    Without the column nothing is ever stale."""
    deleted_at: NoColumn = "DeletedAt"
    """Soft deletion; used where the table has this column."""
    media_type: NoColumn = "MediaType"
    """The kind of media, a column of any type. Where the table has this column, storage is counted by it, and
    rules of retention may match it."""
    provider: NoColumn = "Provider"
    """Who made the media; used like `media_type`."""
    model: NoColumn = "Model"
    """What made the media, a column of any type. Rules of retention may match it where the table has it."""
    content_hash: NoColumn = ""
    """The MD5 of the object's bytes, 32 hexadecimal digits; other hashes are not compared. Map it only where
    the store's ETags are MD5s: of objects put in one part, and not encrypted with SSE-KMS or SSE-C. Default:
    none, and only sizes are compared."""
    access_count: NoColumn = "AccessCount"
    """How often the media was accessed, which the media service writes. Used where the table has this
    column."""


class KeyColumns(Section):
    """Columns of the virtual keys' table; the defaults are the gateway's own PascalCase names."""

    id: Column = "Id"
    """Primary key: an integer type, numeric, uuid or text; one column."""
    is_enabled: Column = "IsEnabled"
    """Whether the key may be used: boolean, or a number that is not 0."""
    expires_at: NoColumn = "ExpiresAt"
    """When the key expires; NULL never."""
    group_id: NoColumn = "VirtualKeyGroupId"
    """The group that the key belongs to, a column of any type. Rules of retention may match it where the
    table has this column."""
    key_hash: NoColumn = "KeyHash"
    """The SHA-256 of the key, in lower-case hexadecimal digits: by it the media service knows who asks. Used
    where the table has this column."""


class CatalogSettings(Section):
    """Where the gateway keeps its rows. Names are written as Postgres stores them, unquoted."""

    media_table: Table = "MediaRecords"
    """The media table, `table` or `schema.table`. Default: the gateway's own."""
    keys_table: NoTable = "VirtualKeys"
    """The virtual keys' table, `table` or `schema.table`. Default: the gateway's own. Empty where there is
    none: then nothing is ownerless or revoked, and `MEDIA_COLUMNS__VIRTUAL_KEY_ID` may be empty too."""
    media_where: Annotated[dict[str, str], written(identifiers.row_filter)] = Field(default_factory=dict)
    """Rows that count, by the value of a column: `MEDIA_WHERE__bucket_id=avatars` where two buckets share a
    table. Rows of another value name another bucket's objects: they are neither read nor missing their
    objects, and protect nothing here. Default: every row."""
    variant_columns: Annotated[tuple[str, ...], written(identifiers.columns)] = ()
    """Columns of the media table that name further objects: a JSON list such as `["ThumbnailKey"]`. Such an
    object is kept as long as a row names it, and is deleted with that row."""
    also_referenced: Annotated[tuple[str, ...], written(identifiers.references)] = ()
    """Columns of any table or view that name objects: a JSON list of `schema.table.column`, such as
    `["app.users.avatar"]`. An object that any of them names is kept, whatever happens to its record."""
    media_columns: MediaColumns = MediaColumns()
    key_columns: KeyColumns = KeyColumns()
    time_zone: Annotated[str | None, written(values.time_zone)] = None
    """The place whose time columns without a zone (`timestamp`, `date`) have, such as `America/New_York`.
    Default: UTC, as most programs write them; `doctor` warns where the database's own is another one."""
    epoch_unit: Annotated[Literal["s", "ms", "us"] | None, written(values.unit)] = None
    """The unit of times that are stored as numbers since 1970. No default, since a wrong guess misreads every
    one; required only where such a column is mapped."""

    @model_validator(mode="after")
    def _keys_have_owners(self) -> Self:
        if self.keys_table and not self.media_columns.virtual_key_id:
            raise ValueError(
                "MEDIA_COLUMNS__VIRTUAL_KEY_ID is empty: name the column that says whose a record is, or set"
                " RECONCILER_CATALOG__KEYS_TABLE to nothing as well"
            )
        return self


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


class BreakerSettings(Section):
    """The breaker's limits: a pass that exceeds any of them is not released."""

    max_fraction: Annotated[float, written(values.fraction)] = 0.1
    """Share of what was looked at that may be deleted in 24 h. A tenth: a busy day of retention stays well
    below."""
    max_count: Count = 100_000
    """Keys that may be deleted in 24 h, whatever their share: the bound that holds in a large bucket."""
    max_dangling: Count = 100
    """Dangling records that may be deleted in 24 h. Small: each of them is a lost object."""
    min_count: Count = 20
    """Findings from which the fraction is checked: one orphan among five objects is no alarm."""


class SweepSettings(Section):
    """How a sweep learns what the bucket holds."""

    source: Annotated[Literal["list", "inventory"], written(values.one_of("list", "inventory"))] = "list"
    """`list` lists the bucket; `inventory` takes the newest S3 Inventory report instead (extra
    `.[inventory]`). See [scale](scale.md). Default: `list`, which needs nothing configured and sees what is
    there now."""


class InventorySettings(Section):
    """The bucket's inventory, where `SWEEP__SOURCE` is `inventory`. See [scale](scale.md)."""

    id: Annotated[str | None, written(values.claim)] = None
    """The id of the bucket's inventory configuration: in Parquet, ORC or CSV, without a filter, with the
    optional fields Size, LastModifiedDate and ETag. Its destination, in the same store, is read with the same
    credentials. Required for `inventory`."""
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


class QuotaSettings(Section):
    """The most that one owner may keep; off unless one of the two limits is set. See [quotas](#quotas)."""

    max_bytes: Bytes = None
    """Bytes, by the sizes that rows give: `10GiB`, `500MB`, a whole number, or `none`. Default: no limit."""
    max_objects: Objects = None
    """Objects, or `none`. Default: no limit."""
    owner: QuotaOwner = "virtual_key"
    """Whose media are added up: those of each virtual key, or of each group of keys
    (`CATALOG__KEY_COLUMNS__GROUP_ID`)."""
    evict: Evict = "never"
    """What becomes of media beyond the limit: with `oldest` or `least_recently_accessed` they are deleted as
    *over_quota*, these first; `never` only counts and alerts. Default: `never`, since a limit that is too low
    deletes what people use."""

    def of_model(self) -> Quota | None:
        """The global quota; None where nothing is limited."""
        return quota_of("", self.max_bytes, self.max_objects, self.owner, self.evict)


def quota_of(
    name: str, max_bytes: int | None, max_objects: int | None, owner: str, evict: str
) -> Quota | None:
    """The quota of the rule of that name, "" for the global one; None where nothing is limited."""
    if max_bytes is max_objects is None:
        return None
    return Quota(
        name=name,
        max_bytes=max_bytes,
        max_objects=max_objects,
        owner=model.QuotaOwner(owner),
        evict=model.Evict(evict),
    )


class AdoptionSettings(Section):
    """Rows for objects that have none, where it is known whose they are. See [adoption](adoption.md)."""

    enabled: Flag = False
    """Have each sweep make a row for an object without one, where `OWNER_FROM` tells whose it is, instead of
    marking it. It takes the triggers, so that what the gateway deletes is not made again. Default: off; then
    `reconciler adopt` does it once."""
    owner_from: Annotated[OwnerFrom | None, written(adoption.owner)] = None
    """Where it is written whose an object is: `metadata:created-by` (a field of its metadata), `tag:owner` (a
    tag), or `key:users/([^/]+)/.*`, a regular expression in RE2's syntax that the whole key matches, with the
    virtual key's id as its first group. It counts only where there is such a virtual key. Default: none, and
    `reconciler adopt --owner ID` names one for all."""
    columns: Annotated[Mapping[str, ValueFrom], written(adoption.columns)] = Field(default_factory=dict)
    """Values of columns that no other setting maps: a JSON object such as `{"Prompt": "metadata:prompt",
    "Origin": "constant:imported", "Mime": "content_type"}`. A column without a source gets the table's
    default. Default: `ContentType` gets the content type, where the table has such a column."""
    max_heads_per_second: Annotated[float | None, written(values.rate)] = 3_000.0
    """Objects a second that are looked at, or `unlimited`. 3,000: below the 5,500 that AWS promises for each
    prefix."""

    def of_model(self) -> AdoptionTerms:
        """The terms, as the engine reads them."""
        rate = math.inf if self.max_heads_per_second is None else self.max_heads_per_second
        return AdoptionTerms(owner=self.owner_from, columns=self.columns, rate=rate)


class LeaseSettings(Section):
    """Which replica may act."""

    ttl: Annotated[timedelta, written(values.at_least(timedelta(seconds=2), "2s"))] = timedelta(seconds=30)
    """The longest time from the moment a leader vanishes until another one deletes.

    30s: the lease lasts half of it, 15s, unless renewed, as leaders' leases in Kubernetes do. At least 2s.
    """

    @property
    def lasts(self) -> timedelta:
        """The lease itself, unless renewed: half of `ttl`.

        Most of what is left then is the former leader's time to object, before the new one deletes.
        """
        return self.ttl / 2


class OidcSettings(Section):
    """An identity provider whose bearer tokens the admin API takes, by OpenID Connect."""

    issuer: Annotated[str | None, written(values.issuer)] = None
    """The provider's address, as its tokens name it in `iss`; https, or http on this machine. Its keys are
    found from there. Default: none."""
    audience: Annotated[str, written(values.claim), MAY_BE_EMPTY] = ""
    """What tokens for this API have in `aud`. No default: a token for another program must not do here."""
    role_claim: Annotated[str, written(values.claim)] = "roles"
    """The claim that says what a person may do, text or a list; one in another with dots between them, such
    as `realm_access.roles`."""
    name_claim: Annotated[str, written(values.claim)] = "sub"
    """The claim that names the person, for what is written down about orders. `sub`: it is never reused."""
    viewers: Annotated[tuple[str, ...], written(values.texts)] = ()
    """Values of that claim that make a *viewer*: a JSON list such as `["media-team"]`."""
    operators: Annotated[tuple[str, ...], written(values.texts)] = ()
    """Values of that claim that make an *operator*."""
    approvers: Annotated[tuple[str, ...], written(values.texts)] = ()
    """Values of that claim that make an *approver*."""


class AdminSettings(Section):
    """Where the admin API is served, and who may call it. It is off unless it knows whom to let in."""

    host: Annotated[str, written(values.host)] = "0.0.0.0"
    """Address on which `run` serves the admin API. All of them: who calls it comes from outside the pod."""
    port: Annotated[int, written(values.whole(0, 65_535, "a port (0 takes a free one)"))] = 8081
    """TCP port of the admin API, which is never that of the metrics; 0 takes a free one."""
    tokens_file: Annotated[str | None, written(values.file_path)] = None
    """A file of hashed bearer tokens, one a line, as `reconciler token new` writes them. It is read again
    when it changes. Default: none, and the admin API is off unless OIDC__ISSUER is set."""
    cors_origins: Annotated[tuple[str, ...], written(values.origins)] = ()
    """Origins of web pages whose scripts may call the admin API with a token of their own (CORS): a JSON list
    such as `["https://console.example.org"]`. Default: none."""
    oidc: OidcSettings = OidcSettings()

    @property
    def on(self) -> bool:
        """Whether anybody could be let in."""
        return self.tokens_file is not None or self.oidc.issuer is not None


def _upload_limits() -> dict[str, int]:
    return {"audio/": 1024**3, "image/": 64 * 1024**2, "video/": 5 * 1024**3}


class MediaSettings(Section):
    """The media service, `reconciler media`: where it is served, to whom, and how. See [media](media.md)."""

    host: Annotated[str, written(values.host)] = "0.0.0.0"
    """Address on which `reconciler media` serves. All of them: who calls it comes from outside the pod."""
    port: Annotated[int, written(values.whole(0, 65_535, "a port (0 takes a free one)"))] = 8082
    """TCP port; 0 takes a free one. Its metrics and probes are at `WEB__PORT`."""
    access: Annotated[
        Literal["owner", "signed", "public"], written(values.one_of("owner", "signed", "public"))
    ] = "owner"
    """Who gets a medium: `owner`, who presents its virtual key; `signed`, also who has a link that the owner
    made; `public`, everybody. Default: `owner`, since what was public once stays copied."""
    owner: QuotaOwner = "virtual_key"
    """Whose media a virtual key opens: its own, or those of every key of its group
    (`CATALOG__KEY_COLUMNS__GROUP_ID`)."""
    delivery: Annotated[Literal["stream", "redirect"], written(values.one_of("stream", "redirect"))] = (
        "stream"
    )
    """`stream` sends the bytes; `redirect` sends the client to the store, by a URL that is good for
    `REDIRECT_FOR`. Default: `stream`, since a store is seldom reachable for whoever may see a medium."""
    redirect_url: Annotated[str | None, written(values.endpoint_url)] = None
    """The store's address as clients reach it, for `redirect`. Default: `BUCKET__ENDPOINT_URL`."""
    redirect_for: Annotated[timedelta, written(values.at_least(timedelta(seconds=1), "1s"))] = timedelta(
        minutes=1
    )
    """How long such a URL is good. It works for whoever has it, also after a deletion has begun. 1m: it is
    followed at once."""
    cache_for: Duration = timedelta(minutes=1)
    """How long a client, and for what needs no virtual key a CDN, may show a medium without asking again. 1m:
    so long is a deleted medium still seen."""
    link_keys_file: Annotated[str | None, written(values.file_path)] = None
    """A file of the secrets that links are signed with, one a line, `NAME SECRET`: the first signs, all are
    accepted. It is read again when it changes. Required for `signed`."""
    link_for: Annotated[timedelta, written(values.at_least(timedelta(minutes=1), "1m"))] = timedelta(hours=1)
    """How long a link is good, at most, and where its maker does not ask for less. At least 1m."""
    record_accesses: Flag = True
    """Write to the rows when media were last accessed, and how often, so that what is looked at does not
    become *stale*. The role needs `UPDATE` on these columns."""
    count_prefetch: Flag = True
    """Count what a browser asks for ahead (`Sec-Purpose` or `Purpose: prefetch`) as an access. Default: it
    counts, since a page that is then looked at asks no more, and what nobody seems to look at goes."""
    uncounted_agents: Annotated[tuple[str, ...], written(values.texts)] = ()
    """Parts of the names (`User-Agent`), in any case, of what is served without counting as an access: a JSON
    list such as `["googlebot", "ahrefs"]`. Also for `reconciler access import`. Default: none, since a name
    that a person's browser has too would let go what is looked at."""
    requests: Annotated[int, written(values.whole(1, 100_000, "requests at once"))] = 1_000
    """Media that are sent at once; a further request is answered with 503. Each takes some 50 KiB."""
    requests_per_owner: Annotated[int, written(values.whole(1, 100_000, "requests at once"))] = 100
    """Media of one owner that are sent, or uploaded, at once; a further request is answered with 429."""
    uploads: Flag = False
    """Take uploads, and make their rows. The role needs `INSERT` on the media table. Default: off, since
    without it the service changes no object, and of a row only what counts accesses."""
    upload_limits: Annotated[dict[str, int], written(values.limits)] = Field(default_factory=_upload_limits)
    """What may be uploaded: the most bytes by the beginning of the content type, such as `{"image/": "64MiB",
    "video/mp4": "5GiB"}`. The longest that fits counts; `""` fits all types. Default: images up to 64 MiB,
    audio to 1 GiB and video to 5 GiB."""
    upload_key: Annotated[str, written(values.upload_key)] = "{kind}/{date}/{id}{extension}"
    """The storage key of an upload: `{kind}` is `image`, `video`, `audio` or `other`, `{date}` the day as
    `2026/11/30`, `{id}` made up, `{extension}` by the type. It has to lie below a managed prefix. Default: as
    Conduit's keys."""
    upload_columns: Annotated[dict[str, str], written(identifiers.row_filter)] = Field(default_factory=dict)
    """Further columns of the row of an upload, by name, such as `{"Provider": "upload"}`; in a value
    `{content_type}` stands for the type. Needed where the table requires a column that is not mapped."""
    upload_for: Annotated[
        timedelta, written(values.between(timedelta(minutes=1), "1m", timedelta(days=7), "7d"))
    ] = timedelta(hours=1)
    """How long a URL for an upload to the store is good, from 1m to 7d, S3's limit. 1h: a client takes it up
    at once. Its reservation ends an hour later."""


class EventsSettings(Section):
    """What the store tells of its objects, and what others are told. See [events](events.md)."""

    queue_url: Annotated[str | None, written(values.queue_url)] = None
    """The URL of a queue (SQS) in which the bucket's event notifications arrive: what it names is looked at
    within a minute, instead of at the next sweep. Messages are deleted from it, so it must be this program's
    alone. Default: none."""
    webhook_url: Annotated[str | None, written(values.webhook)] = None
    """Where events are sent: CloudEvents in JSON, each signed as Standard Webhooks say. https, or http on
    this machine. Default: none."""
    webhook_secret_file: Annotated[str | None, written(values.file_path)] = None
    """A file of the secrets that sign them, `whsec_…`, one a line. It is read for each batch, and with
    several lines each signs: so a secret is replaced without a gap. Required with `webhook_url`."""
    notify: Annotated[str | None, written(values.channel)] = None
    """A channel of Postgres on which the same events are notified, such as `media_events`. Who does not
    listen just then misses them. Default: none."""

    @property
    def told(self) -> bool:
        """Whether anybody is told."""
        return self.webhook_url is not None or self.notify is not None

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if (self.webhook_url is None) != (self.webhook_secret_file is None):
            raise ValueError("WEBHOOK_URL and WEBHOOK_SECRET_FILE go together: set both, or neither")
        return self


class CdnSettings(Section):
    """A CDN that is told to forget what was deleted, and the media of a virtual key that is disabled. See
    [the CDN](cdn.md).
    """

    provider: Annotated[
        Literal["none", "cloudflare", "cloudfront", "fastly", "bunny", "webhook"],
        written(values.one_of("none", "cloudflare", "cloudfront", "fastly", "bunny", "webhook")),
    ] = "none"
    """Whose API is asked; `webhook` is an address of your own. Default: `none`, and nothing is sent."""
    url: Annotated[str | None, written(values.url_template)] = None
    """The public URL of an object, with `{key}` for its storage key: `https://cdn.example/{key}`. The key is
    percent-encoded. Default: none, and only rows tell URLs: an orphan has none then."""
    url_column: NoColumn = "PublicUrl"
    """The column of the media table that has a medium's public URL, which is purged too. Used where the table
    has this column; empty for none."""
    zone: Annotated[str, written(values.zone), MAY_BE_EMPTY] = ""
    """What the provider calls what is purged: Cloudflare's zone, CloudFront's distribution, Fastly's service,
    Bunny's pull zone. Required but for `webhook`."""
    plan: Annotated[
        Literal["free", "pro", "business", "enterprise"],
        written(values.one_of("free", "pro", "business", "enterprise")),
    ] = "free"
    """Cloudflare's plan, by which its limits go. `free`: the strictest."""
    token_file: Annotated[str | None, written(values.file_path)] = None
    """A file with the provider's API token, which may purge and nothing else. It is read for each request.
    Required but for `cloudfront`, which takes the usual AWS credentials, and `webhook`."""
    api_url: Annotated[str | None, written(values.endpoint_url)] = None
    """The webhook's address. For the others another address of their API than the public one."""
    tags: Flag = False
    """Whether each response bears the tag `vk-<id>` of its virtual key, as those of `reconciler media` do. A
    key that ends is then purged by its tag, in one request for all of its media. False: a tag that no
    response bears purges nothing."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.provider == "none":
            return self
        named = {
            "ZONE": self.zone or self.provider == "webhook",
            "TOKEN_FILE": self.token_file or self.provider in {"cloudfront", "webhook"},
            "API_URL": self.api_url or self.provider != "webhook",
            "URL or URL_COLUMN": self.url or self.url_column,
        }
        if missing := [name for name, given in named.items() if not given]:
            raise ValueError(f"PROVIDER {self.provider} needs {', '.join(missing)}")
        return self

    @property
    def on(self) -> bool:
        """Whether anybody is told."""
        return self.provider != "none"


class ErasureSettings(Section):
    """How erasures are proven. See [erasure](erasure.md)."""

    signing_key_file: Annotated[str | None, written(values.file_path)] = None
    """An Ed25519 private key in PEM, or as a JWK, that signs the certificates of erasures. Default: none, and
    certificates say that they are unsigned."""
    hash_key_file: Annotated[str | None, written(values.file_path)] = None
    """A secret of at least 16 bytes, with which certificates hash ids and storage keys: nobody without it can
    try a guess, and `erase --replay` needs it. Default: none, and they are hashed with a salt alone."""


class WebSettings(Section):
    """Where metrics and probes are served."""

    host: Annotated[str, written(values.host)] = "0.0.0.0"
    """Address on which `run` serves `/metrics`, `/healthz` and `/readyz`. All of them: Prometheus and the
    kubelet come from outside the pod."""
    port: Annotated[int, written(values.whole(0, 65_535, "a port (0 takes a free one)"))] = 8080
    """TCP port; 0 takes a free one."""
