"""Triggers, checks and constraints of the users, where our statements set them off."""

from __future__ import annotations

import pytest

from reconciler.model import Verdict
from tests.attacks.scene import Scene
from tests.contract.catalog import LONG_AGO

pytestmark = pytest.mark.anyio

A, B = "image/a", "image/b"
MEDIA = 'public."MediaRecords"'

# What a trigger sees of its session: settings, and what else a name without a schema finds.
WATCHING = """
CREATE TABLE public.seen (what text);
CREATE FUNCTION public.watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES (concat_ws('|', current_setting('search_path'), current_setting('row_security'),
        current_setting('TimeZone'), current_setting('DateStyle')));
    RETURN NULL;
END $$;
"""


@pytest.mark.attack(54)
@pytest.mark.parametrize(
    "trigger",
    [
        "CREATE TRIGGER watch AFTER DELETE ON {} FOR EACH STATEMENT {}",
        "CREATE CONSTRAINT TRIGGER watch AFTER DELETE ON {} INITIALLY DEFERRED FOR EACH ROW {}",
    ],
    ids=["at once", "deferred"],
)
async def test_a_trigger_sees_none_of_our_settings(scene: Scene, trigger: str) -> None:
    await scene.sql.execute(WATCHING + trigger.format(MEDIA, "EXECUTE FUNCTION watch()"))
    await scene.tracked(A, ExpiresAt=LONG_AGO)
    await scene.mark(A, verdict=Verdict.EXPIRED)
    assert (await scene.collect()).records == 1
    expected = await scene.sql.fetchval(
        "SELECT concat_ws('|', current_setting('search_path'), current_setting('row_security'),"
        " current_setting('TimeZone'), current_setting('DateStyle'))"
    )
    assert "pg_temp" not in expected
    assert {row["what"] for row in await scene.sql.fetch("SELECT what FROM seen")} == {expected}
    async with scene.stage.catalog.database.connection() as ours:
        assert await ours.fetchval("SHOW search_path") == "pg_catalog, pg_temp"
        assert await ours.fetchval("SHOW row_security") == "off"
