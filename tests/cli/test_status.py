"""`reconciler status`: how a site stands, from the database alone."""

from __future__ import annotations

import json

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


def test_a_site_that_runs_is_told_in_a_few_lines_and_as_json(database: str) -> None:
    execute(database, SITE)
    env = {"RECONCILER_DATABASE_URL": database}
    assert reconciler("hold", "add", "--key", "image/1", "--reason", "a case", env=env).status == 0
    assert reconciler("pause", "--reason", "a \x1b restore", env=env).status == 0
    ran = reconciler("status", env=env)
    assert (ran.status, ran.told) == (0, [])
    lines = dict(line.split("  ", 1) for line in ran.out.splitlines())
    told = {name: text.strip() for name, text in lines.items()}
    assert told.pop("deletion").endswith("(a \\x1b restore)")
    assert told == {
        "leader": "pod-7, epoch 12",
        "mode": "live since 2026-11-01 00:00:00 UTC",
        "last sweep": "pass 3, tripped 2026-11-03 01:00:00 UTC: 0 objects and 0 records looked at, 0 found",
        "last retention": "pass 1, released 2026-11-01 01:00:00 UTC: 0 objects and 0 records looked at,"
        " 0 found",
        "to decide": "pass 3 tripped: too many; reconciler passes show 3",
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
    assert found["mode"] == {"mode": "live", "since": "2026-11-01T00:00:00Z"}
    assert [(each["id"], each["kind"]) for each in found["passes"]] == [(3, "sweep"), (1, "retention")]
    assert [(each["id"], each["reason"]) for each in found["tripped"]] == [(3, "too many")]
    assert found["marks"] == {"orphan": {"keys": 3, "bytes": 21, "first_seen_at": "2026-11-02T00:00:00Z"}}
    assert found["holds"] == {"key": 1, "prefix": 0, "virtual_key": 0}


def test_a_site_before_its_first_pass_has_nothing_to_tell(database: str) -> None:
    env = {"RECONCILER_DATABASE_URL": database}
    ran = reconciler("status", env=env)
    assert (ran.status, ran.told) == (0, [])
    assert [line.split("  ", 1)[1].strip() for line in ran.out.splitlines()] == [
        "no replica holds the lease",
        "there has been no pass yet",
        "not paused",
        "none",
        "none",
    ]
    found = json.loads(reconciler("status", "--json", env=env).out)
    assert (found["leader"], found["mode"], found["passes"], found["marks"]) == (None, None, [], {})
