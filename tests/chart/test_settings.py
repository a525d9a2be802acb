"""The chart's values as the program understands them: its own reading of what helm rendered."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from reconciler.model import KeyShape, OwnerFrom, OwnerSource, ValueFrom, ValueSource
from reconciler.settings import DatabaseSettings, Settings, SettingsSource, load
from reconciler.settings.names import RUNTIME_FILE, leaves
from reconciler.settings.rules import RetentionRule, RuleMatch
from tests.chart import kubelet
from tests.chart.helm import CHART, CI_VALUES, MINIMAL, Manifest, named, pods, put, render, with_values
from tests.cli.program import reconciler

ADDRESS = "postgresql://reconciler:p%40ss@db:5432/gateway"
KEYS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
    "aws.ini": "[default]\naws_access_key_id = key\naws_secret_access_key = secret\n",
}
THERE: kubelet.Sources = {
    ("ConfigMap", "internal-authority"): {"ca.crt": "a certificate"},
    ("ConfigMap", "store-authority"): {"ca.crt": "a certificate"},
    ("Secret", "bunny"): {"api-key": "secret"},
    ("Secret", "event-secrets"): {"secrets": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
    ("Secret", "admin-tokens"): {"file": "ada@ops approver sha256:" + "0" * 64},
    ("Secret", "media-links"): {"file": "2026-11 " + "0" * 64},
    ("Secret", "erasures"): {"signing.pem": "a key", "hash": "0" * 64},
    ("Secret", "gateway-database"): {"url": ADDRESS, "address": ADDRESS},
    ("Secret", "gateway-database-owner"): {"owner": ADDRESS},
    ("Secret", "reconciler-database"): {"url": ADDRESS},
    ("Secret", "reconciler-store"): KEYS,
    ("Secret", "store-credentials"): KEYS,
}
"""What the values files take to be there."""

SHAPE = r'^[a-z]+/\d{4}/.+: #?"$'
DAYS, HOURS, SECONDS = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)

TABLE: Mapping[str, tuple[str, object, object]] = {
    # setting: value of the chart, what is written there, what the program makes of it
    "bucket.name": ("bucket.name", "media-archive", "media-archive"),
    "bucket.endpoint_url": ("bucket.endpointUrl", "https://s3.internal:9000", "https://s3.internal:9000"),
    "bucket.region": ("bucket.region", "eu-central-1", "eu-central-1"),
    "bucket.prefixes": ("bucket.prefixes", ["vidéo/", 'a "b"/'], ('a "b"/', "vidéo/")),
    "bucket.addressing_style": ("bucket.addressingStyle", "virtual", "virtual"),
    "bucket.listing_order": ("bucket.listingOrder", "none", "none"),
    "bucket.request_timeout": ("bucket.requestTimeout", "45s", 45 * SECONDS),
    "quarantine.bucket": ("quarantine.bucket", "media-copies", "media-copies"),
    "bucket.key_shape": ("bucket.keyShape", SHAPE, KeyShape(SHAPE)),
    "catalog.media_table": ("catalog.mediaTable", "media.files", "media.files"),
    "catalog.keys_table": ("catalog.keysTable", "media.keys", "media.keys"),
    "catalog.media_where": (
        "catalog.mediaWhere",
        {"service_name": "ama: zon", "tenant": 7},
        {"service_name": "ama: zon", "tenant": "7"},
    ),
    "catalog.variant_columns": ("catalog.variantColumns", ["ThumbnailKey"], ("ThumbnailKey",)),
    "catalog.also_referenced": (
        "catalog.alsoReferenced",
        ["public.Avatars.ImageKey"],
        ("public.Avatars.ImageKey",),
    ),
    "catalog.media_columns.id": ("catalog.mediaColumns.id", "file_id,created", "file_id,created"),
    "catalog.media_columns.storage_key": ("catalog.mediaColumns.storageKey", "path", "path"),
    "catalog.media_columns.virtual_key_id": ("catalog.mediaColumns.virtualKeyId", "owner", "owner"),
    "catalog.media_columns.size_bytes": ("catalog.mediaColumns.sizeBytes", "bytes", "bytes"),
    "catalog.media_columns.created_at": ("catalog.mediaColumns.createdAt", "created", "created"),
    "catalog.media_columns.expires_at": ("catalog.mediaColumns.expiresAt", "", ""),
    "catalog.media_columns.last_accessed_at": ("catalog.mediaColumns.lastAccessedAt", "null", "null"),
    "catalog.media_columns.deleted_at": ("catalog.mediaColumns.deletedAt", "gone: at", "gone: at"),
    "catalog.media_columns.media_type": ("catalog.mediaColumns.mediaType", "kind", "kind"),
    "catalog.media_columns.content_hash": ("catalog.mediaColumns.contentHash", "md5", "md5"),
    "catalog.media_columns.access_count": ("catalog.mediaColumns.accessCount", "hits", "hits"),
    "catalog.media_columns.provider": ("catalog.mediaColumns.provider", "made_by", "made_by"),
    "catalog.media_columns.model": ("catalog.mediaColumns.model", "made_with", "made_with"),
    "catalog.key_columns.id": ("catalog.keyColumns.id", "key_id", "key_id"),
    "catalog.key_columns.is_enabled": ("catalog.keyColumns.isEnabled", "yes", "yes"),
    "catalog.key_columns.expires_at": ("catalog.keyColumns.expiresAt", "ends", "ends"),
    "catalog.key_columns.group_id": ("catalog.keyColumns.groupId", "team", "team"),
    "catalog.key_columns.key_hash": ("catalog.keyColumns.keyHash", "sha256", "sha256"),
    "catalog.time_zone": ("catalog.timeZone", "America/New_York", "America/New_York"),
    "catalog.epoch_unit": ("catalog.epochUnit", "ms", "ms"),
    "operator": ("operator", "ops@example.org", "ops@example.org"),
    "log_format": ("log.format", "console", "console"),
    "log_level": ("log.level", "debug", "debug"),
    "dry_run": ("dryRun", False, False),
    "enable_auto_cleanup": ("mediaManagement.enableAutoCleanup", False, False),
    "orphan_cleanup_enabled": ("mediaManagement.orphanCleanupEnabled", False, False),
    "dangling_cleanup_enabled": ("mediaManagement.danglingCleanupEnabled", False, False),
    "media_retention_days": ("mediaManagement.mediaRetentionDays", 365, 365),
    "recent_access_days": ("mediaManagement.recentAccessDays", 0, 0),
    "revoked_key_policy": ("mediaManagement.revokedKeyPolicy", "delete", "delete"),
    "key_grace": ("mediaManagement.keyGrace", "0s", timedelta(0)),
    "retention.rules": (
        "retention.rules",
        [
            {
                "name": "paying",
                "match": {"keyGroup": [1_000_007, "8"], "mediaType": "Video"},
                "mediaRetentionDays": "forever",
            },
            {
                "name": "trials",
                "match": {"virtualKeyId": "12", "prefix": ['a "b"/x/'], "model": "m: 2"},
                "mediaRetentionDays": 7,
                "recentAccessDays": 0,
                "revokedKeyPolicy": "delete",
                "keyGrace": "12h",
                "maxBytes": "1.5GiB",
                "maxObjects": 2_000_000,
                "quotaOwner": "key_group",
                "evict": "oldest",
            },
        ],
        (
            RetentionRule(
                name="paying",
                match=RuleMatch(key_group=("1000007", "8"), media_type=("video",)),
                media_retention_days="forever",
            ),
            RetentionRule(
                name="trials",
                match=RuleMatch(virtual_key_id=("12",), prefix=('a "b"/x/',), model=("m: 2",)),
                media_retention_days=7,
                recent_access_days=0,
                revoked_key_policy="delete",
                key_grace=timedelta(hours=12),
                max_bytes=3 * 2**29,
                max_objects=2_000_000,
                quota_owner="key_group",
                evict="oldest",
            ),
        ),
    ),
    "quota.max_bytes": ("quota.maxBytes", 10_000_000_000, 10_000_000_000),
    "quota.max_objects": ("quota.maxObjects", 5_000_000, 5_000_000),
    "quota.owner": ("quota.owner", "key_group", "key_group"),
    "quota.evict": ("quota.evict", "oldest", "oldest"),
    "adoption.enabled": ("adoption.enabled", True, True),
    "adoption.owner_from": (
        "adoption.ownerFrom",
        "key:users/([^/]+)/.*",
        OwnerFrom(source=OwnerSource.KEY, name="users/([^/]+)/.*"),
    ),
    "adoption.columns": (
        "adoption.columns",
        {"Origin": "constant:a: b"},
        {"Origin": ValueFrom(source=ValueSource.CONSTANT, name="a: b")},
    ),
    "adoption.max_heads_per_second": ("adoption.maxHeadsPerSecond", 2_500_000, 2_500_000.0),
    "max_deletes_per_second": ("maxDeletesPerSecond", 2_500_000, 2_500_000.0),
    "breaker.max_fraction": ("breaker.maxFraction", 0.025, 0.025),
    "breaker.max_count": ("breaker.maxCount", 1_000_000_000, 1_000_000_000),
    "breaker.max_dangling": ("breaker.maxDangling", 0, 0),
    "breaker.min_count": ("breaker.minCount", 50, 50),
    "grace_period": ("gracePeriod", "72h", 72 * HOURS),
    "delete_delay": ("deleteDelay", "PT36H", 36 * HOURS),
    "departure_delay": ("departureDelay", "90s", timedelta(seconds=90)),
    "delete_mode": ("deleteMode", "quarantine", "quarantine"),
    "sweep.source": ("sweep.source", "inventory", "inventory"),
    "inventory.id": ("inventory.id", "daily", "daily"),
    "inventory.destination": ("inventory.destination", "gs://reports/daily", "gs://reports/daily"),
    "inventory.engine": ("inventory.engine", "ray", "ray"),
    "inventory.catalog": ("inventory.catalog", "https://tables.example/v", "https://tables.example/v"),
    "inventory.max_age": ("inventory.maxAge", "30h", 30 * HOURS),
    "inventory.memory": ("inventory.memory", "2GiB", 2 * 1024**3),
    "inventory.disk": ("inventory.disk", "100GB", 10**11),
    "inventory.directory": ("inventory.directory", "/scratch", "/scratch"),
    "integrity_interval": ("integrityInterval", "never", None),
    "approval_ttl": ("approvalTtl", "12h", 12 * HOURS),
    "undo_window": ("undoWindow", "14d", 14 * DAYS),
    "ledger_retention": ("ledgerRetention", "365d", 365 * DAYS),
    "abort_multipart_after": ("abortMultipartAfter", "3d", 3 * DAYS),
    "hold_for": ("holdFor", "60d", 60 * DAYS),
    "upload_window": ("uploadWindow", "2h", 2 * HOURS),
    "sweep_interval": ("sweepInterval", "12h", 12 * HOURS),
    "retention_interval": ("retentionInterval", "1h30m", 1.5 * HOURS),
    "accounting_interval": ("accountingInterval", "15m", 0.25 * HOURS),
    "price_per_gib_month": ("pricePerGibMonth", 0.023, 0.023),
    "listing_concurrency": ("listingConcurrency", 8, 8),
    "delete_concurrency": ("deleteConcurrency", 4, 4),
    "copy_concurrency": ("copyConcurrency", 16, 16),
    "events.webhook_url": ("events.webhook.url", "https://hooks.example/x", "https://hooks.example/x"),
    "events.notify": ("events.notify", "media: events", "media: events"),
    "events.queue_url": ("events.queueUrl", "https://sqs.internal/1/media", "https://sqs.internal/1/media"),
    "lease.ttl": ("lease.ttl", "15s", 15 * SECONDS),
    "web.host": ("web.host", "::", "::"),
    "web.port": ("web.port", 9090, 9090),
    "admin.host": ("admin.host", "::", "::"),
    "admin.port": ("admin.port", 9091, 9091),
    "admin.cors_origins": ("admin.corsOrigins", ["https://a.example:8443"], ("https://a.example:8443",)),
    "admin.oidc.issuer": ("admin.oidc.issuer", "https://id.example.org/x", "https://id.example.org/x"),
    "admin.oidc.audience": ("admin.oidc.audience", "media: x", "media: x"),
    "admin.oidc.role_claim": ("admin.oidc.roleClaim", "realm_access.roles", "realm_access.roles"),
    "admin.oidc.name_claim": ("admin.oidc.nameClaim", "email", "email"),
    "admin.oidc.viewers": ("admin.oidc.viewers", ["media"], ("media",)),
    "admin.oidc.operators": ("admin.oidc.operators", ["media: ops"], ("media: ops",)),
    "admin.oidc.approvers": ("admin.oidc.approvers", ["heads", "7"], ("heads", "7")),
    "media.host": ("media.host", "::", "::"),
    "media.port": ("media.port", 9092, 9092),
    "media.access": ("media.access", "signed", "signed"),
    "media.owner": ("media.owner", "key_group", "key_group"),
    "media.delivery": ("media.delivery", "redirect", "redirect"),
    "media.redirect_url": ("media.redirectUrl", "https://s3.example.org", "https://s3.example.org"),
    "media.redirect_for": ("media.redirectFor", "5m", 300 * SECONDS),
    "media.cache_for": ("media.cacheFor", "0s", timedelta(0)),
    "media.link_for": ("media.linkFor", "36h", 36 * HOURS),
    "media.record_accesses": ("media.recordAccesses", False, False),
    "media.count_prefetch": ("media.countPrefetch", False, False),
    "media.uncounted_agents": ("media.uncountedAgents", ["googlebot"], ("googlebot",)),
    "media.requests": ("media.requests", 20_000, 20_000),
    "media.requests_per_owner": ("media.requestsPerOwner", 7, 7),
    "media.uploads": ("media.uploads.enabled", True, True),
    "media.upload_limits": ("media.uploads.limits", {"image/": "1KiB"}, {"image/": 1024}),
    "media.upload_key": ("media.uploads.key", "{kind}/{id}", "{kind}/{id}"),
    "media.upload_columns": ("media.uploads.columns", {"Provider": "x: y"}, {"Provider": "x: y"}),
    "media.upload_for": ("media.uploads.urlFor", "36h", 36 * HOURS),
    "cdn.provider": ("cdn.provider", "webhook", "webhook"),
    "cdn.url": ("cdn.url", "https://cdn.example/x/{key}?v=1", "https://cdn.example/x/{key}?v=1"),
    "cdn.url_column": ("cdn.urlColumn", "address", "address"),
    "cdn.zone": ("cdn.zone", "E2-x_1", "E2-x_1"),
    "cdn.plan": ("cdn.plan", "enterprise", "enterprise"),
    "cdn.api_url": ("cdn.apiUrl", "http://purger:8080/x", "http://purger:8080/x"),
    "cdn.tags": ("cdn.tags", True, True),
}

ELSEWHERE: Mapping[str, str] = {
    "database_url": "comes from a Secret: database.existingSecret or database.url",
    "media.link_keys_file": "media.links mounts that Secret, and the chart knows where",
    "events.webhook_secret_file": "events.webhook mounts that Secret, and the chart knows where",
    "admin.tokens_file": "admin.tokens mounts that Secret, and the chart knows where",
    "cdn.token_file": "cdn.token mounts that Secret, and the chart knows where",
    "erasure.signing_key_file": "erasure.signingKey mounts that Secret, and the chart knows where",
    "erasure.hash_key_file": "erasure.hashKey mounts that Secret, and the chart knows where",
    "database_url_file": "database.asFile mounts that Secret, and the chart knows where",
}
"""Settings that no value holds as it is, and why."""

ALONE = "retention.source"
"""Conduit's policies and rules of one's own exclude each other, so this one has a test of its own."""

OWN_DEFAULTS: Mapping[str, object] = {"log_format": "json"}
"""Settings whose default in the chart is its own: a pod's log is read by programs."""

NEEDED_TOO: Mapping[str, object] = {
    "mediaManagement__accessControlEnabled": True,
    "events__webhook__existingSecret": "event-secrets",
}
"""What `revokedKeyPolicy: delete` and `events.webhook.url` need beside them."""


def asked_for() -> Mapping[str, Any]:
    """The minimal values with every value of the table written."""
    made: dict[str, Any] = dict(with_values(**NEEDED_TOO))
    for path, value, _ in TABLE.values():
        put(made, path.split("."), value)
    return made


def read(
    manifests: Sequence[Manifest], root: Path, pod: str = "Deployment", *, media: bool = False
) -> dict[str, str]:
    """The environment of one of the pods, with its volumes laid out under `root`."""
    (spec,) = (
        spec
        for label, spec in pods(manifests).items()
        if label.startswith(f"{pod} ") and label.endswith("-reconciler-media") == media
    )
    found = kubelet.sources(manifests, THERE)
    kubelet.mount(spec, root, found)
    return kubelet.environment(spec, root, found)


def test_every_setting_of_the_program_has_a_value_or_a_reason_for_none() -> None:
    known = {".".join(path) for path in leaves(Settings)}
    assert known == {*TABLE, *ELSEWHERE, ALONE}, (
        "add the setting to values.yaml, files/values.schema.json, _settings.tpl and here"
    )


def test_each_value_reaches_its_setting(tmp_path: Path) -> None:
    settings = load(read(render(asked_for()), tmp_path))
    assert {name: _at(settings, name) for name in TABLE} == {
        name: wanted for name, (_, _, wanted) in TABLE.items()
    }


def test_the_media_service_reads_the_same_settings_and_the_secrets_of_links(tmp_path: Path) -> None:
    manifests = render(file=CHART / "ci" / "media-values.yaml")
    settings = load(read(manifests, tmp_path / "media", media=True))
    daemon = load(read(manifests, tmp_path / "daemon"))
    assert (settings.media, settings.config_hash()) == (daemon.media, daemon.config_hash())
    assert settings.media.link_keys_file == "/etc/reconciler/links/secrets"
    mounted = tmp_path / "media" / "etc" / "reconciler" / "links" / "secrets"
    assert mounted.read_text().startswith("2026-11 ")


def test_the_keys_of_erasures_are_mounted_where_the_settings_look(tmp_path: Path) -> None:
    erasure = load(read(render(file=CHART / "ci" / "everything-values.yaml"), tmp_path)).erasure
    for file, holds in ((erasure.signing_key_file, "a key"), (erasure.hash_key_file, "0" * 64)):
        assert file is not None
        assert (tmp_path / file.lstrip("/")).read_text() == holds


def test_conduits_policies_are_asked_for_by_a_value(tmp_path: Path) -> None:
    for name in ("own", "conduit"):
        values = with_values(retention__source=name)
        assert _at(load(read(render(values), tmp_path / name)), ALONE) == name


def test_the_program_says_which_of_the_charts_files_each_setting_came_from(tmp_path: Path) -> None:
    ended = reconciler("config", "--json", env=read(render(asked_for()), tmp_path))
    assert (ended.status, ended.told) == (0, [])
    told = {entry["key"]: entry for entry in json.loads(ended.out)["settings"]}
    runtime = {".".join(path) for path, leaf in leaves(Settings).items() if leaf.runtime}
    sources = {name: "runtime_file" if name in runtime else "file" for name in TABLE}
    assert {name: told[name]["source"] for name in TABLE} == sources
    assert told["database_url"]["source"] == "secret_file"
    assert {name: entry["over"] for name, entry in told.items() if entry["over"]} == {}
    assert ADDRESS not in ended.out


def test_each_value_of_the_table_differs_from_the_default(tmp_path: Path) -> None:
    defaults = load(read(render(MINIMAL), tmp_path))
    assert [name for name, (_, _, wanted) in TABLE.items() if _at(defaults, name) == wanted] == []


def test_the_charts_defaults_are_the_programs(tmp_path: Path) -> None:
    settings = load(read(render(MINIMAL), tmp_path))
    for path, leaf in leaves(Settings).items():
        name = ".".join(path)
        if name in TABLE and not leaf.field.is_required():
            default = leaf.field.get_default(call_default_factory=True)
            assert _at(settings, name) == OWN_DEFAULTS.get(name, default), name


def test_the_default_is_a_dry_run(tmp_path: Path) -> None:
    assert load(read(render(MINIMAL), tmp_path)).dry_run is True


def _at(settings: Settings, name: str) -> object:
    found: Any = settings
    for part in name.split("."):
        found = getattr(found, part)
    return found


# --- every values file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem.removesuffix("-values"))
@pytest.mark.parametrize("pod", ["Deployment", "Pod"])
def test_the_program_takes_what_each_values_file_makes(file: Path, pod: str, tmp_path: Path) -> None:
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    said: list[str] = []
    settings = load(read(render(file=file), tmp_path, pod), warn=said.append)
    assert said == []
    assert settings.bucket.prefixes == tuple(sorted(values["bucket"]["prefixes"]))
    assert settings.database_url == SecretStr(values["database"].get("url", ADDRESS))
    for name, (path, _, _) in TABLE.items():
        if (wanted := _written(values, path)) is not None:
            assert _plain(_at(settings, name)) == _plain(_understood(name, wanted)), name


def _written(values: Mapping[str, Any], path: str) -> object:
    """The value at a path, None where the file leaves it to its default."""
    found: Any = values
    for part in path.split("."):
        if part not in found:
            return None
        found = found[part]
    return found


def _understood(name: str, value: object) -> object:
    """What the setting becomes when it is set to this value alone, in a file that somebody wrote by hand."""
    tree: dict[str, Any] = {"bucket": {"name": "media", "prefixes": ["a/"]}, "database_url": ADDRESS}
    if name == "cdn.provider":
        tree["cdn"] = {"zone": "z", "token_file": "f", "api_url": "http://there"}
    if name == "adoption.enabled":
        tree["adoption"] = {"owner_from": "tag:owner"}
    if name == "events.webhook_url":
        tree["events"] = {"webhook_secret_file": "f"}
    put(tree, name.split("."), _snaked(value))
    return _at(Settings(**tree), name)


def _snaked(value: object) -> object:
    """With the program's names: those of sections in lists are the chart's to translate."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        return value
    return [{_snake(name): _snake_inside(inner) for name, inner in each.items()} for each in value]


def _snake_inside(value: object) -> object:
    return {_snake(name): inner for name, inner in value.items()} if isinstance(value, dict) else value


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found.group().lower()}", name)


def _plain(value: object) -> object:
    return value.pattern if isinstance(value, KeyShape) else value


@pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem.removesuffix("-values"))
def test_the_hook_takes_what_each_values_file_makes(file: Path, tmp_path: Path) -> None:
    manifests = render(file=file)
    if any(label.startswith("Job ") for label in pods(manifests)):
        hook = load(read(manifests, tmp_path / "hook", "Job"), kind=DatabaseSettings)
        daemon = load(read(manifests, tmp_path / "daemon"))
        assert (hook.catalog, hook.database_url) == (daemon.catalog, daemon.database_url)


# --- the two files --------------------------------------------------------------------------------------


def test_runtime_settings_are_in_the_runtime_file_and_nowhere_else() -> None:
    manifests = render(asked_for())
    runtime = {".".join(path) for path, leaf in leaves(Settings).items() if leaf.runtime}
    static = _names(yaml.safe_load(named(manifests, "ConfigMap")["data"]["config.yaml"]))
    live = _names(yaml.safe_load(named(manifests, "ConfigMap", "-runtime")["data"]["runtime.yaml"]))
    assert live == runtime
    assert static == {*TABLE, ALONE, "events.webhook_secret_file"} - runtime


def _names(tree: Mapping[str, Any], at: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in tree.items():
        # A mapping that is itself a setting has names of its users' choosing.
        section = isinstance(value, dict) and f"{at}{name}" not in TABLE
        found |= _names(value, f"{at}{name}.") if section else {f"{at}{name}"}
    return found


@pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem.removesuffix("-values"))
def test_no_environment_variable_pins_what_a_file_sets(file: Path) -> None:
    files = {"RECONCILER_CONFIG_FILE", "RECONCILER_RUNTIME_FILE", "RECONCILER_DATABASE_URL_FILE"}
    for pod in pods(render(file=file)).values():
        (container,) = pod["containers"]
        names = {entry["name"] for entry in container["env"] if entry["name"].startswith("RECONCILER_")}
        assert names <= files | {"RECONCILER_DATABASE_URL"}


def test_the_runtime_file_is_in_a_directory_that_the_kubelet_swaps(tmp_path: Path) -> None:
    manifests = render(MINIMAL)
    (container,) = named(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    (mounted,) = (entry for entry in container["volumeMounts"] if entry["name"] == "runtime")
    assert "subPath" not in mounted

    environ = read(manifests, tmp_path)
    source = SettingsSource(environ)
    assert source.current().dry_run is True
    live = named(render(with_values(dryRun=False, maxDeletesPerSecond=7)), "ConfigMap", "-runtime")
    kubelet.swap(Path(environ[RUNTIME_FILE]).parent, live["data"])
    changed = source.refresh()
    assert changed is not None
    assert set(changed.changed) == {"RECONCILER_DRY_RUN", "RECONCILER_MAX_DELETES_PER_SECOND"}


# --- what the gateway's people know ---------------------------------------------------------------------


def test_without_ownership_tracking_nothing_is_cleaned_up_by_comparison(tmp_path: Path) -> None:
    settings = load(read(render(with_values(mediaManagement__enableOwnershipTracking=False)), tmp_path))
    assert (settings.orphan_cleanup_enabled, settings.dangling_cleanup_enabled) == (False, False)
    assert settings.enable_auto_cleanup is True


def test_access_control_alone_deletes_nothing(tmp_path: Path) -> None:
    settings = load(read(render(with_values(mediaManagement__accessControlEnabled=True)), tmp_path))
    assert settings.revoked_key_policy == "keep"


def test_a_rate_may_be_unlimited(tmp_path: Path) -> None:
    assert load(read(render(file=CHART / "ci" / "bare-values.yaml"), tmp_path)).max_deletes_per_second is None


# --- secrets --------------------------------------------------------------------------------------------


def credentials(file: str, root: Path) -> Mapping[str, str]:
    environ = read(render(file=CHART / "ci" / f"{file}-values.yaml"), root)
    return {name: value for name, value in environ.items() if name.startswith("AWS_")}


def test_credentials_come_from_a_secret_that_is_there(tmp_path: Path) -> None:
    found = credentials("everything", tmp_path)
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]) == ("key", "secret")
    assert found["AWS_SESSION_TOKEN"] == "token"


def test_credentials_come_from_values_through_a_secret_of_the_charts(tmp_path: Path) -> None:
    assert credentials("trial", tmp_path) == {
        "AWS_ACCESS_KEY_ID": "trial",
        "AWS_SECRET_ACCESS_KEY": 'trial"secret\\#1',
    }


@pytest.mark.parametrize(("file", "key"), [("files", "key"), ("trial-files", "trial")])
def test_credentials_come_in_a_file(file: str, key: str, tmp_path: Path) -> None:
    found = credentials(file, tmp_path)
    assert list(found) == ["AWS_SHARED_CREDENTIALS_FILE"]
    text = Path(found["AWS_SHARED_CREDENTIALS_FILE"]).read_text(encoding="utf-8")
    assert text.splitlines()[:2] == ["[default]", f"aws_access_key_id = {key}"]


@pytest.mark.parametrize("file", ["trial", "trial-files"])
def test_a_secret_value_is_in_secrets_alone(file: str) -> None:
    manifests = render(file=CHART / "ci" / f"{file}-values.yaml")
    plain = json.dumps([manifest for manifest in manifests if manifest["kind"] != "Secret"])
    assert "pass" not in plain
    assert "trial" not in plain
