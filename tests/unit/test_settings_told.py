"""Where each setting's value came from, and how `reconciler config` tells it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import ConfigError
from reconciler.model.durations import duration_text
from reconciler.settings import (
    Origin,
    SettingReport,
    SettingsSource,
    Source,
    database_url_now,
    load,
    overridden,
    tell,
    values,
)
from tests.unit.test_settings import REQUIRED, environment, faults, write

URL = REQUIRED["RECONCILER_DATABASE_URL"]
MASKED = "postgresql://gateway:***@db:5432/media"


def traced(environ: Mapping[str, str]) -> Mapping[str, SettingReport]:
    return {each.key: each for each in tell(SettingsSource(environ).loaded)}


def test_every_value_is_told_with_its_source_and_meaning(tmp_path: Path) -> None:
    static = write(tmp_path / "static.yaml", "sweep_interval: 1h\ndry_run: true\nlease: {ttl: 10s}\n")
    runtime = write(tmp_path / "runtime.yaml", "dry_run: false\n")
    told = traced(environment(CONFIG_FILE=static, RUNTIME_FILE=runtime, DRY_RUN="true", KEY_GRACE="90m"))
    assert all(each.meaning and each.meaning.isprintable() for each in told.values())
    assert len({each.name for each in told.values()}) == len(told) > 40
    seen = {key: (told[key].value, str(told[key].origin.source)) for key in told}
    assert seen["dry_run"] == (False, "runtime_file")
    assert [each.source for each in told["dry_run"].origin.over] == [Source.FILE, Source.ENVIRONMENT]
    assert seen["sweep_interval"] == ("1h", "file")
    assert seen["lease.ttl"] == ("10s", "file")
    assert seen["key_grace"] == ("90m", "environment")
    assert seen["grace_period"] == ("48h", "default")
    assert seen["max_deletes_per_second"] == (100, "default")
    assert seen["bucket.prefixes"] == (["image/", "video/"], "environment")
    assert seen["database_url"] == (MASKED, "environment")
    assert (told["breaker.max_fraction"].default, told["breaker.max_fraction"].runtime) == (0.1, True)
    assert (told["bucket.name"].required, told["bucket.name"].default) == (True, None)
    (line,) = overridden(list(told.values()))
    assert line == f"RECONCILER_DRY_RUN is set in the environment and in {runtime}, which wins: false"


def test_no_limit_is_told_as_it_is_written() -> None:
    told = traced(environment(MAX_DELETES_PER_SECOND="unlimited"))
    assert told["max_deletes_per_second"].value == "unlimited"


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36_500)))
def test_a_duration_is_told_as_it_may_be_written(duration: timedelta) -> None:
    whole = timedelta(milliseconds=duration // timedelta(milliseconds=1))
    assert values.duration(duration_text(whole)) == whole


# --- the database's URL in a file of its own --------------------------------------------------------


def test_the_database_url_may_stand_in_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "url", f"{URL}\n")
    told = traced(environment(DATABASE_URL=None, DATABASE_URL_FILE=path))["database_url"]
    assert (told.value, told.origin) == (MASKED, Origin(source=Source.SECRET_FILE, where=path))
    settings = load(environment(DATABASE_URL=None, DATABASE_URL_FILE=path))
    assert settings.database_url.get_secret_value() == URL


def test_the_file_is_read_anew_for_each_connection_and_a_bad_one_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "url", f"{URL}\n")
    now = database_url_now(load(environment(DATABASE_URL=None, DATABASE_URL_FILE=path)))
    assert now is not None
    changed = URL.replace("s3cr3t", "rotated")
    write(tmp_path / "url", changed)
    assert now() == changed
    for broken in ("", "hunter2"):
        write(tmp_path / "url", broken)
        assert now() == changed
    (tmp_path / "url").unlink()
    assert now() == changed
    assert database_url_now(load(REQUIRED)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [("@db:", "@standby:"), (":5432", ":5433"), ("/media", "/staging"), ("media", "media?host=x")],
)
def test_another_database_is_not_followed_while_the_program_runs(tmp_path: Path, old: str, new: str) -> None:
    """Else the lease would be taken in one database, and the rows looked for in another."""
    path = write(tmp_path / "url", URL)
    told: list[str] = []
    now = database_url_now(load(environment(DATABASE_URL=None, DATABASE_URL_FILE=path)), warn=told.append)
    assert now is not None
    write(tmp_path / "url", URL.replace(old, new))
    assert (now(), now()) == (URL, URL)
    (line,) = told
    assert "takes a restart" in line
    assert "s3cr3t" not in line
    rotated = URL.replace("gateway:s3cr3t", "gateway_b:rotated") + "?sslmode=require"
    write(tmp_path / "url", rotated)
    assert now() == rotated


@pytest.mark.parametrize("content", [None, "hunter2"])
def test_dry_run_comes_into_force_though_the_urls_file_has_gone_bad(
    tmp_path: Path, content: str | None
) -> None:
    path, runtime = write(tmp_path / "url", URL), write(tmp_path / "runtime.yaml", "dry_run: false\n")
    source = SettingsSource(environment(DATABASE_URL=None, DATABASE_URL_FILE=path, RUNTIME_FILE=runtime))
    (tmp_path / "url").unlink()
    if content is not None:
        write(tmp_path / "url", content)
    write(tmp_path / "runtime.yaml", "dry_run: true\n")
    assert source.look().dry_run
    assert source.error is None


def test_a_file_with_something_else_is_not_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "url", "hunter2")
    (told,) = faults(environment(DATABASE_URL=None, DATABASE_URL_FILE=path))
    assert told.startswith(f"RECONCILER_DATABASE_URL ({path}): must be postgresql://")
    assert "hunter2" not in told


def test_the_database_url_is_not_said_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "url", URL)
    (told,) = faults(environment(DATABASE_URL_FILE=path))
    assert told == "RECONCILER_DATABASE_URL and RECONCILER_DATABASE_URL_FILE are both set: unset one of them"
    static = write(tmp_path / "static.yaml", f"database_url_file: {path}\n")
    assert faults(environment(CONFIG_FILE=static)) == [told]


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read_is_told_alone(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "url").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(environment(DATABASE_URL=None, DATABASE_URL_FILE=str(tmp_path / "url")))
    assert re.fullmatch(
        r"RECONCILER_DATABASE_URL_FILE=\S+/url: cannot be read \(.*\); name .*", str(caught.value)
    )


# --- a runtime file that is no YAML -----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "dry_run: {{ .Values.dryRun }}\n",
        "key_grace: 2026-13-45\n",
        "dry_run: !!bool maybe\n",
        "breaker: {max_count: !!int many}\n",
        "dry_run: " + "[" * 3000,
    ],
)
def test_whatever_the_runtime_file_holds_the_last_good_settings_stay_and_the_fault_is_told(
    tmp_path: Path, text: str
) -> None:
    runtime = write(tmp_path / "runtime.yaml", "dry_run: true\n")
    source = SettingsSource(environment(RUNTIME_FILE=runtime))
    write(tmp_path / "runtime.yaml", text)
    assert source.look().dry_run
    assert source.error is not None
    assert source.error.startswith(runtime)
    assert "\n" not in source.error
