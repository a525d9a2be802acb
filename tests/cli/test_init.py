"""`init` looks at a database and a bucket that it knows nothing of, and its file leads to a first plan."""

from __future__ import annotations

import json
import os
import pty
import secrets
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.cli.program import Ran, reconciler
from tests.servers import Bucket, execute

SNAKE_CASE = """
CREATE SCHEMA media;
CREATE SCHEMA auth;
CREATE TABLE auth.api_keys (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, is_active boolean NOT NULL,
    expires_at timestamptz
);
CREATE TABLE media.files (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), path text NOT NULL UNIQUE,
    api_key_id integer REFERENCES auth.api_keys, byte_size bigint, mime_type text,
    created_at timestamptz DEFAULT now() - interval '3 d', title text
);
CREATE TABLE media.notes (id serial PRIMARY KEY, body text);
INSERT INTO auth.api_keys (name, is_active) VALUES ('one', true);
INSERT INTO media.files (path, api_key_id, title)
    SELECT 'image/' || n || '.png', 1, 'picture ' || n FROM generate_series(1, 30) n;
INSERT INTO media.notes (body) VALUES ('see image/1.png for more'), ('nothing');
"""

LEADING_SLASH = """
CREATE TABLE photos (
    id bigserial PRIMARY KEY, file_path varchar(500) NOT NULL,
    created_at timestamp DEFAULT now() - interval '3 d'
);
INSERT INTO photos (file_path) SELECT '/image/' || n || '.png' FROM generate_series(1, 30) n;
"""


def given(database: str, bucket: Bucket) -> Mapping[str, str]:
    return {**bucket.environment(), "RECONCILER_DATABASE_URL": database}


def init(database: str, bucket: Bucket, path: Path, *options: str) -> Ran:
    return reconciler("init", "-o", str(path), *options, env=given(database, bucket))


def first_plan(database: str, bucket: Bucket, path: Path) -> Mapping[str, str]:
    """What the commands that `init` prints lead to: the verdicts by key."""
    env = {
        **bucket.server.environment(),
        "RECONCILER_CONFIG_FILE": str(path),
        "RECONCILER_DATABASE_URL": database,
        "RECONCILER_GRACE_PERIOD": "0s",
    }
    for command in ("migrate", "doctor"):
        ran = reconciler(command, env=env)
        assert ran.status == 0, (ran.out, ran.told)
    generated = "object_key" in path.read_text()
    assert ("none can watch a generated storage key" in ran.out) == generated
    assert ("--install-triggers" in ran.out) != generated
    ran = reconciler("plan", "--format", "jsonl", env=env)
    assert ran.status == 0, ran.told
    return {each["storage_key"]: each["verdict"] for each in map(json.loads, ran.out.splitlines())}


def as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}:{parts.password}@{parts.hostname}:{parts.port}").geturl()


def fill(bucket: Bucket) -> None:
    for number in range(1, 30):
        bucket.put(f"image/{number}.png")
    bucket.put("image/orphan.png")
    bucket.put("logs/today.txt")


def test_its_file_leads_to_a_first_plan(empty_database: str, bucket: Bucket, tmp_path: Path) -> None:
    execute(empty_database, SNAKE_CASE)
    fill(bucket)
    path = tmp_path / "reconciler.yaml"
    ran = init(empty_database, bucket, path)
    assert ran.status == 0, ran.told
    written = yaml.safe_load(path.read_text())
    assert written["bucket"]["prefixes"] == ["image/"]
    assert written["catalog"]["media_table"] == "media.files"
    assert written["catalog"]["keys_table"] == "auth.api_keys"
    assert written["catalog"]["key_columns"] == {
        "id": "id",
        "is_enabled": "is_active",
        "expires_at": "expires_at",
        "group_id": "",
        "key_hash": "",
    }
    assert "column       created_at: when the row was made" in ran.out
    assert "of 30 rows looked up, 29 have their object, but 'image/30.png' has not" in ran.out
    assert "'image/': 30 rows, 30 objects" in ran.out
    assert "'logs/': 0 rows, 1 object" in ran.out
    assert first_plan(empty_database, bucket, path) == {
        "image/orphan.png": "orphan",
        "image/30.png": "dangling",
    }


def test_keys_that_rows_spell_otherwise_get_a_generated_column(
    empty_database: str, moto_bucket: Bucket, tmp_path: Path
) -> None:
    execute(empty_database, LEADING_SLASH)
    fill(moto_bucket)
    path = tmp_path / "reconciler.yaml"
    ran = init(empty_database, moto_bucket, path, "--json")
    assert ran.status == 0, ran.told
    told = json.loads(ran.out)
    assert "exclusive lock" in path.read_text()
    assert (told["key_column"], told["generated_column"]) == ("file_path", "object_key")
    assert "object_key is a generated column, which no trigger can watch" in told["notes"][0]
    for statement in told["statements"]:
        execute(empty_database, statement)
    assert first_plan(empty_database, moto_bucket, path) == {
        "image/orphan.png": "orphan",
        "image/30.png": "dangling",
    }


def test_keys_in_an_array_are_told_with_the_view_that_keeps_them(
    empty_database: str, moto_bucket: Bucket, tmp_path: Path
) -> None:
    execute(
        empty_database,
        SNAKE_CASE,
        "CREATE TABLE media.albums (id serial PRIMARY KEY, pictures varchar(99)[])",
        "INSERT INTO media.albums (pictures) VALUES ('{image/orphan.png}')",
        "CREATE TABLE media.pages (id serial PRIMARY KEY, photo_url text)",
        "INSERT INTO media.pages (photo_url) VALUES ('https://cdn.example/image/orphan.png')",
        "ALTER TABLE media.files ADD COLUMN thumbs jsonb",
        "ALTER TABLE media.files ADD COLUMN previews jsonb",
        "UPDATE media.files SET thumbs = jsonb_build_array('thumbs/' || split_part(path, '/', 2)),"
        " previews = jsonb_build_object('own', 'https://cdn.example/' || path, 'small', 'small/' || path)",
    )
    fill(moto_bucket)
    for number in range(1, 30):
        moto_bucket.put(f"thumbs/{number}.png")
        moto_bucket.put(f"small/image/{number}.png")
    path = tmp_path / "reconciler.yaml"
    ran = init(empty_database, moto_bucket, path, "--json")
    assert ran.status == 0, ran.told
    statements = json.loads(ran.out)["statements"]
    execute(empty_database, *statements)
    written = yaml.safe_load(path.read_text())
    assert sorted(written["catalog"]["also_referenced"]) == [
        "media.albums_pictures_keys.key",
        "media.files_previews_keys.key",
        "media.files_thumbs_keys.key",
        "media.pages_photo_url_keys.key",
    ]
    assert [each for each in statements if each not in path.read_text() or "GRANT SELECT" not in each] == []
    assert first_plan(empty_database, moto_bucket, path) == {"image/30.png": "dangling"}


def test_it_writes_nothing_to_database_or_bucket(
    empty_database: str, moto_bucket: Bucket, tmp_path: Path
) -> None:
    role, password = f"reader_{secrets.token_hex(4)}", urlsplit(empty_database).password
    execute(empty_database, SNAKE_CASE, f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    for schema in ("media", "auth"):
        execute(empty_database, f"GRANT USAGE ON SCHEMA {schema} TO {role}")
        execute(empty_database, f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
    fill(moto_bucket)
    before = moto_bucket.keys()
    path = tmp_path / "made.yaml"
    ran = init(as_role(empty_database, role), moto_bucket, path)
    execute(empty_database, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    assert ran.status == 0, ran.told
    assert yaml.safe_load(path.read_text())["catalog"]["media_table"] == "media.files"
    assert moto_bucket.keys() == before


def test_a_role_without_rights_is_told_what_to_paste(
    empty_database: str, moto_bucket: Bucket, tmp_path: Path
) -> None:
    role, password = f"reader_{secrets.token_hex(4)}", urlsplit(empty_database).password
    execute(empty_database, SNAKE_CASE, f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    fill(moto_bucket)
    theirs, path = as_role(empty_database, role), tmp_path / "made.yaml"
    try:
        for command in (["init", "-o", str(path)], ["migrate"]):
            refused = reconciler(*command, env=given(theirs, moto_bucket))
            assert refused.status in {1, 3}, refused.told
            execute(empty_database, refused.told[-1].partition("in psql: ")[2])
            ran = reconciler(*command, env=given(theirs, moto_bucket))
            assert ran.status == 0, ran.told
    finally:
        execute(empty_database, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def test_a_password_stays_out_of_the_file(empty_database: str, moto_bucket: Bucket, tmp_path: Path) -> None:
    execute(empty_database, SNAKE_CASE)
    fill(moto_bucket)
    path = tmp_path / "made.yaml"
    password = urlsplit(empty_database).password
    assert password
    ran = reconciler("init", "--database-url", empty_database, "-o", str(path), env=moto_bucket.environment())
    assert ran.status == 0, ran.told
    assert password not in path.read_text() + ran.out + "\n".join(ran.told)
    assert "database_url" not in yaml.safe_load(path.read_text())
    assert "export RECONCILER_DATABASE_URL=" in ran.out


def test_a_file_that_is_there_is_overwritten_only_when_told(
    empty_database: str, moto_bucket: Bucket, tmp_path: Path
) -> None:
    execute(empty_database, SNAKE_CASE)
    fill(moto_bucket)
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    ran = init(empty_database, moto_bucket, path)
    assert (ran.status, path.read_text()) == (2, "mine")
    assert "--force" in ran.told[-1]
    assert init(empty_database, moto_bucket, path, "--force").status == 0
    assert yaml.safe_load(path.read_text())["catalog"]["media_table"] == "media.files"


@pytest.mark.parametrize(
    ("tables", "keys", "told"),
    [
        ("SELECT 1", ("image/1.png",), "no table of the database"),
        (SNAKE_CASE, (), "is empty, so no row can be matched"),
        (
            SNAKE_CASE,
            ("video/a.mp4",),
            "which holds 'video/a.mp4'; the likeliest is media.files.path, such as 'image/1.png'",
        ),
    ],
)
def test_where_nothing_fits_it_says_so_in_one_line_and_writes_no_file(
    tables: str, keys: tuple[str, ...], told: str, empty_database: str, moto_bucket: Bucket, tmp_path: Path
) -> None:
    execute(empty_database, tables)
    for key in keys:
        moto_bucket.put(key)
    path = tmp_path / "made.yaml"
    ran = init(empty_database, moto_bucket, path)
    assert ran.status == 1
    assert told in ran.told[-1]
    assert [line for line in ran.told if not line.startswith("looking:")] == ran.told[-1:]
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--endpoint-url", "http://127.0.0.1:1"), "RECONCILER_BUCKET__ENDPOINT_URL (--endpoint-url)"),
        (("--bucket", "no-such-bucket"), "RECONCILER_BUCKET__NAME (--bucket)"),
    ],
    ids=["no store", "no such bucket"],
)
def test_where_it_cannot_look_it_names_the_option_too(
    options: tuple[str, str], named: str, empty_database: str, moto_bucket: Bucket, tmp_path: Path
) -> None:
    ran = init(empty_database, moto_bucket, tmp_path / "made.yaml", *options)
    assert ran.status == 1
    assert named in ran.told[-1]
    assert "tried again" not in ran.told[-1]


def test_without_a_terminal_it_names_what_is_missing() -> None:
    ran = reconciler("init", env={"RECONCILER_BUCKET__NAME": ""})
    assert ran.status == 2
    assert ran.told == [
        "reconciler: RECONCILER_DATABASE_URL is not set: set it, or give --database-url",
        "reconciler: RECONCILER_BUCKET__NAME is not set: set it, or give --bucket",
    ]


def test_on_a_terminal_it_asks_for_what_is_missing_and_shows_no_password(
    empty_database: str, moto_bucket: Bucket, tmp_path: Path
) -> None:
    execute(empty_database, SNAKE_CASE)
    fill(moto_bucket)
    ours, theirs = pty.openpty()
    program = "import sys; from reconciler.cli import main; sys.exit(main())"
    # In a session of its own, where the terminal of whoever runs the tests is out of reach.
    with subprocess.Popen(
        [sys.executable, "-c", program, "init"],
        cwd=tmp_path,
        env={**os.environ, **moto_bucket.server.environment()},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    ) as running:
        os.close(theirs)
        shown = b""
        for question, answer in (
            (b"not shown): ", empty_database),
            (b"bucket: ", moto_bucket.name),
            (b"endpoint (empty for AWS): ", moto_bucket.server.endpoint_url),
        ):
            while not shown.endswith(question):
                shown += os.read(ours, 1024)
            os.write(ours, f"{answer}\n".encode())
            shown += os.read(ours, 1)
        with suppress(OSError):  # the other side is closed
            while more := os.read(ours, 1024):
                shown += more
        assert running.wait() == 0, shown
    os.close(ours)
    password = urlsplit(empty_database).password
    assert password
    assert password.encode() not in shown
    written = yaml.safe_load((tmp_path / "reconciler.yaml").read_text())
    assert written["bucket"]["name"] == moto_bucket.name
    assert written["bucket"]["endpoint_url"] == moto_bucket.server.endpoint_url
