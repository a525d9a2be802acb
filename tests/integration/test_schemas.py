"""Every schema that inspection lets through: planned, cleaned up, undone, compared with what was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio.to_thread
import asyncpg
import pytest

from reconciler.catalog import migrate
from reconciler.catalog.db.config import CatalogConfig
from reconciler.model import Outcome, Verdict
from tests.integration.shapes import CITEXT, COLLATED, MAPPED, SHAPES, VIRTUAL, Shape
from tests.integration.site import Site, make_site
from tests.servers import Bucket

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

OLD, NEW = "'2020-01-01Z'::timestamptz", "now() - interval '3 days'"
PAST, AHEAD = "now() - interval '50 hours'", "now() + interval '50 hours'"


QUICK = {"partitioned, ids of text", "local time", "sizes that are none", "leading slashes"}
"""The shapes whose story is told each time: one of ids, times, sizes and keys each. The slow proofs have the
rest. Four of those are joined in order each time, and the contract tests read every type of key and date."""


async def _site(database: str, bucket: Bucket, shape: Shape) -> Site:
    sql = await asyncpg.connect(database)
    await sql.execute(shape.script())
    await sql.close()
    await anyio.to_thread.run_sync(lambda: migrate.upgrade(CatalogConfig(database_url=database)))
    site = make_site(database, bucket, calm=True)
    site.environment.update({**MAPPED, **shape.settings, "RECONCILER_DELETE_MODE": "auto"})
    return site


async def _fill(site: Site, shape: Shape, *, twins: bool = True) -> None:
    """Rows 0 and 1 are twins, in all but their case and age: where ids are halves, they share one."""
    rows = [
        ("image/Twin.png", OLD, PAST),
        ("image/twin.png", NEW, AHEAD),
        ("image/never.png", OLD, "never"),
        ("image/live.png", NEW, AHEAD),
        ("image/old.png", NEW, PAST),
        ("image/missing.png", NEW, AHEAD),
    ]
    if not twins:
        rows = rows[1:]
    for number, (key, made, expires) in enumerate(rows):
        await site.sql(shape.row(number, made, expires), shape.key.format(key))
        if "missing" not in key:
            await site.put(key)
    await site.put("image/orphan.png")


async def _rows(site: Site) -> list[str]:
    return sorted(row[0] for row in await site.sql("SELECT m::text FROM gate.media m"))


LEFT = {"image/twin.png", "image/never.png", "image/live.png"}
GONE = {"image/Twin.png", "image/old.png", "image/orphan.png"}


async def _story(site: Site, shape: Shape, *, twins: bool = True) -> None:
    await _fill(site, shape, twins=twins)
    left, gone = LEFT, GONE if twins else GONE - {"image/Twin.png"}
    before = await _rows(site)
    report, findings = await site.plan()
    found = {each.storage_key: each.verdict for each in findings if each.kept is None}
    assert {key for key, verdict in found.items() if verdict is not Verdict.DANGLING} == gone
    assert found.get("image/missing.png") is Verdict.DANGLING, "seen for the first time"
    assert await site.keys() == left | gone
    report = await site.once()
    assert report.outcome is Outcome.PENDING, "a second sweep has to miss the object too"
    assert await site.keys() == left
    assert report.removed.bytes >= 0
    report = await site.once()
    assert report.outcome is Outcome.CONVERGED
    assert len(await _rows(site)) == len(left)
    undone = await site.undo(since=datetime.now(UTC) - timedelta(hours=1))
    assert undone.complete
    assert await site.keys() == left | gone
    assert await _rows(site) == before


@pytest.mark.attack(74)
@pytest.mark.attack(75)
@pytest.mark.attack(81)
@pytest.mark.incident(45)
@pytest.mark.incident(51)
@pytest.mark.incident(55)
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.soak) for name in SHAPES]
)
async def test_a_strangers_schema_is_cleaned_up_and_undone_exactly(
    empty_database: str, seaweed_bucket: Bucket, name: str
) -> None:
    shape = SHAPES[name]
    await _story(await _site(empty_database, seaweed_bucket, shape), shape)


@pytest.mark.attack(81)
@pytest.mark.parametrize("name", ["partitioned by time", "composite", "char keys", "microseconds"])
async def test_a_strangers_schema_is_joined_in_order_as_well(
    empty_database: str, moto_bucket: Bucket, name: str
) -> None:
    shape = SHAPES[name]
    await _story(await _site(empty_database, moto_bucket, shape), shape)


async def test_a_key_that_is_computed_when_it_is_read_is_served(
    empty_database: str, moto_bucket: Bucket
) -> None:
    await _story(await _site(empty_database, moto_bucket, VIRTUAL), VIRTUAL)


@pytest.mark.attack(82)
@pytest.mark.debian("postgresql-15")
@pytest.mark.parametrize("shape", [CITEXT, COLLATED], ids=["citext", "collations"])
async def test_keys_that_the_database_calls_equal_are_told_apart(
    icu_empty_database: str, moto_bucket: Bucket, shape: Shape
) -> None:
    await _story(await _site(icu_empty_database, moto_bucket, shape), shape)


@pytest.mark.attack(81)
@pytest.mark.debian("postgresql-15")
@pytest.mark.parametrize("name", ["partitioned by time", "composite", "nested domains", "dates", "seconds"])
async def test_an_older_server_serves_the_same(
    icu_empty_database: str, moto_bucket: Bucket, name: str
) -> None:
    shape = SHAPES[name]
    await _story(await _site(icu_empty_database, moto_bucket, shape), shape)
