"""What happened to a key, and to what a pass found, as an auditor asks afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.cli.program import reconciler
from tests.cli.test_decisions import tripped
from tests.servers import Bucket

__all__ = ["tripped"]


def history(env: Mapping[str, str], key: str) -> dict[str, Any]:
    ran = reconciler("history", key, "--json", env=env)
    assert ran.told == []
    told: dict[str, Any] = json.loads(ran.out)
    return told


def test_a_key_is_followed_from_the_pass_that_found_it_to_its_return(
    tripped: Mapping[str, str], database: str, moto_bucket: Bucket
) -> None:
    alone = {"RECONCILER_DATABASE_URL": database}
    key = "image/orphan"
    assert history(alone, key)["state"] == "marked"
    assert reconciler("approve", "1", "--by", "ada", env=alone).status == 0
    assert reconciler("once", env=tripped).status == 0
    deleted = history(alone, key)
    assert (deleted["state"], deleted["mark"], deleted["rows"]) == ("deleted", None, [])
    result = deleted["events"][-1]
    assert (result["event"], result["result"], result["verdict"]) == ("result", "deleted", "orphan")
    assert (result["pass_id"], result["kind"], result["decided_by"]) == (1, "sweep", "ada")
    shown = reconciler("history", key, env=alone).out
    assert "found by sweep pass 1: orphan" in shown
    assert "approved by ada" in shown
    assert "now: deleted since" in shown
    assert f"reconciler undo --key {key} brings it back" in shown

    assert reconciler("undo", "--key", key, "--by", "bob", env=tripped).status == 0
    back = history(alone, key)
    assert back["state"] == "restored"
    shown = reconciler("history", key, env=alone).out
    assert "object restored by bob" in shown
    assert "now: back since" in shown
    gone = reconciler("marks", "show", key, env=alone)
    assert gone.status == 1
    assert "restored at" in gone.told[0]
    assert gone.told[0].endswith("by bob")


def test_a_pass_says_afterwards_what_was_deleted_of_it(
    tripped: Mapping[str, str], database: str, moto_bucket: Bucket
) -> None:
    """Also what was missing already, which was not deleted by us."""
    alone = {"RECONCILER_DATABASE_URL": database}
    before = json.loads(reconciler("passes", "show", "1", "--json", env=alone).out)
    assert (before["results"], len(before["examples"])) == ([], 3)
    assert sum(each["bytes"] for each in before["marks_by_prefix"]) > 0
    assert reconciler("approve", "1", env=alone).status == 0
    moto_bucket.client.delete_object(Bucket=moto_bucket.name, Key="video/orphan")
    assert reconciler("once", env={**tripped, "RECONCILER_SWEEP_INTERVAL": "6h"}).status == 0
    assert reconciler("undo", "--key", "image/orphan", env=tripped).status == 0
    shown = json.loads(reconciler("passes", "show", "1", "--json", env=alone).out)
    results = {(each["what"], each["result"]): (each["keys"], each["examples"]) for each in shown["results"]}
    keys = ["image/odd [bold] \u202e name", "image/orphan"]
    assert results["object", "deleted"] == (2, keys)
    assert results["object", "restored"] == (1, ["image/orphan"])
    assert shown["examples"] == []
    lines = reconciler("passes", "show", "1", env=alone).out.splitlines()
    assert any(line.split()[:4] == ["object", "orphan", "deleted", "2"] for line in lines)


def test_a_key_of_which_nothing_is_recorded_says_so(database: str) -> None:
    ran = reconciler("history", "image/never-seen", env={"RECONCILER_DATABASE_URL": database})
    assert (ran.status, ran.told) == (1, [])
    assert ran.out.startswith("now: nothing is recorded")
    odd = reconciler("history", "image/\udcff", "--json", env={"RECONCILER_DATABASE_URL": database})
    assert json.loads(odd.out)["state"] == "unknown"
