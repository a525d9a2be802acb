"""`doctor` looks as `init` does: at tables that nobody mapped, at rights, and it tells as it goes."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import anyio
import pytest

from reconciler import app
from reconciler.model import Check
from reconciler.settings import SettingsSource
from tests.cli.program import reconciler
from tests.servers import Bucket, execute, fresh_bucket

TABLES = """
CREATE SCHEMA media;
CREATE SCHEMA app;
CREATE TABLE media.files (
    id bigserial PRIMARY KEY, path text NOT NULL UNIQUE, thumbnail text, url text, mime_type text,
    created_at timestamptz NOT NULL DEFAULT now() - interval '3 days'
);
CREATE TABLE app.users (id bigserial PRIMARY KEY, avatar text, bio text);
INSERT INTO media.files (path, url, mime_type)
    SELECT 'image/' || n, 'https://cdn.example/image/' || n, 'image/png' FROM generate_series(1, 20) n;
INSERT INTO app.users (avatar, bio) SELECT 'image/avatar' || n, 'I like image/1' FROM generate_series(1, 3) n;
"""
MAPPING = {
    "RECONCILER_BUCKET__PREFIXES": '["image/"]',
    "RECONCILER_CATALOG__MEDIA_TABLE": "media.files",
    "RECONCILER_CATALOG__KEYS_TABLE": "",
    "RECONCILER_CATALOG__MEDIA_COLUMNS__ID": "id",
    "RECONCILER_CATALOG__MEDIA_COLUMNS__STORAGE_KEY": "path",
    "RECONCILER_CATALOG__MEDIA_COLUMNS__VIRTUAL_KEY_ID": "",
    "RECONCILER_CATALOG__MEDIA_COLUMNS__SIZE_BYTES": "",
    "RECONCILER_CATALOG__MEDIA_COLUMNS__CREATED_AT": "created_at",
    "RECONCILER_CATALOG__MEDIA_COLUMNS__EXPIRES_AT": "",
    "RECONCILER_CATALOG__MEDIA_COLUMNS__LAST_ACCESSED_AT": "",
}


@pytest.fixture
def env(empty_database: str, moto_bucket: Bucket) -> Mapping[str, str]:
    """A gateway whose users have pictures in the same bucket as its files."""
    execute(empty_database, TABLES)
    for number in range(1, 21):
        moto_bucket.put(f"image/{number}")
    for number in range(1, 4):
        moto_bucket.put(f"image/avatar{number}")
    made = {**moto_bucket.environment(), **MAPPING, "RECONCILER_DATABASE_URL": empty_database}
    assert reconciler("migrate", env=made).status == 0
    return made


def doctor(env: Mapping[str, str]) -> list[Mapping[str, str | None]]:
    ran = reconciler("doctor", "--json", env=env)
    told = json.loads(ran.out)
    assert ran.status == (1 if told["failed"] else 0)
    checks: list[Mapping[str, str | None]] = told["checks"]
    return checks


def of(checks: list[Mapping[str, str | None]], name: str) -> list[tuple[str | None, str | None]]:
    return [(each["status"], each["detail"]) for each in checks if each["name"] == name]


def test_other_columns_that_name_objects_are_told_until_they_are_mapped(env: Mapping[str, str]) -> None:
    (told,) = [each for each in doctor(env) if each["name"] == "other tables"]
    assert told["status"] == "warn"
    assert told["detail"] == (
        "app.users.avatar names objects too, such as 'image/avatar1': what it alone names is an orphan"
    )
    assert told["advice"] == "add app.users.avatar to RECONCILER_CATALOG__ALSO_REFERENCED, and it is kept"
    mapped = {**env, "RECONCILER_CATALOG__ALSO_REFERENCED": '["app.users.avatar"]'}
    assert [status for status, _ in of(doctor(mapped), "other tables")] == ["ok"]


def test_further_objects_of_a_row_are_told(env: Mapping[str, str]) -> None:
    execute(
        env["RECONCILER_DATABASE_URL"],
        "UPDATE media.files SET thumbnail = 'image/avatar' || id WHERE id < 4",
        "DROP TABLE app.users",
    )
    (told,) = [each for each in doctor(env) if each["name"] == "other tables"]
    assert "media.files.thumbnail names objects too" in str(told["detail"])
    assert "VARIANT_COLUMNS" in str(told["advice"])


HOLDERS = """
CREATE TABLE app.albums (id bigserial PRIMARY KEY, pictures text[]);
CREATE TABLE app."Chats" (id bigserial PRIMARY KEY, "Message" jsonb NOT NULL);
ALTER TABLE media.files ADD COLUMN about json;
UPDATE media.files SET about = json_build_object('key', path, 'url', url, 'tags', json_build_array('cat'));
INSERT INTO app.albums (pictures) VALUES ('{elsewhere/x,image/avatar1}'), (NULL);
INSERT INTO app."Chats" ("Message") VALUES
    ('{"text": "look", "parts": [{"src": "https://cdn.example/image/avatar2?sig=1"}]}'), ('"\\u0001"');
DROP TABLE app.users
"""


def test_keys_in_arrays_and_json_are_told_until_a_view_gives_them(env: Mapping[str, str]) -> None:
    """What a row says of its own object, in JSON too, is not told."""
    url = env["RECONCILER_DATABASE_URL"]
    execute(url, HOLDERS)
    checks = [each for each in doctor(env) if each["name"] == "other tables"]
    told = sorted(checks, key=lambda each: str(each["detail"]))
    assert [(each["status"], str(each["detail"]).partition(":")[0]) for each in told] == [
        ("warn", "app.Chats.Message names objects too, such as by 'https"),
        ("warn", "app.albums.pictures names objects too, such as by 'image/avatar1'"),
    ]
    columns = []
    for each in told:
        words, statement = str(each["advice"]).splitlines()
        columns.append(words.partition("add ")[2].partition(" to ")[0])
        execute(url, statement)
    assert columns == ["app.Chats_Message_keys.key", "app.albums_pictures_keys.key"]
    mapped = {
        **env,
        "RECONCILER_CATALOG__ALSO_REFERENCED": json.dumps(columns),
        "RECONCILER_GRACE_PERIOD": "0s",
    }
    assert [status for status, _ in of(doctor(mapped), "other tables")] == ["ok"]
    ran = reconciler("plan", "--json", env=mapped)
    assert [json.loads(line)["storage_key"] for line in ran.out.splitlines()] == ["image/avatar3"]


def test_a_second_collector_on_the_bucket_is_told(env: Mapping[str, str]) -> None:
    """Conduit's, since July 2026, by the table in which its cleaner asks for approvals."""
    assert [status for status, _ in of(doctor(env), "collectors")] == ["ok"]
    execute(env["RECONCILER_DATABASE_URL"], 'CREATE TABLE app."MediaCleanupApprovals" (id int)')
    (told,) = [each for each in doctor(env) if each["name"] == "collectors"]
    assert (told["status"], str(told["detail"]).partition(",")[0]) == (
        "warn",
        "app.MediaCleanupApprovals: Conduit has a cleaner of its own",
    )
    assert "RECONCILER_QUARANTINE__BUCKET" in str(told["advice"])


def test_another_bucket_for_copies_is_looked_at(env: Mapping[str, str], moto_bucket: Bucket) -> None:
    with fresh_bucket(moto_bucket.server) as other:
        into = {**env, "RECONCILER_QUARANTINE__BUCKET": other.name}
        checks = doctor(into)
        folder = f".reconciler/quarantine/{other.name}/{moto_bucket.name}/"
        assert of(checks, "quarantine") == [
            ("ok", f"copies go under {folder} in bucket {other.name!r}, which keeps no versions")
        ]
        where = f"allowed under {folder} in bucket {other.name!r}"
        assert [of(checks, name)[-1] for name in ("head", "delete")] == [("ok", where)] * 2
        assert other.keys() == set()
        other.put(".reconciler/identity.json", identity_of_another(other.name))
        ((_, _), (status, detail)) = of(doctor(into), "quarantine")
        assert (status, "is itself cleaned" in str(detail)) == ("fail", True)
        moto_bucket.client.put_bucket_versioning(
            Bucket=moto_bucket.name, VersioningConfiguration={"Status": "Enabled"}
        )
        assert [status for status, _ in of(doctor(into), "quarantine")] == ["warn"]
    ((status, detail),) = of(doctor({**env, "RECONCILER_QUARANTINE__BUCKET": "missing-copies"}), "bucket")
    assert (status, "'missing-copies'" in str(detail)) == ("fail", True)
    assert "correct RECONCILER_QUARANTINE__BUCKET" in str(detail)


def identity_of_another(bucket: str) -> bytes:
    """Of another site, as it writes it."""
    site = {"format": 1, "site_id": str(uuid4()), "bucket": bucket, "prefixes": ["a/"]}
    return json.dumps({**site, "created_at": "2026-01-01T00:00:00+00:00"}).encode()


def test_a_table_of_the_mapped_name_elsewhere_is_told(env: Mapping[str, str]) -> None:
    assert [status for status, _ in of(doctor(env), "tables")] == ["ok"]
    url = env["RECONCILER_DATABASE_URL"]
    execute(url, 'CREATE TABLE app."Files" (path text)')
    assert [status for status, _ in of(doctor(env), "tables")] == ["ok"], "an empty one misleads nobody"
    assert "app.Files (no row)" in str(of(doctor(env), "tables"))
    execute(url, """INSERT INTO app."Files" VALUES ('image/1')""")
    assert of(doctor(env), "tables") == [
        ("warn", "media.files (about 20 rows) has namesakes: app.Files (about 1 row)")
    ]


@contextmanager
def role(url: str) -> Iterator[tuple[str, str]]:
    """A role without any right, and the database's address with it."""
    name, parts = f"role_{secrets.token_hex(4)}", urlsplit(url)
    execute(url, f"CREATE ROLE {name} LOGIN PASSWORD '{parts.password}'")
    try:
        yield name, parts._replace(netloc=f"{name}:{parts.password}@{parts.hostname}:{parts.port}").geturl()
    finally:
        execute(url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_the_rights_that_lack_are_one_block_that_works_when_pasted(env: Mapping[str, str]) -> None:
    url = env["RECONCILER_DATABASE_URL"]
    with role(url) as (name, theirs):
        others = '["app.users.avatar"]'
        limited = {
            **env,
            "RECONCILER_DATABASE_URL": theirs,
            "RECONCILER_CATALOG__ALSO_REFERENCED": others,
        }
        (lacking,) = [each for each in doctor(limited) if each["name"] == "rights"]
        first, *statements = str(lacking["advice"]).splitlines()
        assert first == "run this as the owner of the tables, in psql:"
        assert statements[0] == f'GRANT USAGE ON SCHEMA "media" TO "{name}";'
        execute(url, "\n".join(statements))
        checks = doctor(limited)
        assert [each for each in checks if each["status"] == "fail"] == []
        assert [status for status, _ in of(checks, "rights")] == ["ok"]
        assert [status for status, _ in of(checks, "other tables")] == ["ok"]


def test_tables_that_may_not_be_read_are_told(env: Mapping[str, str]) -> None:
    url = env["RECONCILER_DATABASE_URL"]
    with role(url) as (name, theirs):
        execute(url, *(f"GRANT USAGE ON SCHEMA {schema} TO {name}" for schema in ("media", "reconciler")))
        for schema in ("media", "reconciler"):
            execute(url, f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {name}")
        checks = doctor({**env, "RECONCILER_DATABASE_URL": theirs})
        unread = "not looked at: 1 table could not be read, as by this role's rights: app.users"
        assert ("skip", unread) in of(checks, "other tables")


def test_what_was_not_looked_at_is_told_with_the_reason(env: Mapping[str, str]) -> None:
    checks = doctor({**env, "RECONCILER_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    skipped = {each["name"]: each["detail"] for each in checks if each["status"] == "skip"}
    assert skipped["rights"] == "not looked at: the database could not be looked at"
    assert skipped["clocks"] == "not looked at: the database could not be looked at"
    assert [status for status, _ in of(checks, "list")] == ["ok"]
    without = {
        "RECONCILER_BUCKET__ENDPOINT_URL": "http://127.0.0.1:1",
        "RECONCILER_BUCKET__REQUEST_TIMEOUT": "1s",
    }
    ran = reconciler("doctor", env={**env, **without})
    assert ran.status == 1
    assert "skip  lifecycle           not looked at: the bucket could not be looked at" in ran.out
    assert "not looked at" in ran.out.splitlines()[-1]


@pytest.mark.anyio
async def test_each_check_is_told_before_the_next_one_is_made(env: Mapping[str, str]) -> None:
    """The store never answers, and what the database showed is told all the same."""
    told = anyio.Event()

    def emit(check: Check) -> None:
        if check.name == "rights":
            told.set()

    with socket.create_server(("127.0.0.1", 0)) as silent, anyio.fail_after(60):
        source = SettingsSource(
            {**env, "RECONCILER_BUCKET__ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        )
        async with anyio.create_task_group() as group:
            group.start_soon(app.doctor, source, emit)
            await told.wait()
            group.cancel_scope.cancel()
