"""`reconciler cost`: what sweeps and storage cost, from what the last sweep counted."""

import json

from tests.cli.program import reconciler
from tests.servers import execute

SWEPT = """
INSERT INTO reconciler.passes (kind, cutoff, config_hash, mode, epoch, state, finished_at, tally)
VALUES ('sweep', now(), 'h', 'live', 1, 'released', now(), '{"objects": 10000000, "bytes": 1099511627776}')
"""


def test_it_needs_the_database_alone_and_says_that_no_sweep_has_counted(database: str) -> None:
    env = {"RECONCILER_DATABASE_URL": database}
    ran = reconciler("cost", env=env)
    assert (ran.status, ran.out) == (2, "")
    (line,) = ran.told
    assert line.startswith("reconciler: no sweep has counted the bucket yet: `reconciler once` does, or name")
    given = json.loads(reconciler("cost", "--objects", "1000000000", "--json", env=env).out)
    assert (given["pass_id"], given["objects"], given["bytes"]) == (None, 1_000_000_000, 0)
    assert [each["cheapest"] for each in given["sweeps"]] == ["s3_metadata"] * 3


def test_it_reckons_with_what_the_last_sweep_counted(database: str) -> None:
    execute(database, SWEPT)
    env = {"RECONCILER_DATABASE_URL": database, "COLUMNS": "80"}
    told = json.loads(reconciler("cost", "--per-gib", "0.01", "--json", env=env).out)
    assert (told["objects"], told["requests"], told["storage"]) == (10_000_000, 10_000, 10.24)
    assert [each["every_seconds"] for each in told["sweeps"]] == [21_600, 86_400, 604_800]
    assert [each["inventory"] is None for each in told["sweeps"]] == [True, False, False]
    twice = json.loads(reconciler("cost", "--objects", "20000000", "--json", env=env).out)
    assert (twice["pass_id"], twice["bytes"]) == (None, 2**41)
    shown = reconciler("cost", env=env)
    assert (shown.status, shown.told) == (0, [])
    lines = shown.out.splitlines()
    assert lines[0].startswith("10,000,000 objects, 1.0 TiB, as pass ")
    assert lines[3].split() == ["6", "hours", "$6.08", "-", "$0.00", "S3", "Metadata,", "saves", "$6.08"]
    assert max(map(len, lines)) <= 80
    wrong = reconciler("cost", "--per-gib", "cheap", env=env)
    assert (wrong.status, len(wrong.told)) == (2, 1)
