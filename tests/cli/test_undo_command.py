"""`undo` as a person and a script meet it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

import anyio
import pytest

from tests.cli.program import reconciler
from tests.integration.site import Site, make_site
from tests.servers import Bucket


@pytest.fixture
def site(database: str, seaweed_bucket: Bucket) -> Site:
    made = make_site(database, seaweed_bucket)
    made.environment["RECONCILER_DELETE_MODE"] = "auto"
    return made


@pytest.fixture
def lost(site: Site) -> Mapping[str, str]:
    """A site that lost an orphan."""

    async def lose() -> None:
        await site.put("image/orphan")
        await site.once()

    anyio.run(lose)
    return site.environment


def test_a_key_that_went_has_no_mark_and_says_when_it_went_and_how_it_comes_back(
    lost: Mapping[str, str],
) -> None:
    shown = reconciler("marks", "show", "image/orphan", env=lost)
    assert (shown.status, shown.out) == (1, "")
    assert shown.told[0].startswith(
        "reconciler: image/orphan: there is no mark on this key: it was deleted at 20"
    )
    assert shown.told[0].endswith("Z, by pass 1; `reconciler undo --key image/orphan` brings it back")
    assert reconciler("undo", "--key", "image/orphan", env=lost).status == 0
    shown = reconciler("marks", "show", "image/orphan", env=lost)
    assert "by pass 1, and restored at 20" in shown.told[0]


def test_undo_tells_what_would_come_back_and_then_brings_it(lost: Mapping[str, str]) -> None:
    told = reconciler("undo", "--since", "1h", "--dry-run", env=lost)
    assert (told.status, told.told) == (0, [])
    assert "image/orphan" in told.out
    assert "1 object (1 B) and 0 rows would be restored" in told.out
    assert "would be restored" in told.out.splitlines()[1], "the outcome of its line, too"
    done = reconciler("undo", "--since", "1h", "--json", env=lost)
    assert done.status == 0
    report = json.loads(done.out)
    assert report.pop("duration_seconds") > 0
    assert report.pop("held_until") > "20"
    assert report == {
        "mode": "live",
        "outcome": "complete",
        "objects": 1,
        "records": 0,
        "bytes": 1,
        "present": 0,
        "gone": 0,
        "refused": [],
    }


@pytest.mark.incident(31)
def test_undo_writes_nothing_where_the_setting_says_dry_run(lost: Mapping[str, str]) -> None:
    told = reconciler("undo", "--key", "image/orphan", env={**lost, "RECONCILER_DRY_RUN": "true"})
    assert told.status == 1
    assert told.told == [
        "reconciler: nothing was restored: RECONCILER_DRY_RUN is true; set it to false for this command"
    ]
    assert "would be restored" in told.out
    asked = ("undo", "--key", "image/orphan", "--dry-run")
    asked_for = reconciler(*asked, env={**lost, "RECONCILER_DRY_RUN": "true"})
    assert (asked_for.status, asked_for.told) == (0, [])


def test_what_the_ledger_knows_nothing_of_is_said_and_fails(lost: Mapping[str, str]) -> None:
    nothing = "the ledger knows of no deletion that fits; nothing to bring back"
    ended = reconciler("undo", "--key", "nosuch", "--dry-run", env=lost)
    assert (ended.status, ended.out) == (1, "")
    assert ended.told == [f"reconciler: nosuch: {nothing}"]
    ended = reconciler("undo", "--pass", "9999", "--json", env=lost)
    assert (ended.status, ended.told) == (
        1,
        [f"reconciler: pass 9999: {nothing} (there is no pass 9999)"],
    )
    assert json.loads(ended.out)["outcome"] == "incomplete"
    ended = reconciler("undo", "--key", "nosuch", "--key", "image/orphan", env=lost)
    assert (ended.status, ended.told) == (1, [f"reconciler: nosuch: {nothing}"])
    assert "1 object (1 B) and 0 rows came back" in ended.out
    again = reconciler("undo", "--key", "image/orphan", env=lost)
    assert (again.status, again.told) == (0, []), "it may be repeated"
    assert again.out.startswith("nothing to do: all of it is back, or was erased; `reconciler history KEY`")
    ended = reconciler("undo", "--since", "1h", "--until", "2h", env=lost)
    assert (ended.status, ended.told) == (2, ["reconciler: --until '2h': must be later than --since '1h'"])


def test_what_a_dry_run_had_marked_went_under_its_number(site: Site) -> None:
    site.bucket.put("image/orphan")
    env = {**site.environment, "RECONCILER_DRY_RUN": "true"}
    assert reconciler("once", env=env).status == 0
    assert "deleted: 1 object" in reconciler("once", env=site.environment).out
    (again, first) = json.loads(reconciler("passes", "--kind", "sweep", "--json", env=env).out)
    told = (
        "a key counts for the pass that found it first. What went since: 1 object and 0 records under pass"
        f" {first['id']} (reconciler undo --pass {first['id']})"
    )
    show = reconciler("passes", "show", str(again["id"]), env={**env, "COLUMNS": "300"})
    assert f"pass {again['id']} has no mark of its own left: {told}" in show.out
    ended = reconciler("undo", "--pass", str(again["id"]), env=site.environment)
    assert (ended.status, len(ended.told)) == (1, 1)
    assert ended.told[0].endswith(f"nothing to bring back ({told})")
    assert reconciler("undo", "--pass", str(first["id"]), env=site.environment).status == 0


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--until", "1h", "--key", "a"), "--until needs --since"),
        (("--since", "yesterday"), "ISO 8601, or how long ago"),
    ],
)
def test_times_that_mean_nothing_are_usage_errors(
    lost: Mapping[str, str], args: tuple[str, ...], told: str
) -> None:
    ended = reconciler("undo", *args, env=lost)
    assert ended.status == 2
    assert told in ended.told[0]


def test_what_came_back_is_on_hold_for_as_long_as_is_said_and_lifted_with_its_pass(
    lost: Mapping[str, str],
) -> None:
    refused = reconciler("undo", "--pass", "1", "--hold-for", "5m", env=lost)
    assert refused.status == 2
    assert "--hold-for '5m': must be at least 1h" in refused.told[0]
    done = reconciler("undo", "--pass", "1", "--hold-for", "90d", env=lost)
    assert "are on hold until 20" in done.out
    assert "(`reconciler hold remove --pass 1` lifts that)" in done.out
    (line,) = reconciler("hold", "list", "--json", env=lost).out.splitlines()
    held = json.loads(line)
    days = datetime.fromisoformat(held["until"]) - datetime.fromisoformat(held["added_at"])
    assert (held["target"], held["pass_id"], round(days / timedelta(days=1))) == ("image/orphan", 1, 90)
    assert reconciler("hold", "remove", "--pass", "1", env=lost).out == "1 hold lifted\n"


def test_what_was_erased_is_told_as_gone_once_it_is(lost: Mapping[str, str]) -> None:
    key = "image/orphan"
    asked = reconciler("erase", key, "--by", "ada", env=lost)
    assert asked.status == 0
    assert "hidden objects: 1, still stored: the leader's next round purges them" in asked.out
    waits = reconciler("history", key, env=lost).out
    assert "erasure ordered by ada" in waits
    assert "object erased" not in waits
    assert "what is hidden of it is purged by the leader's next round" in waits
    assert json.loads(reconciler("history", key, "--json", env=lost).out)["state"] == "erasing"
    assert reconciler("once", env=lost).status == 0
    assert json.loads(reconciler("history", key, "--json", env=lost).out)["state"] == "erased"
    assert "object erased\n" in reconciler("history", key, env=lost).out
    late = reconciler("undo", "--key", key, env=lost)
    assert late.status == 1
    assert late.out.splitlines()[-1] == "0 objects (0 B) and 0 rows came back"
    assert "1 object cannot come back" in late.told[-1]
