"""`reconciler storage`: who stores how much, for people and for scripts, from the database alone."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.cli.output import Output
from reconciler.cli.storage import UNKNOWN_PREFIXES, print_storage
from reconciler.model import HiddenPart, Storage, StorageBy, StoragePart
from reconciler.operations import as_json
from tests.cli.program import reconciler
from tests.servers import execute

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
OWNER = "00000000-0000-0000-0000-00000000000{}"
SEED = """
INSERT INTO "VirtualKeys" ("Id", "KeyName", "KeyHash")
SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'k', n::text FROM generate_series(1, 3) n;
INSERT INTO "MediaRecords" ("StorageKey", "VirtualKeyId", "MediaType", "Provider", "SizeBytes")
SELECT 'image/' || n, ('00000000-0000-0000-0000-00000000000' || 1 + n % 3)::uuid,
       CASE WHEN n % 2 = 0 THEN 'Image' ELSE 'image' END, CASE WHEN n < 5 THEN 'Acme' END, n
FROM generate_series(1, 9) n;
"""


def part(name: str, objects: int, size: int) -> StoragePart:
    return StoragePart(names=(name,), objects=objects, bytes=size)


def shown(stored: Storage, by: StorageBy) -> list[str]:
    out = io.StringIO()
    print_storage(stored, by, Output(file=out, width=200, highlight=False))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_largest_come_first_then_the_rest_and_the_sum() -> None:
    stored = Storage(
        at=AT,
        largest=[part("a\x1b[2J", 2, 3072), part("b", 1, 512)],
        other=part("other", 1, 512),
        other_parts=7,
        prefixes=("image/",),
    )
    head, first, second, rest, total = shown(stored, StorageBy.VIRTUAL_KEY)
    assert head.split() == ["virtual", "key", "objects", "bytes", "share"]
    assert first.split() == ["a\\x1b[2J", "2", "3,072", "3.0", "KiB", "75.0%"]
    assert second.split()[-1] == "12.5%"
    assert rest.split()[:4] == ["7", "others", "1", "512"]
    assert total.split() == ["all", "4", "4,096", "4.0", "KiB", "100.0%"]


def test_nothing_stored_is_a_table_of_nothing() -> None:
    nothing = Storage(at=AT, largest=[], other=part("other", 0, 0), prefixes=("image/", "video/"))
    head, total = shown(nothing, StorageBy.MEDIA_TYPE)
    assert head.split()[:2] == ["media", "type"]
    assert total.split() == ["all", "0", "0", "0", "B", "0.0%"]
    told = json.loads(json.dumps(as_json.storage(nothing, StorageBy.MEDIA_TYPE, [])))
    assert told == {
        "by": "media-type",
        "at": "2026-11-22T12:00:00Z",
        "prefixes": ["image/", "video/"],
        "objects": 0,
        "bytes": 0,
        "largest": [],
        "other": {"count": 0, "objects": 0, "bytes": 0, "share": 0.0},
        "hidden": [],
        "quotas": [],
    }


def test_what_is_deleted_and_not_freed_is_told_by_its_bucket() -> None:
    hidden = [
        HiddenPart(bucket=None, objects=1, bytes=1024),
        HiddenPart(bucket="copies", objects=2_000, bytes=3),
    ]
    stored = Storage(at=AT, largest=[], other=part("other", 0, 0), prefixes=("image/",), hidden=hidden)
    assert shown(stored, StorageBy.MEDIA_TYPE)[2:] == [
        "Deleted and not freed yet: 1 object, 1.0 KiB",
        "Deleted and not freed yet: 2,000 objects, 3 B in bucket 'copies'",
    ]


def test_the_command_needs_the_database_alone(database: str) -> None:
    execute(database, SEED)
    env = {"RECONCILER_DATABASE_URL": database}
    ran = reconciler("storage", "--top", "2", "--json", env=env)
    assert (ran.status, ran.told) == (0, [])
    told = json.loads(ran.out)
    assert (told["by"], told["objects"], told["bytes"], told["prefixes"]) == ("virtual-key", 9, 45, None)
    assert told["largest"] == [
        {"virtual_key_id": OWNER.format(1), "objects": 3, "bytes": 18, "share": 0.4},
        {"virtual_key_id": OWNER.format(3), "objects": 3, "bytes": 15, "share": 0.333333},
    ]
    assert told["other"] == {"count": 1, "objects": 3, "bytes": 12, "share": 0.266667}
    ran = reconciler("storage", "--group-by", "provider", env=env)
    assert ran.status == 0
    assert reconciler("storage", "--by", "provider", env=env).out == ran.out, "as it was called before"
    lines = [line.split() for line in ran.out.splitlines()]
    assert ran.out.splitlines()[-1] == UNKNOWN_PREFIXES, "nobody has led yet"
    assert [line[:3] for line in lines[:-1]] == [
        ["provider", "objects", "bytes"],
        ["unknown", "5", "35"],
        ["acme", "4", "10"],
        ["all", "9", "45"],
    ]


def test_a_database_without_our_schema_is_told_in_one_line(empty_database: str) -> None:
    ran = reconciler("storage", env={"RECONCILER_DATABASE_URL": empty_database})
    assert (ran.status, ran.out) == (2, "")
    assert all("RECONCILER_CATALOG" in line for line in ran.told)


@pytest.mark.parametrize("wrong", [["--by", "prefix"], ["--top", "0"]])
def test_wrong_arguments_are_usage_errors(wrong: list[str], tmp_path: Path) -> None:
    ran = reconciler("storage", *wrong, cwd=str(tmp_path))
    assert ran.status == 2
    assert len(ran.told) == 1
