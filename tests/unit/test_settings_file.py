"""The file that `init` writes is read as settings, whatever names and keys are in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.model import KeyForm
from reconciler.operations.init import Looked
from reconciler.operations.settings_file import text
from reconciler.planning.proposal import PrefixSeen, Proposal
from reconciler.settings import load
from reconciler.settings.secrets import holds_password

ODD = "é: #[1]\\"
COLUMNS = {
    "id": "id,created at",
    "storage_key": ODD,
    "virtual_key_id": "owner",
    "size_bytes": "",
    "created_at": "created at",
    "expires_at": "",
    "last_accessed_at": "",
    "deleted_at": "no",
    "media_type": "null",
    "provider": "",
    "model": "",
}
LOOKED = Looked(
    database="app\nevil: true",
    role="reader",
    bucket="media",
    proposal=Proposal(
        table="app.files",
        key_column="path",
        form=KeyForm(),
        generated="",
        columns=COLUMNS,
        keys_table="auth.keys",
        key_columns={"id": "1", "is_enabled": "on", "expires_at": "", "group_id": ""},
        epoch_unit="ms",
        media_where={ODD: "yes"},
        variants=("thumb",),
        also_referenced=("app.users.avatar",),
        notes=("a note\nof two lines",),
    ),
    prefixes=("image/", "pic # 1/"),
    seen=(
        PrefixSeen(prefix="image/", rows=3, objects=4),
        PrefixSeen(prefix="pic # 1/", rows=1, objects=1, more_objects=True),
        PrefixSeen(prefix="logs\n/", rows=0, objects=9),
    ),
    sampled=4,
    there=3,
    missing="image/3",
)
ADDRESS = "postgresql://reader@db.internal/app"


def test_every_name_comes_back_as_it_is(tmp_path: Path) -> None:
    written = text(LOOKED, database_url=ADDRESS, endpoint_url="https://s3.internal", region="eu")
    path = tmp_path / "reconciler.yaml"
    path.write_text(written, encoding="utf-8")
    settings = load({"RECONCILER_CONFIG_FILE": str(path)})
    assert settings.database_url.get_secret_value() == ADDRESS
    assert (settings.bucket.endpoint_url, settings.bucket.region) == ("https://s3.internal", "eu")
    assert settings.bucket.prefixes == LOOKED.prefixes
    assert settings.catalog.media_columns.model_dump() == {
        **COLUMNS,
        "content_hash": "",
        "access_count": "AccessCount",
    }
    assert settings.catalog.key_columns.model_dump() == {
        **LOOKED.proposal.key_columns,
        "key_hash": "KeyHash",
    }
    assert settings.catalog.media_where == {ODD: "yes"}
    assert settings.catalog.variant_columns == ("thumb",)
    assert settings.catalog.also_referenced == ("app.users.avatar",)
    assert settings.catalog.epoch_unit == "ms"
    assert settings.dry_run


def test_counts_and_what_joins_stand_beside() -> None:
    written = text(LOOKED, database_url=None, endpoint_url=None, region=None)
    assert '- "image/"  # 3 rows, 4 objects' in written
    assert "1 row, 1 object or more" in written
    assert "left out: logs\\n/: 0 rows, 9 objects" in written
    assert "Of 4 rows looked up, 3 have their object." in written


def test_an_address_with_a_password_is_asked_for_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "reconciler.yaml"
    path.write_text(text(LOOKED, database_url=None, endpoint_url=None, region=None), encoding="utf-8")
    given = {"RECONCILER_CONFIG_FILE": str(path), "RECONCILER_DATABASE_URL": "postgresql://a:b@c/d"}
    assert load(given).bucket.name == "media"
    assert "RECONCILER_DATABASE_URL" in path.read_text(encoding="utf-8")


def test_a_bucket_without_parts_is_managed_whole(tmp_path: Path) -> None:
    whole = replace(LOOKED, prefixes=("",), seen=(PrefixSeen(prefix="", rows=2, objects=2),))
    path = tmp_path / "reconciler.yaml"
    path.write_text(text(whole, database_url=ADDRESS, endpoint_url=None, region=None), encoding="utf-8")
    assert load({"RECONCILER_CONFIG_FILE": str(path)}).bucket.prefixes == ("",)


@pytest.mark.parametrize(
    ("address", "held"),
    [
        ("postgresql://reader@db/app", False),
        ("postgresql://db/app", False),
        ("postgresql://reader:secret@db/app", True),
        ("postgresql://db:db@db/app", True),
        ("postgresql://db/app?user=a&password=secret", True),
    ],
)
def test_a_password_is_seen_wherever_it_stands(address: str, held: bool) -> None:
    assert holds_password(address) is held
