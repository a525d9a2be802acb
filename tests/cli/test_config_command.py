"""`reconciler config`, and what settings that are not valid come to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.program import reconciler

SETTINGS = {
    "RECONCILER_DATABASE_URL": "postgresql://gateway:s3cr3t@db/media",
    "RECONCILER_BUCKET__NAME": "media",
    "RECONCILER_BUCKET__PREFIXES": '["image/"]',
}


def test_scripts_get_every_setting_with_its_source(tmp_path: Path) -> None:
    runtime = tmp_path / "runtime.yaml"
    runtime.write_text("dry_run: false\n")
    environment = {**SETTINGS, "RECONCILER_RUNTIME_FILE": str(runtime), "RECONCILER_DRY_RUN": "true"}
    ran = reconciler("config", "--json", env=environment)
    assert (ran.status, ran.told) == (0, [])
    told = json.loads(ran.out)
    assert (told["mode"], len(told["config_hash"])) == ("live", 16)
    by_key = {each.pop("key"): each for each in told["settings"]}
    assert by_key["database_url"]["value"] == "postgresql://gateway:***@db/media"
    assert by_key["dry_run"] == {
        "name": "RECONCILER_DRY_RUN",
        "value": False,
        "default": True,
        "required": False,
        "runtime": True,
        "source": "runtime_file",
        "where": str(runtime),
        "over": [{"source": "environment", "where": None}],
        "meaning": "Refuse every deletion. True: nothing is deleted until you switch it off.",
    }


def test_people_get_a_table_and_are_told_what_is_overridden(tmp_path: Path) -> None:
    runtime = tmp_path / "runtime.yaml"
    runtime.write_text("dry_run: false\n")
    environment = {**SETTINGS, "RECONCILER_RUNTIME_FILE": str(runtime), "RECONCILER_DRY_RUN": "true"}
    ran = reconciler("config", env=environment)
    assert (ran.status, "s3cr3t" in ran.out) == (0, False)
    lines = ran.out.splitlines()
    starts = {line.index(value) for line in lines for value in (" 48h ", " 24h ", " 6h ") if value in line}
    assert len(starts) == 1, "aligned"
    assert lines[-1] == f"RECONCILER_DRY_RUN is set in the environment and in {runtime}, which wins: false"


@pytest.mark.parametrize("command", ["config", "doctor", "run"])
def test_every_fault_is_told_and_nothing_begun(command: str) -> None:
    ran = reconciler(command, env={**SETTINGS, "RECONCILER_DRY_RUN": "maybe", "RECONCILER_GRACE_PERIOD": "2"})
    assert (ran.status, ran.out, len(ran.told)) == (2, "", 2)


@pytest.mark.parametrize("content", ["dry_run: maybe", "grace_period: 1h", None])
def test_a_daemon_does_not_start_on_a_bad_or_missing_runtime_file(
    tmp_path: Path, content: str | None
) -> None:
    runtime = tmp_path / "runtime.yaml"
    if content is not None:
        runtime.write_text(content)
    ran = reconciler("run", env={**SETTINGS, "RECONCILER_RUNTIME_FILE": str(runtime)})
    assert (ran.status, ran.out, len(ran.told)) == (2, "", 1)
    assert str(runtime) in ran.told[0]
