"""`plan` for a later time, for a part, to a file; and an approval that holds for what the file lists."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.plan import Both, JsonLines, PlanFile
from reconciler.model import Finding, Mode, Outcome, Report, Verdict
from tests.cli.program import reconciler
from tests.cli.test_commands import drift, env, row
from tests.cli.test_decisions import tripped
from tests.doubles.build import NOW
from tests.servers import Bucket

__all__ = ["drift", "env", "tripped"]


def planned(env: Mapping[str, str], *options: str) -> dict[str, dict[str, Any]]:
    """The findings by key."""
    ran = reconciler("plan", "--json", *options, env=env)
    assert ran.status in {0, 3}, ran.told
    return {each["storage_key"]: each for each in map(json.loads, ran.out.splitlines())}


def test_a_plan_for_later_finds_what_expires_until_then(
    drift: Mapping[str, str], database: str, moto_bucket: Bucket
) -> None:
    moto_bucket.put("image/soon")
    row(database, "image/soon", "now() + interval '3 days'")
    assert "image/soon" not in planned(drift)
    later = planned(drift, "--at", "7d")["image/soon"]
    assert (later["verdict"], planned(drift, "--at", "2d").get("image/soon")) == (
        "expired",
        None,
    )
    assert planned(drift, "--at", "2999-01-01")["image/soon"]["due_at"].startswith("2999-01-0")
    past = reconciler("plan", "--at", "2020-01-01", env=drift)
    assert past.status == 2
    assert "it is past" in past.told[0]


def test_a_part_is_shown_with_its_total(drift: Mapping[str, str]) -> None:
    assert set(planned(drift, "--verdict", "expired")) == {"image/expired"}
    assert set(planned(drift, "--prefix", "image/or")) == {"image/orphan"}
    assert planned(drift, "--virtual-key", "00000000-0000-0000-0000-000000000000") == {}
    unowned = {"RECONCILER_CATALOG__MEDIA_COLUMNS__VIRTUAL_KEY_ID": "", "RECONCILER_CATALOG__KEYS_TABLE": ""}
    refused = reconciler("plan", "--virtual-key", "3", env={**drift, **unowned})
    assert (refused.status, "no row has one" in refused.told[-1]) == (2, True)
    table = reconciler("plan", env=drift).out
    total = next(line.split() for line in table.splitlines() if line.startswith("total"))
    assert total[1:3] == ["3", "0"]


def test_an_approval_holds_for_what_the_plan_lists_and_no_more(
    tripped: Mapping[str, str], database: str, moto_bucket: Bucket, tmp_path: Path
) -> None:
    file = tmp_path / "plan.jsonl"
    written = reconciler("plan", "--prefix", "image/", "-o", str(file), env=tripped)
    assert (written.status, written.out.splitlines()[-1]) == (3, f"{file} has 2 findings.")
    assert len(file.read_text(encoding="utf-8").splitlines()) == 2
    assert [each.name for each in tmp_path.iterdir()] == ["plan.jsonl"]
    alone = {"RECONCILER_DATABASE_URL": database}
    approved = reconciler("approve", "1", "--plan", str(file), "--json", env=alone)
    outcome = json.loads(approved.out)
    assert (approved.status, outcome["marks"], outcome["withdrawn"]) == (0, 2, 1)
    assert (
        "mark withdrawn: pass 1 was approved in part by "
        in reconciler("history", "video/orphan", env=alone).out
    )
    rows = [line.split() for line in reconciler("passes", "show", "1", env=alone).out.splitlines()]
    assert ["object", "orphan", "withdrawn", "1"] in [row[:4] for row in rows]
    strict = {"RECONCILER_BREAKER__MAX_COUNT": "0"}  # or the rest is found again, and goes by itself
    assert reconciler("once", env={**tripped, **strict}).status == 3
    left = [key for key in moto_bucket.keys() if not key.startswith(".reconciler/")]  # noqa: SIM118
    assert left == ["video/orphan"]


@pytest.mark.parametrize("text", ["verdict,storage_key\n", '{"storage_key": "a"}\n', "[1]\n"])
def test_a_file_that_is_no_plan_approves_nothing(
    tripped: Mapping[str, str], database: str, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "plan"
    file.write_text(text, encoding="utf-8")
    ran = reconciler("approve", "1", "--plan", str(file), env=tripped)
    assert ran.status == 2
    assert "line 1 of the plan is no finding" in ran.told[0]
    missing = reconciler("approve", "1", "--plan", str(tmp_path / "none"), env=tripped)
    assert missing.status == 2
    shown = reconciler("passes", "show", "1", "--json", env={"RECONCILER_DATABASE_URL": database})
    assert json.loads(shown.out)["state"] == "tripped"


def test_a_plan_that_fails_leaves_the_file_as_it_was(drift: Mapping[str, str], tmp_path: Path) -> None:
    file = tmp_path / "plan.jsonl"
    file.write_text("before", encoding="utf-8")
    changes = {"RECONCILER_BUCKET__ENDPOINT_URL": "http://127.0.0.1:1"}
    assert reconciler("plan", "-o", str(file), env={**drift, **changes}).status == 1
    assert file.read_text(encoding="utf-8") == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["plan.jsonl"]
    assert reconciler("plan", "-o", str(tmp_path / "no" / "plan"), env=drift).status == 2


def test_a_reader_of_stdout_that_goes_away_is_not_the_files_error(tmp_path: Path) -> None:
    """`plan -o FILE --json | head -1`."""
    file = tmp_path / "plan.jsonl"
    with pytest.raises(BrokenPipeError), PlanFile.open(file, NOW):
        raise BrokenPipeError
    assert list(tmp_path.iterdir()) == []


class _Gone(io.StringIO):
    """A pipe that nobody reads."""

    def writelines(self, _: object) -> None:
        raise BrokenPipeError


def test_the_file_is_whole_where_the_reader_of_stdout_goes_away(tmp_path: Path) -> None:
    file, found = (
        tmp_path / "plan.jsonl",
        Finding(verdict=Verdict.ORPHAN, storage_key="a", bytes=1, reason=""),
    )
    with PlanFile.open(file, NOW) as part:
        both = Both(part, JsonLines(_Gone(), NOW))
        both.emit([found])
        both.emit([found])
        with pytest.raises(BrokenPipeError):
            both.finish(Report(mode=Mode.DRY_RUN, outcome=Outcome.CONVERGED))
    assert len(file.read_text(encoding="utf-8").splitlines()) == 2
