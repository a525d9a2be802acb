"""The commands on real servers, as a shell or a script runs them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.leadership.lease import PostgresLease
from tests.cli.program import reconciler
from tests.servers import Bucket, execute

OPEN = {
    "RECONCILER_BUCKET__PREFIXES": '["image/"]',
    "RECONCILER_GRACE_PERIOD": "0s",
    "RECONCILER_DELETE_DELAY": "0s",
    "RECONCILER_BREAKER__MAX_FRACTION": "1",
}
"""No grace, no delay, an open breaker; dry run stays on unless a test says otherwise."""
LIVE = {"RECONCILER_DRY_RUN": "false"}
TIMEOUT = 60

ROW = """
INSERT INTO "VirtualKeys" ("Id", "KeyName", "KeyHash", "IsEnabled", "CreatedAt")
SELECT 'a0000000-0000-4000-8000-000000000001', 'k', 'k', true, now()
WHERE NOT EXISTS (SELECT FROM "VirtualKeys");
INSERT INTO "MediaRecords"
       ("Id", "StorageKey", "VirtualKeyId", "MediaType", "SizeBytes", "CreatedAt", "ExpiresAt")
VALUES (gen_random_uuid(), '{key}', 'a0000000-0000-4000-8000-000000000001', 'image', 1,
        now() - interval '1 day', {expires})
"""


@pytest.fixture
def env(database: str, moto_bucket: Bucket) -> Mapping[str, str]:
    """A migrated database and an empty bucket, in dry run."""
    return {**moto_bucket.environment(), **OPEN, "RECONCILER_DATABASE_URL": database}


def orders(database: str) -> list[tuple[str, str]]:
    """Who has ordered what, the oldest first."""

    async def read() -> list[tuple[str, str]]:
        connection = await asyncpg.connect(database)
        try:
            rows = await connection.fetch("SELECT author, what FROM reconciler.orders ORDER BY id")
        finally:
            await connection.close()
        return [(row["author"], row["what"]) for row in rows]

    return asyncio.run(read())


def row(database: str, key: str, expires: str = "NULL") -> None:
    execute(database, ROW.format(key=key, expires=expires))


@pytest.fixture
def drift(env: Mapping[str, str], database: str, moto_bucket: Bucket) -> Mapping[str, str]:
    """Two orphans (one with an odd name), one expired record, one that is to stay."""
    moto_bucket.put("image/orphan")
    moto_bucket.put("image/odd [bold] \u202e name")
    moto_bucket.put("image/expired")
    moto_bucket.put("image/live")
    row(database, "image/expired", "now() - interval '1 hour'")
    row(database, "image/live")
    return env


# --- migrate ----------------------------------------------------------------------------------------


def test_migrate_brings_an_empty_database_to_head_and_says_what_it_did(empty_database: str) -> None:
    env = {"RECONCILER_DATABASE_URL": empty_database}
    bare = reconciler("migrate", env=env)
    assert (bare.status, bare.told) == (0, [])
    assert "reconciler migrate --create-tables" in bare.out
    first = reconciler("migrate", "--create-tables", env=env)
    assert (first.status, first.told) == (0, [])
    assert 'created public."MediaRecords"' in first.out
    again = reconciler("migrate", "--create-index", env=env)
    assert (again.status, again.told) == (0, [])
    assert "already" in again.out


def test_triggers_are_installed_told_of_and_removed(env: Mapping[str, str]) -> None:
    def told() -> str:
        line, *_ = [line for line in reconciler("doctor", env=env).out.splitlines() if "triggers " in line]
        return " ".join(line.split())

    assert told().startswith("ok triggers not installed")
    assert reconciler("migrate", "--install-triggers", env=env).out.splitlines()[1:] == [
        "installed the triggers on MediaRecords"
    ]
    assert told().startswith("ok triggers installed")
    assert reconciler("migrate", "--remove-triggers", env=env).status == 0
    both = reconciler("migrate", "--install-triggers", "--remove-triggers", env=env)
    assert (both.status, len(both.told)) == (2, 1)
    script = reconciler("migrate", "--sql", "--install-triggers").out
    assert "ENABLE ALWAYS TRIGGER" in script


def test_migrate_writes_its_sql_without_a_database() -> None:
    ran = reconciler("migrate", "--sql")
    assert (ran.status, ran.told) == (0, [])
    assert "CREATE SCHEMA" in ran.out


# --- plan -------------------------------------------------------------------------------------------


def test_plan_prints_a_table_and_leaves_everything_as_it_was(
    drift: Mapping[str, str], moto_bucket: Bucket
) -> None:
    ran = reconciler("plan", env=drift)
    assert (ran.status, ran.told) == (0, [])
    assert "image/odd [bold] \\u202e name" in ran.out
    assert "\x1b" not in ran.out
    words = [line.split()[:3] for line in ran.out.splitlines()]
    assert ["orphan", "2", "0"] in words
    assert ["expired", "1", "0"] in words
    assert {"image/orphan", "image/expired"} <= moto_bucket.keys()


@pytest.mark.attack(68)
def test_plan_finds_no_drift_only_where_there_was_something_to_compare(
    env: Mapping[str, str], database: str, moto_bucket: Bucket
) -> None:
    """A wrong prefix, an empty table, an empty bucket: none of them is *no drift*."""

    def told(**changes: str) -> str:
        ran = reconciler("plan", env={**env, **changes})
        assert ran.status == 0
        assert ("No drift was found." in ran.out) != ("Nothing was compared" in ran.out)
        return ran.out

    assert "No drift was found." in told()
    moto_bucket.put("images/a")
    row(database, "images/a")
    assert "no row is in the managed prefixes, and 1 is outside them" in told()
    assert "No drift" in told(RECONCILER_BUCKET__PREFIXES='["images/"]')
    execute(database, 'DELETE FROM "MediaRecords"')
    empty = told(RECONCILER_BUCKET__PREFIXES='["images/"]', RECONCILER_GRACE_PERIOD="1h")
    assert "there is no row, and 1 object" in empty
    row(database, "image/a")
    assert "there is no object, and 1 row" in told(RECONCILER_GRACE_PERIOD="30d")


def test_plan_as_json_lines_has_every_finding(drift: Mapping[str, str]) -> None:
    ran = reconciler("plan", "--format", "jsonl", env={**drift, "RECONCILER_DELETE_DELAY": "2h"})
    assert (ran.status, ran.told) == (0, [])
    found = {each["storage_key"]: each for each in map(json.loads, ran.out.splitlines())}
    assert {key: each["verdict"] for key, each in found.items()} == {
        "image/orphan": "orphan",
        "image/odd [bold] \u202e name": "orphan",
        "image/expired": "expired",
    }
    assert found["image/expired"]["virtual_key_id"] == "a0000000-0000-4000-8000-000000000001"
    due = datetime.fromisoformat(found["image/orphan"]["due_at"])
    assert timedelta(hours=1) < due - datetime.now(UTC) < timedelta(hours=3)


def test_plan_as_csv_has_the_same_findings(drift: Mapping[str, str]) -> None:
    ran = reconciler("plan", "--format", "csv", env=drift)
    assert (ran.status, ran.told) == (0, [])
    assert {each["storage_key"] for each in csv.DictReader(io.StringIO(ran.out))} == {
        "image/orphan",
        "image/odd [bold] \\u202e name",
        "image/expired",
    }


def test_plan_exits_3_where_it_would_trip(drift: Mapping[str, str]) -> None:
    ran = reconciler("plan", env={**drift, "RECONCILER_BREAKER__MAX_COUNT": "1"})
    assert ran.status == 3
    assert "orphan" in ran.out
    assert "The breaker would trip." in ran.out
    (told,) = ran.told
    assert told.startswith("reconciler: the breaker would trip: ")


# --- once -------------------------------------------------------------------------------------------


def test_once_reports_json_alone_on_stdout(drift: Mapping[str, str], moto_bucket: Bucket) -> None:
    dry = reconciler("once", "--json", env=drift)
    assert (dry.status, dry.told) == (0, [])
    report = json.loads(dry.out)
    assert (report["mode"], report["outcome"]) == ("dry_run", "converged")
    assert (report["found"]["orphan"], report["found"]["expired"]) == (2, 1)
    assert report["deleted"]["objects"] == 3
    assert "image/orphan" in moto_bucket.keys("image/")
    live = reconciler("once", "--json", env={**drift, **LIVE})
    assert live.status == 0
    report = json.loads(live.out)
    assert (report["mode"], report["outcome"]) == ("live", "converged")
    assert report["deleted"]["objects"] == 3
    assert report["deleted"]["records"] == 1
    assert moto_bucket.keys("image/") == {"image/live"}


def test_once_prints_a_summary_for_people(drift: Mapping[str, str]) -> None:
    ran = reconciler("once", env={**drift, **LIVE})
    assert (ran.status, ran.told) == (0, [])
    assert "deleted: 3 objects" in ran.out
    assert "converged in " in ran.out


def test_once_exits_3_and_says_why_where_it_trips(drift: Mapping[str, str]) -> None:
    ran = reconciler("once", "--json", env={**drift, **LIVE, "RECONCILER_BREAKER__MAX_COUNT": "1"})
    assert ran.status == 3
    assert json.loads(ran.out)["outcome"] == "tripped"
    assert any("reconciler: " in line for line in ran.told)


def test_once_without_the_lease_is_a_failed_report_that_names_the_holder(
    env: Mapping[str, str], database: str
) -> None:
    asyncio.run(_hold_the_lease(database))
    ran = reconciler("once", "--json", "--wait", "0s", env=env)
    assert ran.status == 1
    report = json.loads(ran.out)
    assert (report["outcome"], report["objects"], report["found"]["orphan"]) == ("failed", 0, 0)
    assert any("another-pod" in line for line in ran.told)


async def _hold_the_lease(database: str) -> None:
    lease = PostgresLease(CatalogConfig(database_url=database))
    await lease.acquire("another-pod", timedelta(hours=1))
    await lease.close()


@pytest.mark.parametrize("command", ["plan", "once", "doctor"])
def test_a_database_without_our_schema_asks_for_migrate(
    command: str, empty_database: str, moto_bucket: Bucket
) -> None:
    env = {**moto_bucket.environment(), **OPEN, "RECONCILER_DATABASE_URL": empty_database}
    ran = reconciler(command, env=env)
    assert ran.status == (1 if command == "doctor" else 2)
    assert "reconciler migrate" in "".join((ran.out, *ran.told))
    assert "Traceback" not in "".join(ran.told)


def test_a_run_on_a_bucket_that_does_not_exist_fails(env: Mapping[str, str]) -> None:
    ran = reconciler("once", "--json", env={**env, "RECONCILER_BUCKET__NAME": "no-such-bucket"})
    assert ran.status == 1
    assert json.loads(ran.out)["outcome"] == "failed"
    assert any("no-such-bucket" in line for line in ran.told)


# --- doctor -----------------------------------------------------------------------------------------


def test_doctor_finds_a_migrated_site_in_order(drift: Mapping[str, str]) -> None:
    ran = reconciler("doctor", env=drift)
    assert (ran.status, ran.told) == (0, [])
    checked = {line[6:].split("  ")[0].strip() for line in ran.out.splitlines() if line[:4].strip()}
    for name in ("configuration", "database", "schema", "mapped tables", "index", "identity", "clocks"):
        assert name in checked
    for name in ("list", "head", "delete", "listing order", "conditional delete", "delete mode"):
        assert name in checked
    for name in ("batches", "versions", "copies", "unfinished uploads"):
        assert name in checked
    assert "0 failed" in ran.out


def test_doctor_goes_on_after_a_fault_and_says_what_mends_it(drift: Mapping[str, str]) -> None:
    ran = reconciler("doctor", env={**drift, "RECONCILER_CATALOG__MEDIA_TABLE": "Mediarecords"})
    assert ran.status == 1
    assert "CATALOG__MEDIA_TABLE Mediarecords" in ran.out
    assert "MediaRecords" in ran.out
    assert "listing order" in ran.out


def test_doctor_tells_a_foreign_bucket(drift: Mapping[str, str], moto_bucket: Bucket) -> None:
    assert reconciler("once", env=drift).status == 0
    kind = json.loads(
        moto_bucket.client.get_object(Bucket=moto_bucket.name, Key=".reconciler/identity.json")["Body"].read()
    )
    kind["site_id"] = "b0000000-0000-4000-8000-000000000002"
    moto_bucket.put(".reconciler/identity.json", json.dumps(kind).encode())
    ran = reconciler("doctor", env=drift)
    assert ran.status == 1
    assert kind["site_id"] in ran.out


def test_adopt_bucket_explains_first_and_acts_when_told(
    drift: Mapping[str, str], moto_bucket: Bucket
) -> None:
    assert reconciler("once", env=drift).status == 0
    agreed = reconciler("adopt-bucket", "--yes", env=drift)
    assert (agreed.status, agreed.told) == (0, [])
    moto_bucket.client.delete_object(Bucket=moto_bucket.name, Key=".reconciler/identity.json")
    asked = reconciler("adopt-bucket", env=drift)
    assert asked.status == 1
    assert "no identity" in asked.out
    assert "--yes" in asked.told[-1]
    adopted = reconciler("adopt-bucket", "--yes", "--by", "ada", env=drift)
    assert (adopted.status, adopted.told) == (0, [])
    assert "this database's now" in adopted.out
    assert orders(drift["RECONCILER_DATABASE_URL"]) == [("ada", "adopt-bucket")]
    assert reconciler("once", env=drift).status == 0


# --- run --------------------------------------------------------------------------------------------


def test_run_serves_probes_and_ends_with_0_on_sigterm(drift: Mapping[str, str], tmp_path: Path) -> None:
    logs = tmp_path / "log"
    env = {
        **os.environ,
        **drift,
        "RECONCILER_WEB__HOST": "127.0.0.1",
        "RECONCILER_WEB__PORT": str(_free_port()),
    }
    with logs.open("wb") as out:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "reconciler", "run"], env=env, stdout=out, stderr=out
        )
    try:
        base = f"http://127.0.0.1:{env['RECONCILER_WEB__PORT']}"
        scraped = asyncio.run(_until_led(base, daemon))
        assert 'media_reconciler_drift_keys{verdict="orphan"} 2.0' in scraped
        assert "media_reconciler_dry_run 1.0" in scraped
        assert _get(f"{base}/healthz") == "ok\n"
        assert _get(f"{base}/readyz") == "ok\n"
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(TIMEOUT) == 0
    finally:
        daemon.kill()
        daemon.wait()
    lines = [json.loads(line) for line in logs.read_text().splitlines()]
    assert {"started", "leading", "stopped"} <= {line["event"] for line in lines}


async def _until_led(base: str, daemon: subprocess.Popen[bytes]) -> str:
    """The metrics, once a sweep and a collection have been told."""
    async with asyncio.timeout(TIMEOUT):
        while daemon.poll() is None:
            try:
                text = await asyncio.to_thread(_get, f"{base}/metrics")
            except OSError:
                text = ""
            if 'drift_keys{verdict="orphan"} 2.0' in text:
                return text
            await asyncio.sleep(0.1)
    raise AssertionError(f"the daemon ended with {daemon.returncode}")


def _get(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        return str(answer.read().decode())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_run_on_a_port_in_use_is_a_configuration_error(env: Mapping[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = reconciler(
            "run", env={**env, "RECONCILER_WEB__HOST": "127.0.0.1", "RECONCILER_WEB__PORT": port}
        )
    assert ran.status == 2
    (told,) = [line for line in ran.told if line.startswith("reconciler: ")]
    assert "RECONCILER_WEB__PORT" in told


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupting_plan_is_quiet_and_leaves_no_scratch_key(
    env: Mapping[str, str], database: str, moto_bucket: Bucket, number: signal.Signals, status: int
) -> None:
    """Ctrl-C, or a pod that is deleted, while a plan waits for the database."""
    ended = asyncio.run(_interrupt_plan(env, database, number))
    assert ended == (status, b"", b"")
    assert moto_bucket.keys() == set()


async def _interrupt_plan(
    env: Mapping[str, str], database: str, number: signal.Signals
) -> tuple[int | None, bytes, bytes]:
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            await connection.execute('LOCK TABLE "MediaRecords" IN ACCESS EXCLUSIVE MODE')
            planning = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "reconciler",
                "plan",
                env={**os.environ, **env},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            async with asyncio.timeout(TIMEOUT):
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                while not await connection.fetchval(waiting):  # noqa: ASYNC110 - another program's state
                    await asyncio.sleep(0.05)
                planning.send_signal(number)
                out, err = await planning.communicate()
    finally:
        await connection.close()
    return planning.returncode, out, err
