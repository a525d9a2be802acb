"""`reconciler status`: how a site stands, from the database alone."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.program import reconciler
from tests.servers import execute

SITE = """
INSERT INTO reconciler.passes
    (id, kind, cutoff, finished_at, config_hash, mode, state, epoch, tally, trip_reason, released_xid)
VALUES (1, 'retention', '2026-11-01Z', '2026-11-01T01:00Z', 'h', 'live', 'released', 1, '{}', NULL, '3'),
       (2, 'sweep', '2026-11-02Z', '2026-11-02T01:00Z', 'h', 'live', 'released', 1,
        '{"objects": 1200, "records": 7}', NULL, '3'),
       (3, 'sweep', '2026-11-03Z', '2026-11-03T01:00Z', 'h', 'live', 'tripped', 1, '{}', 'too many', NULL),
       (4, 'sweep', '2026-11-04Z', NULL, 'h', 'live', 'running', 1, '{}', NULL, NULL);
INSERT INTO reconciler.marks
    (storage_key, verdict, reason, bytes, pass_id, first_seen_at, last_seen_at, last_pass_id, confirmed_id,
     sightings, due_at)
SELECT 'image/' || n, 'orphan', 'no record', 7, 2, '2026-11-02Z', now(), 2, 2, 1, now()
FROM generate_series(1, 3) n;
UPDATE reconciler.lease
SET holder = 'pod-7', epoch = 12, acquired_at = '2026-11-01Z', expires_at = '2999-01-01Z'
"""

LATER = """
INSERT INTO reconciler.passes (id, kind, cutoff, finished_at, config_hash, mode, state, epoch, tally)
VALUES (5, 'retention', '2026-11-05Z', '2026-11-05T01:00Z', 'h', 'live', 'released', 1, '{}'),
       (6, 'sweep', '2026-11-06Z', '2026-11-06T01:00Z', 'h', 'live', 'tripped', 1, '{}');
UPDATE reconciler.marks SET pass_id = 6 WHERE storage_key = 'image/1'
"""


BY_INVENTORY = """
UPDATE reconciler.passes SET inventory = '{"name": "reports/media/daily/2026-11-05T01-00Z/manifest.json",
    "digest": "0", "began_at": "2026-01-05T01:00:00+00:00", "delivered_at": "2026-11-05T23:00:00+00:00"}'
WHERE id = 6
"""


def test_a_site_that_runs_is_told_in_a_few_lines_and_as_json(database: str) -> None:
    execute(database, SITE)
    env = {"RECONCILER_DATABASE_URL": database}
    assert reconciler("hold", "add", "--key", "image/1", "--reason", "a case", env=env).status == 0
    assert reconciler("pause", "--reason", "a \x1b restore", env=env).status == 0
    ran = reconciler("status", env=env)
    assert (ran.status, ran.told) == (0, [])
    lines = dict(line.split("  ", 1) for line in ran.out.splitlines())
    told = {name: text.strip() for name, text in lines.items()}
    assert told.pop("deletion").endswith("(a \\x1b restore); reconciler resume")
    del told["for you"], told[""]
    left = "nothing of it is left, but a trip stays until a person has seen it, and no sweep pass is released"
    at = next(place for place, line in enumerate(ran.out.splitlines()) if line.startswith("for you"))
    mine = [line.removeprefix("for you").strip() for line in ran.out.splitlines()[at : at + 4]]
    assert re.fullmatch(r"sweep pass 3 tripped, first .*, at 2026-11-03 01:00:00Z: too many", mine.pop(0))
    assert mine == [
        f"{left} until then",
        "to end that: reconciler discard 3",
        "to look at it: reconciler passes show 3",
    ]
    assert told == {
        "leader": "pod-7, epoch 12",
        "mode": "live since 2026-11-01 00:00:00Z, as the last pass had it: no replica says more",
        "due now": "nothing",
        "last sweep": "pass 3, tripped 2026-11-03 01:00:00Z: 0 objects and 0 records looked at, 0 found",
        "last retention": "pass 1, released 2026-11-01 01:00:00Z: judged as part of 0 records, as the last"
        " sweep counted them, 0 found",
        "marks": "3 orphan",
        "holds": "1 key",
    }
    found = json.loads(reconciler("status", "--json", env=env).out)
    assert found["leader"] == {
        "holder": "pod-7",
        "epoch": 12,
        "acquired_at": "2026-11-01T00:00:00Z",
        "expires_at": "2999-01-01T00:00:00Z",
    }
    assert found["pause"]["paused"] is True
    assert found["mode"] == {"mode": "live", "since": "2026-11-01T00:00:00Z", "source": None}
    assert (found["replicas"], found["due"]["now"]) == ([], 0)
    assert [(each["id"], each["kind"]) for each in found["passes"]] == [(3, "sweep"), (1, "retention")]
    assert [(each["id"], each["reason"]) for each in found["tripped"]] == [(3, "too many")]
    assert found["marks"] == {"orphan": {"keys": 3, "bytes": 21, "first_seen_at": "2026-11-02T00:00:00Z"}}
    assert found["holds"] == {"key": 1, "prefix": 0, "virtual_key": 0}
    execute(database, LATER)
    later = reconciler("status", env=env).out
    assert "sweep passes 3 and 6 tripped, first" in later, "and not 5, of another kind"
    assert "to look at it: reconciler passes show 6" in later
    assert "inventory" not in later
    execute(database, BY_INVENTORY)
    (line,) = [each for each in reconciler("status", env=env).out.splitlines() if "inventory " in each]
    assert re.search(
        r"reports/media/daily/2026-11-05T01-00Z/manifest\.json, which began \d+ days ago\s*$", line
    )


def test_a_site_before_its_first_pass_has_nothing_to_tell(database: str) -> None:
    env = {"RECONCILER_DATABASE_URL": database}
    ran = reconciler("status", env=env)
    assert (ran.status, ran.told) == (0, [])
    assert [line.split("  ", 1)[1].strip() for line in ran.out.splitlines()] == [
        "there has been no pass yet",
        "no replica holds the lease",
        "not paused",
        "nothing waits for a decision",
        "nothing",
        "none",
        "none",
    ]
    found = json.loads(reconciler("status", "--json", env=env).out)
    assert (found["leader"], found["mode"], found["passes"], found["marks"]) == (None, None, [], {})


@pytest.mark.parametrize(
    "command", ["status", "passes", "passes show 3", "history image/1", "ledger"], ids=str.split
)
def test_a_further_column_that_is_gone_hides_nothing_from_who_looks(database: str, command: str) -> None:
    execute(database, SITE)
    env = {"RECONCILER_DATABASE_URL": database}
    before = reconciler(*command.split(), env=env)
    without = reconciler(
        *command.split(), env={**env, "RECONCILER_CATALOG__ALSO_REFERENCED": '["shown.key"]'}
    )
    assert (without.status, len(without.out.splitlines())) == (0, len(before.out.splitlines()))
    assert without.told == [
        "reconciler: RECONCILER_CATALOG__ALSO_REFERENCED shown.key: there is no table shown",
        "reconciler: until that is mended nothing is deleted; this command does without it",
    ]
    missing = {**env, "RECONCILER_CATALOG__MEDIA_TABLE": "nosuch"}
    assert reconciler(*command.split(), env=missing).status == 2


SPEAKS = """
INSERT INTO reconciler.replicas (name, said_at, says)
SELECT name, now() - age::interval, '{"version": "1", "mode": "dry_run", "mode_from": "the runtime file /f",
    "mode_since": "2026-11-29T12:00:00+00:00", "config_hash": "h", "epoch": null, "halted": null,
    "halted_since": null, "next_pass": {}, "phases": {}, "rate": 2, "blocked_by": ""}'::jsonb || says::jsonb
FROM (VALUES
    ('pod-7/1', '2s', '{"epoch": 12, "next_pass": {"sweep": "2026-12-01T06:00:00+00:00"},
                        "phases": {"retention": "comparing"}}'),
    ('pod-8/1', '3s', '{"halted": "the bucket is another database''s: reconciler adopt-bucket",
                        "halted_since": "2026-11-30T03:00:00+00:00"}'),
    ('pod-9/1', '2min', '{"halted": "long ago"}')) AS s (name, age, says)
"""
POLICY = """
UPDATE reconciler.passes SET policy = '{"prefixes": ["image/"], "key_shape": null, "grace_period": 0,
    "delete_delay": 0, "media_retention": 0, "recent_access": 0, "key_grace": 0, "delete_revoked": true,
    "auto_cleanup": true, "orphan_cleanup": true, "dangling_cleanup": true, "rewrites_keys": false}'
WHERE id = 2
"""


APPROVED = """
UPDATE reconciler.replicas SET says = says || '{"approval_ttl": 21600}';
UPDATE reconciler.passes SET decided_by = 'ada', decided_at = '2998-01-01Z' WHERE id = 2;
UPDATE reconciler.marks SET due_at = '2999-01-01Z' WHERE storage_key = 'image/3'
"""


def test_the_leader_says_its_mode_what_comes_next_and_how_long_that_takes(database: str) -> None:
    """Whatever the last pass had; what a replica said minutes ago is no news."""
    execute(database, SITE, SPEAKS, "DELETE FROM reconciler.passes WHERE state = 'tripped'", POLICY)
    env = {"RECONCILER_DATABASE_URL": database}

    def told() -> dict[str, str]:
        lines = (line.split("  ", 1) for line in reconciler("status", env=env).out.splitlines())
        return {name: text.strip() for name, text in lines}

    dry = told()
    assert dry["mode"] == "dry_run since 2026-11-29 12:00:00Z, by the runtime file /f"
    assert dry["leader"] == "pod-7, epoch 12; 1 replica more"
    assert dry["halted"] == (
        "pod-8/1 since 2026-11-30 03:00:00Z: the bucket is another database's: reconciler adopt-bucket"
    )
    assert dry["for you"] == "a replica is halted, until a person has done what is said next to it"
    assert re.fullmatch(
        "3 marks, the first .* ago, at .*; none goes now, since it is a dry run", dry["due now"]
    )
    assert dry["next sweep"].endswith(", at 2026-12-01 06:00:00Z")
    assert dry["next retention"] == "under way: comparing"
    execute(
        database,
        'UPDATE reconciler.replicas SET says = says || \'{"mode": "live"}\'',
        "UPDATE reconciler.marks SET due_at = now() + interval '2h' WHERE storage_key = 'image/3'",
    )
    live = told()
    assert live["mode"] == "live since 2026-11-01 00:00:00Z, by the runtime file /f"
    assert live["due now"].endswith("; gone in about 1 second, at 2 keys a second")
    assert live["due next"].startswith("1 mark within 24 hours, the first in ")
    found = json.loads(reconciler("status", "--json", env=env).out)
    assert found["mode"]["source"] == "the runtime file /f"
    due = found["due"]
    assert (due["now"], due["within_24_hours"], due["lasts_seconds"], due["stopped_by"]) == (2, 1, 1.0, None)
    assert [each["name"] for each in found["replicas"] if each["halted"]] == ["pod-8/1"]
    execute(database, "UPDATE reconciler.marks SET due_at = now() - interval '1h'")
    stuck = "none has gone for 10 minutes: reconciler marks list --state due, claimed or refused says why"
    assert told()["due now"].endswith(stuck)
    execute(database, "UPDATE reconciler.passes SET state = 'tripped', both_sides = true WHERE id = 4")
    stopped = told()["due now"]
    assert stopped.endswith("none goes now, since pass 4 found both sides wrong, and waits for a decision")
    execute(database, "UPDATE reconciler.lease SET expires_at = now()")
    assert list(json.loads(reconciler("status", "--json", env=env).out)["approved"]) == []
    execute(database, APPROVED)
    alone = told()
    assert alone["approved"] == (
        "sweep pass 2 by ada, 2998-01-01 00:00:00Z: 3 marks left;"
        " that counts until 2998-01-01 06:00:00Z, for the last of them until 2999-01-01 06:00:00Z"
    )
    shown = reconciler("passes", "show", "2", env=env).out
    assert "that counts until 2998-01-01 06:00:00Z" in " ".join(shown.split())
    execute(database, "UPDATE reconciler.replicas SET says = says - 'approval_ttl'")
    assert told()["approved"].endswith("that counts for RECONCILER_APPROVAL_TTL from when each may go")
    assert alone["leader"] == "no replica holds the lease, of 2 running"
    assert alone["mode"] == "live since 2026-11-01 00:00:00Z, by the runtime file /f", "all say so"
    execute(
        database,
        "UPDATE reconciler.replicas SET says = says || '{\"mode\": \"dry_run\"}' WHERE name = 'pod-8/1'",
    )
    assert told()["mode"].endswith("as the last pass had it: no replica says more")


def test_a_run_that_halted_is_told_until_the_next_one_or_a_leader(database: str) -> None:
    once = SPEAKS.replace("'pod-8/1', '3s'", "'once', '3h'")
    execute(database, once, "DELETE FROM reconciler.replicas WHERE name <> 'once'")
    env = {"RECONCILER_DATABASE_URL": database}

    def told() -> str:
        return reconciler("status", env=env).out

    assert re.search(
        r"^halted +the last `reconciler once`, since 2026-11-30 03:00:00Z: the bucket", told(), re.MULTILINE
    )
    assert "`reconciler once` is halted, until a person has done what is said next to it" in told()
    found = json.loads(reconciler("status", "--json", env=env).out)
    assert (found["replicas"], found["last_once"]["halted"][:10]) == ([], "the bucket")
    execute(database, "UPDATE reconciler.lease SET holder = 'pod-7', expires_at = '2999-01-01Z'")
    assert "halted" not in told()
