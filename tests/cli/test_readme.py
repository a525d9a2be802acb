"""The README's block leads from own tables to a first plan, as it stands there."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.alerts.pages import blocks
from tests.cli.program import reconciler
from tests.servers import Bucket, execute

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BENCHMARKS = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")

TABLE = """
CREATE SCHEMA app;
CREATE TABLE app.files (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path text NOT NULL,
    bytes bigint,
    created_at timestamptz NOT NULL DEFAULT now() - interval '3 days'
);
INSERT INTO app.files (path, bytes) VALUES ('image/kept', 4), ('image/lost', 4);
"""

OURS = ("RECONCILER_DATABASE_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""What a reader replaces, besides the bucket's name and endpoint."""


def test_its_block_leads_from_own_tables_to_a_first_plan(
    empty_database: str, moto_bucket: Bucket, tmp_path: Path
) -> None:
    execute(empty_database, TABLE)
    with _role(empty_database) as url:
        _leads_to_a_plan(url, moto_bucket, tmp_path)


@contextmanager
def _role(url: str) -> Iterator[str]:
    """The role that the README makes, under another name and in this database: its address."""
    (made,) = [block for block in blocks(README, "sql") if "CREATE ROLE" in block]
    parts, role = urlsplit(url), f"reader_{secrets.token_hex(4)}"
    for theirs, ours in (("reconciler", role), ("DATABASE app", f'DATABASE "{parts.path[1:]}"')):
        made = made.replace(theirs, ours)
    execute(url, made.replace("SCHEMA public", "SCHEMA app"))
    try:
        yield parts._replace(netloc=f"{role}:secret@{parts.hostname}:{parts.port}").geturl()
    finally:
        execute(url, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def _leads_to_a_plan(empty_database: str, moto_bucket: Bucket, tmp_path: Path) -> None:
    for key in ("image/kept", "image/orphan"):
        moto_bucket.put(key)
    lines = [shlex.split(line, comments=True) for line in _block().splitlines()]
    exported = dict(each.split("=", 1) for line in lines if line[:1] == ["export"] for each in line[1:])
    site = {"RECONCILER_DATABASE_URL": empty_database, **moto_bucket.server.environment()}
    assert {*exported} == {*OURS, "RECONCILER_CONFIG_FILE"}
    commands = [line[1:] for line in lines if line[:1] == ["reconciler"]]
    name, endpoint = moto_bucket.name, moto_bucket.server.endpoint_url
    assert commands == [
        ["init", "--bucket", "media", "--endpoint-url", "https://s3.internal"],
        ["migrate"],
        ["doctor"],
        ["plan"],
    ]
    given = {"media": name, "https://s3.internal": endpoint}
    first = [given.get(word, word) for word in commands[0]]
    ran = reconciler(*first, env=site, cwd=str(tmp_path))
    assert ran.status == 0, (ran.out, ran.told)
    env = {
        **exported,
        **site,
        "RECONCILER_GRACE_PERIOD": "0s",
        "RECONCILER_BREAKER__MAX_FRACTION": "1",
    }
    for command in commands[1:]:
        ran = reconciler(*command, env=env, cwd=str(tmp_path))
        assert ran.status == 0, (command, ran.out, ran.told)
    found = reconciler("plan", "--format", "csv", env=env, cwd=str(tmp_path)).out
    assert sorted(re.findall(r"(orphan|dangling).*?(image/\w+)", found)) == [
        ("dangling", "image/lost"),
        ("orphan", "image/orphan"),
    ]


def _block() -> str:
    (found,) = [block for block in blocks(README, "sh") if "reconciler plan" in block]
    return found


def test_its_figures_are_rows_of_the_benchmarks_table() -> None:
    rows = [line for line in README.splitlines() if line.startswith(("| dry run,", "| peak ", "| deleting "))]
    assert len(rows) == 3
    assert [row for row in rows if row not in BENCHMARKS.splitlines()] == [], (
        "copy them from docs/benchmarks.md"
    )


def test_it_stays_short() -> None:
    assert len(README.split()) <= 1_300
