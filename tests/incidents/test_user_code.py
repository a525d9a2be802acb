"""What went wrong elsewhere where deleting or inserting a row fires code of the users."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reconciler.model import MarkState, Outcome
from tests.integration.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

# As everybody writes it, and as nothing but a session's own search_path can find it. The audit has a
# policy of its own, and notes what time zone it is written in.
AUDITED = """
CREATE SCHEMA app;
CREATE TABLE app."Audit" ("Id" uuid, "What" text, "Day" text);
ALTER TABLE app."Audit" ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON app."Audit" USING (true) WITH CHECK (true);
CREATE FUNCTION app.audited() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO "Audit" VALUES (coalesce(OLD."Id", NEW."Id"), TG_OP, current_setting('TimeZone'));
    RETURN NULL;
END $$;
CREATE TRIGGER audited AFTER INSERT OR DELETE ON public."MediaRecords"
    FOR EACH ROW EXECUTE FUNCTION app.audited();
CREATE TABLE app."Kinds" ("Kind" text);
INSERT INTO app."Kinds" VALUES ('image');
CREATE FUNCTION app.known(kind text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN kind IN (SELECT "Kind" FROM "Kinds");
END $$;
SET search_path = app;
ALTER TABLE public."MediaRecords" ADD CHECK (app.known("MediaType"));
"""


@pytest.mark.attack(54)
@pytest.mark.incident(39)
@pytest.mark.parametrize("told_by", ["database", "address"])
async def test_triggers_and_checks_run_as_they_do_for_the_gateway(ordered_site: Site, told_by: str) -> None:
    """I-39: a session with a search path of its own deleted nothing, or the half of it."""
    site = ordered_site
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    name = site.database.rpartition("/")[2]
    if told_by == "database":
        await site.sql(f"""ALTER DATABASE "{name}" SET search_path = 'app', 'public'""")
        await site.sql(f"""ALTER DATABASE "{name}" SET timezone = 'Asia/Tokyo'""")
    else:
        options = "options=-c%20search_path%3Dapp,public%20-c%20TimeZone%3DAsia/Tokyo"
        site.environment["RECONCILER_DATABASE_URL"] = f"{site.database}?{options}"
    owner = await site.virtual_key()
    await site.put("image/old")
    old = await site.row("image/old", owner, ExpiresAt=LONG_AGO)
    await site.script(AUDITED)
    report = await site.once()
    assert (report.outcome, report.removed.objects, report.removed.records) == (Outcome.CONVERGED, 1, 1)
    assert (await site.undo(keys=("image/old",))).complete
    assert await site.state() == ({"image/old"}, {"image/old"})
    seen = await site.sql('SELECT "Id", "What", "Day" FROM app."Audit"')
    assert [(row[0], row[1], row[2]) for row in seen] == [
        (old, "DELETE", "Asia/Tokyo"),
        (old, "INSERT", "Asia/Tokyo"),
    ]


@pytest.mark.incident(40)
async def test_a_row_that_another_table_needs_keeps_its_object_and_says_so(site: Site) -> None:
    """I-40: the file was deleted, and then the row was refused; the post had lost its picture."""
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await site.script('CREATE TABLE "Posts" ("Media" uuid NOT NULL REFERENCES "MediaRecords")')
    await site.put("image/posted", "image/old")
    posted = await site.row("image/posted", ExpiresAt=LONG_AGO)
    await site.row("image/old", ExpiresAt=LONG_AGO)
    await site.sql('INSERT INTO "Posts" VALUES ($1)', posted)
    report = await site.once()
    assert (report.outcome, report.removed.objects, report.removed.records) == (Outcome.PENDING, 1, 1)
    assert await site.state() == ({"image/posted"}, {"image/posted"})
    assert 'image/posted: update or delete on table "MediaRecords" violates foreign key' in report.notice
    async with site.catalog() as catalog:
        mark = await catalog.mark_list.look("image/posted")
        assert mark is not None
        assert (mark.state, mark.refusals) == (MarkState.REFUSED, 1)
        assert '"Posts"' in (mark.last_error or "")
        assert await catalog.mark_list.retry(None) == {"image/posted"}
    await site.sql('DELETE FROM "Posts"')
    report = await site.once()
    assert (report.outcome, report.removed.objects, report.removed.records) == (Outcome.CONVERGED, 1, 1)
    assert (report.notice, await site.state()) == ("", (set(), set()))


@pytest.mark.incident(40)
@pytest.mark.attack(53)
async def test_a_claim_of_an_older_version_that_is_refused_gets_its_object_back(ordered_site: Site) -> None:
    """The object went, since nobody had tried the row before; after the copy's purge it was lost."""
    site = ordered_site
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await site.put("image/posted")
    posted = await site.row("image/posted", ExpiresAt=LONG_AGO)
    # What refuses the row comes with the claim, as if the claim had not looked.
    await site.script(
        """
        CREATE TABLE "Posts" ("Media" uuid NOT NULL REFERENCES "MediaRecords" DEFERRABLE);
        CREATE FUNCTION post() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO "Posts" SELECT "Id" FROM public."MediaRecords" WHERE "StorageKey" = NEW.storage_key;
            RETURN NEW; END $$;
        ALTER FUNCTION post() SET search_path = public;
        CREATE TRIGGER post BEFORE UPDATE OF state ON reconciler.marks FOR EACH ROW
            WHEN (NEW.state = 'claimed') EXECUTE FUNCTION post();
        """
    )
    report = await site.once()
    assert (report.removed.objects, report.removed.records, report.removed.failed) == (1, 0, 0)
    assert "its object comes back" in report.notice
    assert await site.state() == ({"image/posted"}, {"image/posted"}), "within the same run"
    await site.script("DROP TRIGGER post ON reconciler.marks")
    report = await site.once()
    assert (report.removed.objects, report.removed.records) == (0, 0)
    assert await site.state() == ({"image/posted"}, {"image/posted"})
    assert await site.sql('SELECT "Media" FROM "Posts"') == [(posted,)]
