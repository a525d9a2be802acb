"""What `doctor` says of the columns that the media service uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.app.wiring import catalog_config
from reconciler.catalog.media_tables import served_columns
from reconciler.catalog.media_tables.inspection import inspect
from reconciler.media.links import LinkSecrets
from reconciler.operations import checks
from reconciler.settings import load
from tests.media.scene import Scene

pytestmark = pytest.mark.anyio

BY_HASH = "who presents a virtual key is known by KeyHash"
WRITTEN = "accesses are written to LastAccessedAt and AccessCount"


async def told(scene: Scene, **settings: str) -> list[tuple[str, str, str]]:
    config = catalog_config(load({**os.environ, **scene.site.settings(**settings)}))
    report = await inspect(config)
    assert not report.faults
    found = checks.served(await served_columns.look(config, report))
    return [(each.status.value, each.detail, each.advice) for each in found]


async def test_what_is_mapped_for_the_media_service_is_checked(scene: Scene) -> None:
    assert await told(scene) == [("ok", BY_HASH, ""), ("ok", WRITTEN, "")]
    without = {f"catalog__media_columns__{name}": "" for name in ("last_accessed_at", "access_count")}
    (_, nobody, _), (_, nowhere, _) = await told(scene, catalog__key_columns__key_hash="", **without)
    assert nobody.startswith("no column has the virtual keys' SHA-256")
    assert nowhere == "no column is mapped for accesses, so none is written"
    await scene.site.sql('UPDATE "VirtualKeys" SET "KeyHash" = upper("KeyHash") WHERE "KeyName" = \'bob\'')
    ((status, detail, advice), _) = await told(scene)
    assert (status, detail.partition(" in lower")[0]) == (
        "warn",
        "KeyHash: 1 of 4 values looked at are no SHA-256",
    )
    assert advice.endswith("RECONCILER_CATALOG__KEY_COLUMNS__KEY_HASH")
    await scene.site.sql('UPDATE "VirtualKeys" SET "KeyHash" = lower("KeyHash")')


async def test_rights_that_lack_are_told(scene: Scene) -> None:
    await scene.site.script(LACKING)
    try:
        settings = {"database_url": reduced(scene)}
        (_, (status, detail, grant)) = await told(scene, **settings)
        assert (status, detail.partition(" to ")[0]) == ("warn", "this role may not write accesses")
        await scene.site.sql(grant)
        assert [status for status, _, _ in await told(scene, **settings)] == ["ok", "ok"]
    finally:
        await scene.site.script(BACK)


LACKING = """
CREATE ROLE serving LOGIN PASSWORD 'serving';
GRANT USAGE ON SCHEMA reconciler, public TO serving;
GRANT SELECT ON ALL TABLES IN SCHEMA reconciler TO serving;
GRANT SELECT ON "MediaRecords", "VirtualKeys" TO serving;
"""
BACK = """
DROP OWNED BY serving;
DROP ROLE serving;
"""


def reduced(scene: Scene) -> str:
    """The database as a role of few rights reaches it."""
    return f"postgresql://serving:serving@{scene.site.database.rpartition('@')[2]}"


def test_links_without_secrets_are_told_of(tmp_path: Path) -> None:
    file, warned = tmp_path / "secrets", list[str]()

    def said() -> str:
        warned.clear()
        known = LinkSecrets(str(file), warned.append).look()
        return "; ".join(f"{each.status.value} {each.detail}" for each in checks.links(len(known), warned))

    assert said().startswith("warn the links' secrets: cannot be read")
    file.write_text("")
    assert said() == "warn the links' secrets: there is none, so no link can be made"
    file.write_text(f"may {'m' * 32}\n")
    assert said() == "ok links are signed; 1 secret known"
