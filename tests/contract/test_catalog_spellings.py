"""R-69: a claim looks for each spelling that can be listed, with an index in byte order and without one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.media_tables.near_misses.twins import twins
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model.spelling import fronts, spellings
from tests.contract.catalog import LONG_AGO, staged
from tests.doubles.build import mark

pytestmark = pytest.mark.anyio

SITE = """
INSERT INTO reconciler.site (site_id, bucket) VALUES (gen_random_uuid(), $1)
ON CONFLICT (singleton) DO UPDATE SET bucket = excluded.bucket
"""


@pytest.mark.attack(69)
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    ("key", "bucket", "prefixes"),
    [
        ("image/2026/a.png", "media", ("image/", "video/")),
        ("image/Café a+b%.png", "media", ("image/",)),
        ("a/b.png", "media", ("",)),
        ("media/a/media/a/b", "media", ("media/a/",)),
        ("imagea", "image", ("image",)),
        (".reconcilerimage/a", "", (".reconciler",)),
    ],
)
async def test_each_spelling_is_seen_whatever_other_rows_begin_with(
    database: str, key: str, bucket: str, prefixes: tuple[str, ...], *, ordered: bool
) -> None:
    others = sorted(spellings(key, bucket, prefixes))
    crowds = ((), ("zoo",), tuple(f"{front}zoo" for front in fronts(bucket, prefixes)))
    async with staged(database) as stage:
        assert stage.catalog.report.types is not None
        media = MediaTables(
            CatalogConfig(database_url=database).tables, replace(stage.catalog.report.types, ordered=ordered)
        )
        await stage.sql.execute(SITE, bucket)
        orphan = mark(key=key, first_seen_at=LONG_AGO)
        for crowd in crowds:
            for row in {*crowd}:
                await stage.add_row(row)
            for other in [None, *others]:
                if other is not None:
                    await stage.add_row(other)
                async with stage.catalog.database.connection() as connection:
                    found = await twins(connection, media, [orphan], prefixes)
                assert found == ({} if other is None else {key: other})
                await stage.sql.execute('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', other)
