"""Settings: how values are written, which source wins, and that every fault is told at once."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.errors import ConfigError
from reconciler.model import ListingOrder, Mode
from reconciler.settings import Change, DatabaseSettings, SchemaSettings, Settings, SettingsSource, load

REQUIRED = {
    "RECONCILER_DATABASE_URL": "postgresql://gateway:s3cr3t@db:5432/media",
    "RECONCILER_BUCKET__NAME": "media",
    "RECONCILER_BUCKET__PREFIXES": '["image/", "video/"]',
}


def read(**changes: str | None) -> Settings:
    return load(environment(**changes))


def environment(**changes: str | None) -> Mapping[str, str]:
    named = {f"RECONCILER_{name}": value for name, value in changes.items()}
    return {name: value for name, value in {**REQUIRED, **named}.items() if value is not None}


def faults(environ: Mapping[str, str], kind: type[SchemaSettings] = Settings) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(environ, kind=kind)
    return str(caught.value).splitlines()


def fault(name: str, value: str) -> str:
    """The one fault that the value of one setting leads to."""
    (only,) = faults(environment(**{name: value}))
    return only


# --- defaults and what is made of them --------------------------------------------------------------


def test_defaults_are_those_of_the_contract() -> None:
    settings = read()
    assert settings.dry_run is True
    assert (settings.enable_auto_cleanup, settings.orphan_cleanup_enabled) == (True, True)
    assert settings.dangling_cleanup_enabled is True
    assert (settings.media_retention_days, settings.recent_access_days) == (90, 30)
    assert (settings.revoked_key_policy, settings.key_grace) == ("keep", timedelta(days=7))
    assert (settings.grace_period, settings.delete_delay) == (timedelta(hours=48), timedelta(hours=24))
    assert (settings.delete_mode, settings.upload_window) == ("auto", timedelta(hours=1))
    assert settings.max_deletes_per_second == 100
    assert settings.breaker.model_dump() == {
        "max_fraction": 0.1,
        "max_count": 100_000,
        "max_dangling": 100,
        "min_count": 20,
    }
    assert (settings.sweep_interval, settings.retention_interval) == (
        timedelta(hours=6),
        timedelta(minutes=5),
    )
    assert (settings.listing_concurrency, settings.delete_concurrency) == (16, 32)
    assert settings.bucket.listing_order == "probe"
    assert (settings.lease.ttl, settings.bucket.request_timeout) == (timedelta(seconds=30),) * 2
    assert (settings.web.host, settings.web.port) == ("0.0.0.0", 8080)
    assert (settings.catalog.media_table, settings.catalog.keys_table) == ("MediaRecords", "VirtualKeys")
    assert settings.catalog.media_columns.storage_key == "StorageKey"


def test_policy_limits_and_mode_follow_the_settings() -> None:
    settings = read(
        DRY_RUN="false",
        MEDIA_RETENTION_DAYS="10",
        RECENT_ACCESS_DAYS="0",
        REVOKED_KEY_POLICY="delete",
        ENABLE_AUTO_CLEANUP="false",
        ORPHAN_CLEANUP_ENABLED="false",
        DANGLING_CLEANUP_ENABLED="false",
        BREAKER__MAX_COUNT="7",
        BUCKET__KEY_SHAPE=r"\w+/\d+",
        BUCKET__LISTING_ORDER="bytes",
    )
    policy = settings.policy()
    assert policy.prefixes == ("image/", "video/")
    assert (policy.media_retention, policy.recent_access) == (timedelta(days=10), timedelta(0))
    assert policy.delete_revoked
    assert (policy.auto_cleanup, policy.orphan_cleanup, policy.dangling_cleanup) == (False, False, False)
    assert policy.key_shape is not None
    assert policy.key_shape.fullmatch("image/1")
    assert settings.limits().max_count == 7
    assert settings.mode() is Mode.LIVE
    assert settings.bucket.order is ListingOrder.BYTES
    assert read().mode() is Mode.DRY_RUN
    assert read().bucket.order is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("90d", timedelta(days=90)),
        ("24h", timedelta(hours=24)),
        ("15m", timedelta(minutes=15)),
        ("30s", timedelta(seconds=30)),
        ("0s", timedelta(0)),
        ("2w", timedelta(weeks=2)),
        ("1h30m", timedelta(minutes=90)),
        ("500ms", timedelta(milliseconds=500)),
        ("1.5h", timedelta(minutes=90)),
        ("PT24H", timedelta(hours=24)),
        ("P1DT12H", timedelta(hours=36)),
        ("P2W", timedelta(weeks=2)),
        ("PT0S", timedelta(0)),
    ],
)
def test_durations_are_written_with_units_or_in_iso_8601(written: str, meant: timedelta) -> None:
    assert read(GRACE_PERIOD=written).grace_period == meant


@pytest.mark.parametrize(
    "written",
    ["90", "-1h", "1e9s", "nan", "1h1h", "h", "24 h", "P", "PT", "P1M", "1y", "999999999999d", "24H", "٣h"],
)
def test_other_durations_are_refused_with_examples(written: str) -> None:
    assert fault("GRACE_PERIOD", written).startswith(f"RECONCILER_GRACE_PERIOD={written!r}: must be ")


def test_a_lease_cannot_last_no_time() -> None:
    assert fault("LEASE__TTL", "0s") == "RECONCILER_LEASE__TTL='0s': must be at least 2s"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("CATALOG__TIME_ZONE", "Mars/Olympus", "a time zone's name such as Europe/Berlin or UTC"),
        ("CATALOG__TIME_ZONE", "UTC+3", "a time zone's name such as Europe/Berlin or UTC"),
        ("CATALOG__TIME_ZONE", "UTC; DROP TABLE x", "a time zone's name such as Europe/Berlin or UTC"),
        ("CATALOG__EPOCH_UNIT", "ns", "s or ms or us"),
        ("CATALOG__MEDIA_COLUMNS__ID", "id,", "a column's name as Postgres stores it"),
        ("DRY_RUN", "yes", "true or false"),
        ("DRY_RUN", "0", "true or false"),
        ("MEDIA_RETENTION_DAYS", "0", "from 1 to 36500"),
        ("MEDIA_RETENTION_DAYS", "-1", "a whole number of days"),
        ("MEDIA_RETENTION_DAYS", "90d", "a whole number of days"),
        ("RECENT_ACCESS_DAYS", "1.5", "a whole number of days"),
        ("BREAKER__MAX_COUNT", "1e9", "a whole number of keys"),
        ("BREAKER__MAX_FRACTION", "nan", "a fraction from 0 to 1"),
        ("BREAKER__MAX_FRACTION", "1.1", "a fraction from 0 to 1"),
        ("BREAKER__MAX_FRACTION", "-0.1", "a fraction from 0 to 1"),
        ("MEDIA__UPLOAD_LIMITS", "64MiB", "sizes by the beginning of a content type"),
        ("MEDIA__UPLOAD_LIMITS", "{}", "sizes by the beginning of a content type"),
        ("MEDIA__UPLOAD_LIMITS", '{"image/": "none"}', "each at most 80GiB"),
        ("MEDIA__UPLOAD_LIMITS", '{"image/": "81GiB"}', "each at most 80GiB"),
        ("MEDIA__UPLOAD_LIMITS", '{"Image/": 1}', "sizes by the beginning of a content type"),
        ("MEDIA__UPLOAD_KEY", "image/{date}", "must have {id} in it"),
        ("MEDIA__UPLOAD_KEY", "{kind}/{id}{owner}", "in braces no more than {kind}"),
        ("MEDIA__UPLOAD_FOR", "8d", "must be from 1m to 7d"),
        ("MAX_DELETES_PER_SECOND", "0", "positive"),
        ("MAX_DELETES_PER_SECOND", "inf", "or unlimited"),
        ("ADMIN__CORS_ORIGINS", "*", "must be a JSON list of texts"),
        ("ADMIN__CORS_ORIGINS", '["*"]', "'*' is no origin: must be https://host"),
        ("ADMIN__CORS_ORIGINS", '["https://a.example/"]', "without a path"),
        ("PRICE_PER_GIB_MONTH", "-1", "a price such as 0.023"),
        ("PRICE_PER_GIB_MONTH", "$0.02", "a price such as 0.023"),
        ("REVOKED_KEY_POLICY", "drop", "must be keep or delete"),
        ("DELETE_MODE", "copy", "must be auto or direct or quarantine or versioned"),
        ("BUCKET__LISTING_ORDER", "yes", "probe or bytes or none"),
        ("BUCKET__NAME", "s3://media", "a bucket's name alone"),
        ("QUARANTINE__BUCKET", "copies/media", "a bucket's name alone"),
        ("BUCKET__REGION", "eu west", "a region's name"),
        ("BUCKET__ENDPOINT_URL", "minio:9000", "http://host:port"),
        ("BUCKET__ENDPOINT_URL", "http://h:99999", "http://host:port"),
        ("BUCKET__KEY_SHAPE", "(", "regular expression"),
        ("BUCKET__KEY_SHAPE", r"image/(?!tmp/).*", "RE2's syntax: without look-around"),
        ("BUCKET__KEY_SHAPE", r"(a|b)/\1", "invalid escape sequence"),
        ("BUCKET__KEY_SHAPE", "a{1001}", "invalid repetition size"),
        ("CATALOG__MEDIA_TABLE", '"MediaRecords"', "without quotes"),
        ("CATALOG__MEDIA_TABLE", "a.b.c", "public.MediaRecords"),
        ("CATALOG__MEDIA_COLUMNS__STORAGE_KEY", "x" * 64, "a column's name"),
        ("WEB__PORT", "65536", "a port"),
        ("WEB__HOST", "not a host", "an address"),
        ("LISTING_CONCURRENCY", "0", "key ranges"),
        ("LOG_LEVEL", "DEBUG", "debug or info"),
        ("DATABASE_URL", "mysql://db/media", "postgresql://"),
        ("DATABASE_URL", "postgresql://db", "the database's name is missing"),
        ("DATABASE_URL", "postgresql://a:5432,b:5432/media", "one host"),
    ],
)
def test_a_fault_names_setting_value_and_what_is_allowed(name: str, value: str, allowed: str) -> None:
    told = fault(name, value)
    assert told.startswith(f"RECONCILER_{name}='")
    assert allowed in told
    assert repr(value)[1:-1][:40] in told


@pytest.mark.parametrize(
    ("mode", "bucket", "told"),
    [
        ("auto", "media", "name another bucket"),
        ("direct", "copies", "no effect with RECONCILER_DELETE_MODE=direct"),
        ("versioned", "copies", "no effect with RECONCILER_DELETE_MODE=versioned"),
    ],
)
def test_another_bucket_for_copies_is_another_and_gets_some(mode: str, bucket: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(DELETE_MODE=mode, QUARANTINE__BUCKET=bucket)
    assert str(refused.value).startswith("RECONCILER_QUARANTINE: BUCKET ")
    assert told in str(refused.value)
    assert read(DELETE_MODE="quarantine", QUARANTINE__BUCKET="copies").quarantine.bucket == "copies"


def test_rate_may_be_unlimited() -> None:
    assert read(MAX_DELETES_PER_SECOND="unlimited").max_deletes_per_second is None
    assert read(MAX_DELETES_PER_SECOND="0.5").max_deletes_per_second == 0.5


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('["images"]', "'images' must end in \"/\""),
        ("image/,video/", "must be a JSON list"),
        ("[]", "must be a JSON list"),
        ("[1]", "must be a JSON list"),
        ('["a/", "a/b/"]', "'a/b/' is inside 'a/'"),
        ('["", "a/"]', "'a/' is inside ''"),
        ('["a/", "a/"]', "'a/' is named twice"),
        ('[".reconciler/"]', "own corner"),
        ('["a\\u0000/"]', "control characters"),
        ('["a\\ufffd/"]', "U+FFFD"),
    ],
)
def test_prefixes_that_could_reach_too_far_are_refused(written: str, told: str) -> None:
    assert told in fault("BUCKET__PREFIXES", written)


def test_the_whole_bucket_has_to_be_said_outright() -> None:
    assert read(BUCKET__PREFIXES='[""]').bucket.prefixes == ("",)
    assert "is empty" in fault("BUCKET__PREFIXES", "")


def test_sibling_prefixes_are_no_overlap() -> None:
    assert read(BUCKET__PREFIXES='["images/", "image/"]').bucket.prefixes == ("image/", "images/")


def test_a_column_that_the_schema_lacks_is_mapped_to_nothing() -> None:
    settings = read(CATALOG__MEDIA_COLUMNS__SIZE_BYTES="", CATALOG__MEDIA_TABLE="shop.media")
    assert settings.catalog.media_columns.size_bytes == ""
    assert settings.catalog.media_table == "shop.media"
    assert "is empty" in fault("CATALOG__MEDIA_COLUMNS__STORAGE_KEY", "")


@pytest.mark.attack(59)
@pytest.mark.parametrize(
    "written",
    [
        {"LEDGER_RETENTION": "6d"},
        {"UNDO_WINDOW": "91d"},
        {"UNDO_WINDOW": "30d", "LEDGER_RETENTION": "29d23h59m59s"},
    ],
)
def test_the_ledger_cannot_forget_before_undo_ends(written: dict[str, str]) -> None:
    (line,) = faults(environment(**written))
    assert line.startswith("RECONCILER_LEDGER_RETENTION")
    assert f"must be at least RECONCILER_UNDO_WINDOW ({written.get('UNDO_WINDOW', '7d')})" in line
    told = {"UNDO_WINDOW": "30d", "LEDGER_RETENTION": "30d"}
    assert load(environment(**told)).ledger_retention == timedelta(days=30)


def test_a_window_that_cannot_be_read_is_the_only_fault() -> None:
    (line,) = faults(environment(UNDO_WINDOW="soon", LEDGER_RETENTION="1d"))
    assert line.startswith("RECONCILER_UNDO_WINDOW='soon'")


# --- faults -----------------------------------------------------------------------------------------


def test_every_fault_is_told_at_once() -> None:
    told = faults(environment(DRY_RUN="maybe", GRACE_PERIOD="2 days", NOPE="1", BUCKET__NAME=None))
    assert len(told) == 4
    for name in (
        "DRY_RUN='maybe'",
        "GRACE_PERIOD='2 days'",
        "NOPE: no such setting",
        "BUCKET__NAME is not set",
    ):
        assert any(name in line for line in told)


def test_what_is_required_is_named_with_its_meaning() -> None:
    told = faults({})
    assert [line.split(" is not set")[0] for line in told] == [
        "RECONCILER_DATABASE_URL",
        "RECONCILER_BUCKET__NAME",
        "RECONCILER_BUCKET__PREFIXES",
    ]
    assert "Managed prefixes, a JSON list" in told[2]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("DRYRUN", "RECONCILER_DRY_RUN"),
        ("BUCKET_NAME", "RECONCILER_BUCKET__NAME"),
        ("BREAKER__MAX_FRACTON", "RECONCILER_BREAKER__MAX_FRACTION"),
        ("CONFIGFILE", "RECONCILER_CONFIG_FILE"),
        ("WEB_PORT", "RECONCILER_WEB__PORT"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest_known_one(written: str, meant: str) -> None:
    assert fault(written, "8080") == f"RECONCILER_{written}: no such setting; did you mean {meant}?"


def test_the_value_of_an_unknown_name_is_not_shown() -> None:
    assert "hunter2" not in fault("DATABASE_PASSWORD", "hunter2")


def test_a_name_in_lower_case_is_not_passed_over() -> None:
    (told,) = faults({**REQUIRED, "reconciler_dry_run": "false"})
    assert "did you mean RECONCILER_DRY_RUN?" in told


def test_a_group_of_settings_has_no_value() -> None:
    assert "RECONCILER_BUCKET__NAME" in fault("BUCKET", "{}")


def test_white_space_around_a_value_is_told() -> None:
    assert "white space" in fault("DRY_RUN", "false ")
    assert "white space" in fault("DATABASE_URL", f"{REQUIRED['RECONCILER_DATABASE_URL']}\n")


def test_an_empty_value_is_told() -> None:
    assert "is empty; unset it" in fault("BUCKET__ENDPOINT_URL", "")
    assert "is empty; it is required" in fault("DATABASE_URL", "")
    assert fault("BUCKET__PREFIXES", "").endswith('each ending in `/`; `[""]` is the whole bucket')


# --- secrets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "mysql://root:s3cr3t@db/media",
        "postgresql://root:s3cr3t@db",
        "postgresql://root:s3cr3t/w0rd@db/media",
        "postgresql://root:s3cr3t#w0rd@db/media",
        "postgresql://root:s3cr3t@w0rd@db/a/b",
        "postgresql://db?password=s3cr3t",
        "postgresql://root:s3cr3t@db:port/media",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    told = fault("DATABASE_URL", url)
    assert "s3cr3t" not in told
    assert "w0rd" not in told


def test_settings_do_not_show_the_database_password() -> None:
    settings = read()
    assert "s3cr3t" not in f"{settings!r} {settings}"
    assert settings.database_url.get_secret_value() == REQUIRED["RECONCILER_DATABASE_URL"]


def test_an_endpoint_with_credentials_is_refused_and_masked() -> None:
    told = fault("BUCKET__ENDPOINT_URL", "http://key:s3cr3t@minio:9000")
    assert "s3cr3t" not in told
    assert "without credentials" in told


def test_the_other_scheme_of_postgres_is_taken() -> None:
    settings = read(DATABASE_URL="postgres://u:p@db/media")
    assert settings.database_url.get_secret_value() == "postgresql://u:p@db/media"


# --- Kubernetes -------------------------------------------------------------------------------------


def test_variables_that_kubernetes_injects_are_ignored_with_a_warning() -> None:
    injected = {
        "RECONCILER_PORT": "tcp://10.0.0.1:8080",
        "RECONCILER_WEB_PORT": "tcp://10.0.0.1:8080",
        "RECONCILER_SERVICE_HOST": "10.0.0.1",
        "RECONCILER_SERVICE_PORT": "8080",
        "RECONCILER_SERVICE_PORT_HTTP": "8080",
        "RECONCILER_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "RECONCILER_PORT_8080_TCP_PROTO": "tcp",
        "RECONCILER_METRICS_PORT_8080_TCP_ADDR": "10.0.0.1",
    }
    warnings: list[str] = []
    settings = load({**REQUIRED, **injected}, warn=warnings.append)
    assert settings == load(REQUIRED)
    assert {line.split()[0] for line in warnings} == set(injected)
    assert all("enableServiceLinks" in line for line in warnings)


# --- files ------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_environment_wins_over_the_file_and_the_runtime_file_over_both(tmp_path: Path) -> None:
    static = write(tmp_path / "static.yaml", "sweep_interval: 1h\ndry_run: false\nbreaker:\n  max_count: 5\n")
    runtime = write(tmp_path / "runtime.yaml", "breaker:\n  max_count: 7\n")
    environ = environment(CONFIG_FILE=static, RUNTIME_FILE=runtime, BREAKER__MAX_COUNT="6", DRY_RUN="true")
    settings = load(environ)
    assert settings.sweep_interval == timedelta(hours=1)
    assert settings.dry_run is True
    assert settings.breaker.max_count == 7
    assert settings.breaker.max_dangling == 100


def test_yaml_writes_values_in_its_own_types(tmp_path: Path) -> None:
    text = "dry_run: no\nbreaker:\n  max_fraction: 0.5\nbucket:\n  prefixes: [a/, b/]\nlease:\n"
    settings = load(environment(BUCKET__PREFIXES=None, CONFIG_FILE=write(tmp_path / "static.yaml", text)))
    assert settings.dry_run is False
    assert settings.breaker.max_fraction == 0.5
    assert settings.bucket.prefixes == ("a/", "b/")


def test_faults_in_files_name_the_file(tmp_path: Path) -> None:
    text = "dry_run: maybe\nDELETE_DELAY: 1h\nbucket: media\ngrace_period: 48\n"
    text += "breaker:\n  max_cuont: 1\nweb:\n  port:\n"
    path = write(tmp_path / "static.yaml", text)
    told = faults(environment(CONFIG_FILE=path))
    assert f"RECONCILER_DRY_RUN='maybe' ({path}): must be true or false" in told
    assert f"{path}: DELETE_DELAY: no such setting; did you mean delete_delay?" in told
    assert f"{path}: bucket: must be a mapping of settings" in told
    assert f"{path}: breaker.max_cuont: no such setting; did you mean breaker.max_count?" in told
    assert any("GRACE_PERIOD=48" in line and "no unit" in line for line in told)
    assert any("RECONCILER_WEB__PORT" in line and "is empty" in line for line in told)
    assert len(told) == 6


def test_a_yaml_value_of_another_type_is_told_as_such(tmp_path: Path) -> None:
    text = "database_url: 5\nlog_level: [debug]\nmedia_retention_days: true\nkey_grace: 2026-01-01\n"
    text += "bucket: {name: 5, endpoint_url: 5, region: 5, key_shape: 5, prefixes: 5}\n"
    text += (
        "catalog: {media_table: 5, media_columns: {id: 5}}\nweb: {host: 5}\nbreaker: {max_fraction: true}\n"
    )
    path = write(tmp_path / "static.yaml", text)
    told = faults({"RECONCILER_CONFIG_FILE": path})
    assert len(told) == 13
    assert all(f" ({path}): must be " in line for line in told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "is not YAML"),
        ("- a", "must be a YAML mapping"),
        ("dry_run: true\ndry_run: false", "'dry_run' is set twice in line 2"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (only,) = faults(environment(CONFIG_FILE=write(tmp_path / "static.yaml", text)))
    assert told in only


@pytest.mark.parametrize("name", ["CONFIG_FILE", "RUNTIME_FILE"])
def test_a_file_that_cannot_be_read_is_told(name: str, tmp_path: Path) -> None:
    (only,) = faults(environment(**{name: str(tmp_path / "missing.yaml")}))
    assert only.startswith(f"RECONCILER_{name}=")
    assert "cannot be read" in only
    assert "is empty" in fault(name, "")


def test_the_runtime_file_may_only_set_what_can_change(tmp_path: Path) -> None:
    path = write(tmp_path / "runtime.yaml", "grace_period: 1h\ndry_run: false\nbucket:\n  name: other\n")
    told = faults(environment(RUNTIME_FILE=path))
    assert [line.split(" ")[0] for line in told] == ["RECONCILER_GRACE_PERIOD", "RECONCILER_BUCKET__NAME"]
    assert all("cannot change while the daemon runs" in line for line in told)


@pytest.mark.parametrize(
    "text",
    [
        "dry_run: false",
        "enable_auto_cleanup: false",
        "orphan_cleanup_enabled: false",
        "dangling_cleanup_enabled: false",
        "media_retention_days: 1",
        "recent_access_days: 1",
        "revoked_key_policy: delete",
        "key_grace: 1h",
        "max_deletes_per_second: unlimited",
        "breaker: {max_fraction: 0.2, max_count: 1, max_dangling: 1, min_count: 1}",
    ],
)
def test_every_runtime_setting_of_the_contract_can_change(tmp_path: Path, text: str) -> None:
    assert load(environment(RUNTIME_FILE=write(tmp_path / "runtime.yaml", text))) != load(REQUIRED)


# --- smaller sets -----------------------------------------------------------------------------------


def test_migrate_needs_the_database_alone() -> None:
    environ = {"RECONCILER_DATABASE_URL": "postgresql://u:p@db/media"}
    assert load(environ, kind=DatabaseSettings).catalog.media_table == "MediaRecords"
    assert load({}, kind=SchemaSettings).log_level == "info"


def test_a_smaller_set_still_finds_unknown_names_but_leaves_other_values_alone() -> None:
    environ = {"RECONCILER_DATABASE_URL": "postgresql://u:p@db/media", "RECONCILER_GRACE_PERIOD": "never"}
    load(environ, kind=DatabaseSettings)
    (told,) = faults({**environ, "RECONCILER_NOPE": "1"}, DatabaseSettings)
    assert told.startswith("RECONCILER_NOPE: no such setting")


# --- the hash ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MEDIA_RETENTION_DAYS", "91"),
        ("RECENT_ACCESS_DAYS", "31"),
        ("GRACE_PERIOD", "1h"),
        ("DELETE_DELAY", "1h"),
        ("KEY_GRACE", "1h"),
        ("REVOKED_KEY_POLICY", "delete"),
        ("ENABLE_AUTO_CLEANUP", "false"),
        ("ORPHAN_CLEANUP_ENABLED", "false"),
        ("DANGLING_CLEANUP_ENABLED", "false"),
        ("BREAKER__MAX_FRACTION", "0.2"),
        ("BREAKER__MAX_COUNT", "1"),
        ("BREAKER__MAX_DANGLING", "1"),
        ("BREAKER__MIN_COUNT", "1"),
        ("BUCKET__NAME", "other"),
        ("BUCKET__ENDPOINT_URL", "http://minio:9000"),
        ("BUCKET__PREFIXES", '["image/"]'),
        ("BUCKET__KEY_SHAPE", ".*"),
        ("CATALOG__MEDIA_TABLE", "media"),
        ("CATALOG__KEY_COLUMNS__ID", "id"),
    ],
)
def test_the_hash_changes_with_what_changes_a_verdict_or_a_release(name: str, value: str) -> None:
    assert read(**{name: value}).config_hash() != read().config_hash()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_DELETES_PER_SECOND", "1"),
        ("LOG_LEVEL", "debug"),
        ("LISTING_CONCURRENCY", "1"),
        ("SWEEP_INTERVAL", "1h"),
        ("DATABASE_URL", "postgresql://u:other@db/media"),
        ("BUCKET__PREFIXES", '["video/", "image/"]'),
    ],
)
def test_the_hash_does_not_change_with_the_rest(name: str, value: str) -> None:
    assert read(**{name: value}).config_hash() == read().config_hash()


# --- the source -------------------------------------------------------------------------------------


def test_a_changed_runtime_file_comes_into_force_at_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "runtime.yaml"
    source = SettingsSource(environment(RUNTIME_FILE=write(path, "dry_run: true\n")))
    before = source.current()
    assert source.refresh() is None
    write(path, "dry_run: false\nbreaker:\n  max_count: 3\n")
    assert source.current() is before
    change = source.refresh()
    assert change is not None
    assert change.error is None
    assert change.changed == {
        "RECONCILER_DRY_RUN": "true -> false",
        "RECONCILER_BREAKER__MAX_COUNT": "100000 -> 3",
    }
    assert source.current() is change.settings
    assert source.current().mode() is Mode.LIVE


@pytest.mark.parametrize("broken", ["dry_run: maybe", "grace_period: 1h", "a: [", None])
def test_a_bad_runtime_file_keeps_the_last_good_settings(tmp_path: Path, broken: str | None) -> None:
    path = tmp_path / "runtime.yaml"
    source = SettingsSource(environment(RUNTIME_FILE=write(path, "media_retention_days: 5\n")))
    good = source.current()
    path.unlink() if broken is None else write(path, broken)
    if broken is None:
        assert source.refresh() is None, "it may be there again in a moment"
    change = source.refresh()
    assert change is not None
    assert change.error
    assert change.error == source.error
    assert source.current() is good
    assert source.refresh() is None
    write(path, "media_retention_days: 6\n")
    mended = source.refresh()
    assert mended is not None
    assert mended.mended
    assert not source.error
    assert source.current().media_retention_days == 6


@pytest.mark.parametrize("between", ["", "\n", None])
def test_a_runtime_file_that_is_being_replaced_is_not_believed(tmp_path: Path, between: str | None) -> None:
    """Written in place it is empty for an instant, and the environment may say anything."""
    path = tmp_path / "runtime.yaml"
    source = SettingsSource(environment(RUNTIME_FILE=write(path, "dry_run: true\n"), DRY_RUN="false"))
    path.unlink() if between is None else write(path, between)
    assert source.refresh() is None
    assert source.look().mode() is Mode.DRY_RUN
    write(path, "dry_run: true\n")
    assert source.refresh() is None
    write(path, "dry_run: false\n")
    change = source.refresh()
    assert change is not None
    assert change.settings.mode() is Mode.LIVE


@pytest.mark.attack(71)
@pytest.mark.parametrize("text", ["", "\n", "  \n\n", "# dry_run: true\n", "---\n", "null\n"])
def test_an_emptied_runtime_file_keeps_the_last_settings_and_is_told(tmp_path: Path, text: str) -> None:
    """What it held is not known: the environment under it may be live."""
    path = tmp_path / "runtime.yaml"
    source = SettingsSource(environment(RUNTIME_FILE=write(path, "dry_run: true\n"), DRY_RUN="false"))
    write(path, text)
    for _ in range(3):
        source.refresh()
        assert source.look().mode() is Mode.DRY_RUN
    assert source.error is not None
    assert "is empty" in source.error
    (told,) = faults(environment(RUNTIME_FILE=str(path), DRY_RUN="false"))
    assert told == f"{path}: is empty; write its settings, or {{}} where it is to set nothing"
    write(path, "{}\n")
    change = source.refresh()
    assert change is not None
    assert change.mended
    assert source.current().mode() is Mode.LIVE, "now it says that it sets nothing"


def swap(volume: Path, text: str) -> None:
    """As the kubelet does: a new directory, and one rename of the link `..data` over the old one."""
    content = Path(tempfile.mkdtemp(prefix="..", dir=volume))
    write(content / "runtime.yaml", text)
    (volume / "..data_tmp").symlink_to(content.name)
    (volume / "..data_tmp").rename(volume / "..data")


def test_who_is_about_to_delete_sees_a_swapped_directory_at_once(tmp_path: Path) -> None:
    swap(tmp_path, "dry_run: false\n")
    (tmp_path / "runtime.yaml").symlink_to("..data/runtime.yaml")
    source = SettingsSource(environment(RUNTIME_FILE=str(tmp_path / "runtime.yaml")))
    told: list[Change] = []
    source.listen(told.append)
    before = source.look()
    assert before.mode() is Mode.LIVE
    assert source.look() is before
    swap(tmp_path, "dry_run: true\n")
    assert source.current() is before
    assert source.look().mode() is Mode.DRY_RUN
    (change,) = told
    assert change.changed == {"RECONCILER_DRY_RUN": "false -> true"}
    swap(tmp_path, "dry_run: maybe\n")
    assert source.look().mode() is Mode.DRY_RUN
    assert source.error
    assert source.error == told[-1].error
    assert source.refresh() is None, "told once"


def test_what_is_no_runtime_setting_stays_as_it_was_read_at_the_start(tmp_path: Path) -> None:
    static = write(tmp_path / "static.yaml", "grace_period: 1h\nbreaker: {max_count: 5}\n")
    runtime = write(tmp_path / "runtime.yaml", "dry_run: true\n")
    source = SettingsSource(environment(CONFIG_FILE=static, RUNTIME_FILE=runtime))
    write(tmp_path / "static.yaml", "grace_period: 2h\nbreaker: {max_count: 6}\n")
    write(tmp_path / "runtime.yaml", "dry_run: false\n")
    change = source.refresh()
    assert change is not None
    assert change.changed == {"RECONCILER_DRY_RUN": "true -> false"}
    assert source.current().grace_period == timedelta(hours=1)


def test_without_a_runtime_file_nothing_ever_changes() -> None:
    assert SettingsSource(REQUIRED).refresh() is None


def test_a_runtime_file_that_is_not_there_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        SettingsSource(environment(RUNTIME_FILE=str(tmp_path / "missing.yaml")))


# --- any table --------------------------------------------------------------------------------------


def test_a_table_of_keys_and_the_owner_may_be_left_out_together() -> None:
    catalog = read(CATALOG__KEYS_TABLE="", CATALOG__MEDIA_COLUMNS__VIRTUAL_KEY_ID="").catalog
    assert (catalog.keys_table, catalog.media_columns.virtual_key_id) == ("", "")
    told = fault("CATALOG__MEDIA_COLUMNS__VIRTUAL_KEY_ID", "")
    assert "set RECONCILER_CATALOG__KEYS_TABLE to nothing as well" in told


def test_a_row_filter_is_a_variable_for_each_column_whose_case_counts() -> None:
    catalog = read(CATALOG__MEDIA_WHERE__bucket_id="avatars", CATALOG__MEDIA_WHERE__Kind="a b").catalog
    assert catalog.media_where == {"bucket_id": "avatars", "Kind": "a b"}
    assert read(CATALOG__MEDIA_WHERE='{"live": true, "tenant": 7}').catalog.media_where == {
        "live": "true",
        "tenant": "7",
    }


@pytest.mark.parametrize(
    "raw", ["avatars", "[1]", '{"rate": 1.5}', '{"a\\"b": "c"}', '{"": "c"}', '{"a": null}']
)
def test_what_is_no_row_filter_is_refused(raw: str) -> None:
    assert "must be values by column" in fault("CATALOG__MEDIA_WHERE", raw)


def test_a_row_filter_is_not_said_in_two_ways() -> None:
    with pytest.raises(ConfigError, match="are both set: unset one of them"):
        read(CATALOG__MEDIA_WHERE="{}", CATALOG__MEDIA_WHERE__a="b")


def test_further_columns_that_name_objects_are_lists() -> None:
    catalog = read(
        CATALOG__VARIANT_COLUMNS='["ThumbKey", "PosterKey"]',
        CATALOG__ALSO_REFERENCED='["posts.Cover", "app.users.avatar"]',
    ).catalog
    assert catalog.variant_columns == ("PosterKey", "ThumbKey")
    assert catalog.also_referenced == ("app.users.avatar", "posts.Cover")


@pytest.mark.parametrize("raw", ["posts.cover", '["cover"]', '["a.b.c.d"]', "[7]", '["a..b"]'])
def test_what_is_no_list_of_references_is_refused(raw: str) -> None:
    assert "must be a JSON list of schema.table.column" in fault("CATALOG__ALSO_REFERENCED", raw)


@pytest.mark.parametrize("raw", ["ThumbKey", '["media.ThumbKey"]', '[""]'])
def test_what_is_no_list_of_columns_is_refused(raw: str) -> None:
    assert "must be a JSON list of columns" in fault("CATALOG__VARIANT_COLUMNS", raw)


@pytest.mark.parametrize("content", ["dry_rn: true", "[", "", None])
def test_a_runtime_file_that_cannot_be_read_keeps_nobody_from_the_database(
    tmp_path: Path, content: str | None
) -> None:
    """`pause` is what an operator wants just then; it needs the database's address alone."""
    runtime, told = tmp_path / "runtime.yaml", list[str]()
    if content is not None:
        runtime.write_text(content)
    environ = {"RECONCILER_DATABASE_URL": "postgresql://db/app", "RECONCILER_RUNTIME_FILE": str(runtime)}
    assert load(environ, kind=DatabaseSettings, warn=told.append).database_url
    assert [each.endswith("(this command does without that file)") for each in told] == [True]
    bucket = {"RECONCILER_BUCKET__NAME": "media", "RECONCILER_BUCKET__PREFIXES": '["a/"]'}
    with pytest.raises(ConfigError, match=r"runtime\.yaml"):
        load({**environ, **bucket})


@pytest.mark.parametrize("value", ["reports", "s3://reports/x", "gs://", "gs://reports/a\nb"])
def test_googles_reports_lie_in_a_bucket_of_googles(value: str) -> None:
    assert "must be a bucket of Google's and a path, such as gs://" in fault("INVENTORY__DESTINATION", value)


@pytest.mark.parametrize(
    ("endpoint", "catalog", "good"),
    [
        (None, None, True),
        (None, "https://catalog/iceberg", True),
        ("https://s3", "http://catalog", True),
        ("http://s3", "http://catalog", True),
        ("http://s3", "https://catalog", False),
        ("http://s3", None, False),
    ],
)
def test_a_catalog_over_tls_is_not_asked_where_no_certificate_is_checked(
    endpoint: str | None, catalog: str | None, good: bool
) -> None:
    """Both go through one pool, which checks none where the bucket is reached in clear."""
    given = environment(
        SWEEP__SOURCE="s3_metadata", BUCKET__ENDPOINT_URL=endpoint, INVENTORY__CATALOG=catalog
    )
    if good:
        assert load(given).inventory.catalog == catalog
    else:
        (line,) = faults(given)
        assert "CATALOG must be https, and so must RECONCILER_BUCKET__ENDPOINT_URL, or neither" in line


@pytest.mark.parametrize("value", ["media-events", "https://sqs.eu-west-1.amazonaws.com/", "ftp://x/1/q"])
def test_a_queue_has_a_url_with_its_name(value: str) -> None:
    assert "must be a queue's URL, such as https://sqs." in fault("EVENTS__QUEUE_URL", value)
