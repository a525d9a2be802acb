"""What the role may do, asked before live begins; and what is granted, pasted as it is told."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from reconciler.catalog.db.config import CatalogConfig, TableMapping
from reconciler.catalog.media_tables.inspection import inspect
from reconciler.model import Mode, Outcome
from tests.integration.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Limited:
    """The site as a role sees it that owns nothing."""

    owner: Site
    site: Site
    role: str


@pytest.fixture
async def limited(ordered_site: Site) -> AsyncIterator[Limited]:
    """A role whose name needs its quotes, and that may read the tables."""
    role = f"Media Cleaner {secrets.token_hex(4)}"
    await ordered_site.script(
        f"""
        CREATE ROLE "{role}" LOGIN PASSWORD 'secret';
        GRANT SELECT ON "MediaRecords", "VirtualKeys" TO "{role}";
        GRANT USAGE ON SCHEMA reconciler TO "{role}";
        GRANT SELECT ON ALL TABLES IN SCHEMA reconciler TO "{role}";
        """
    )
    scheme, _, rest = ordered_site.database.partition("://")
    url = f"{scheme}://{role.replace(' ', '%20')}:secret@{rest.rpartition('@')[2]}"
    environment = ordered_site.environment | {"RECONCILER_DATABASE_URL": url}
    yield Limited(ordered_site, replace(ordered_site, environment=environment), role)
    await ordered_site.script(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


@pytest.mark.attack(55)
async def test_live_does_not_begin_without_the_rights_that_it_takes(limited: Limited) -> None:
    site, owner = limited.site, limited.owner
    site.environment["RECONCILER_DELETE_MODE"] = "auto"
    await site.put("image/old", "image/orphan")
    await owner.row("image/old", ExpiresAt=LONG_AGO)
    # Its own schema first: nobody leads without it.
    report = await site.once()
    assert report.outcome is Outcome.HALTED
    await owner.script(
        f'GRANT CREATE ON SCHEMA reconciler TO "{limited.role}";'
        f' GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA reconciler TO "{limited.role}"'
    )
    report = await site.once()
    assert report.outcome is Outcome.HALTED
    assert len(report.detail.splitlines()) == 1
    assert 'lacks UPDATE, DELETE, INSERT on "public"."MediaRecords"' in report.detail
    assert await site.keys() == {"image/old", "image/orphan"}
    assert await owner.sql("SELECT FROM reconciler.passes") == [], "not even a pass began"
    grants = report.detail[report.detail.index("GRANT") :]
    assert limited.role in grants
    await owner.script(grants)
    report = await site.once()
    assert (report.outcome, report.removed.objects, report.removed.records) == (Outcome.CONVERGED, 2, 1)
    assert (await site.undo(keys=("image/old",))).complete, "INSERT was granted along"
    await site.adopt()
    await site.put("image/orphan")
    await site.once()
    ids = await owner.sql(
        "SELECT id > 1e15 AS later FROM reconciler.ledger WHERE storage_key = 'image/orphan'"
    )
    assert {row["later"] for row in ids} == {False, True}, (
        "adopting skips ids without a right on the sequence"
    )


# Who runs it owns the tables, so it may take a right away from whoever arms the pass.
REVOKING = """
CREATE FUNCTION public.revoke_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    EXECUTE 'REVOKE INSERT ON public."MediaRecords" FROM {role}'; RETURN NULL; END $$;
CREATE TRIGGER revoke_insert AFTER UPDATE OF state ON reconciler.passes FOR EACH ROW
    WHEN (NEW.kind = 'retention' AND NEW.state = 'released') EXECUTE FUNCTION public.revoke_insert();
"""


@pytest.mark.attack(55)
async def test_a_right_to_bring_rows_back_that_goes_after_the_passes_keeps_what_they_marked(
    limited: Limited,
) -> None:
    """A daemon collects for hours after it has begun to lead."""
    site, owner = limited.site, limited.owner
    site.environment["RECONCILER_DELETE_MODE"] = "auto"
    await owner.script(
        f"""
        GRANT USAGE, CREATE ON SCHEMA reconciler TO "{limited.role}";
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA reconciler, public TO "{limited.role}";
        """
        + REVOKING.format(role=f'"{limited.role}"')
    )
    await site.put("image/old", "image/orphan")
    await owner.row("image/old", ExpiresAt=LONG_AGO)
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.HALTED, 0)
    assert 'lacks INSERT on "public"."MediaRecords"' in report.detail
    assert await site.keys() == {"image/old", "image/orphan"}
    assert len(await owner.sql("SELECT FROM reconciler.marks")) == 2


async def test_a_dry_run_needs_no_more_than_to_read(limited: Limited) -> None:
    site, owner = limited.site, limited.owner
    await owner.script(
        f'GRANT CREATE ON SCHEMA reconciler TO "{limited.role}";'
        f' GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA reconciler TO "{limited.role}"'
    )
    await site.put("image/orphan")
    report = await site.once(dry_run="true")
    assert (report.outcome, report.mode, report.removed.objects) == (Outcome.CONVERGED, Mode.DRY_RUN, 1)


async def test_what_a_table_takes_that_cannot_even_be_reached_is_told_to_be_pasted(limited: Limited) -> None:
    site, owner = limited.site, limited.owner
    await owner.script(
        f'REVOKE USAGE ON SCHEMA public FROM public; REVOKE SELECT ON "MediaRecords" FROM "{limited.role}"'
    )
    url = site.environment["RECONCILER_DATABASE_URL"]
    config = CatalogConfig(database_url=url)
    filtered = CatalogConfig(database_url=url, tables=TableMapping(media_where=(("MediaType", "image"),)))
    report = await inspect(config)
    assert len(report.faults) == 2
    assert (await inspect(filtered)).faults == report.faults
    for fault in report.faults:
        await owner.script(fault[fault.index("GRANT") :])
    assert (await inspect(config)).faults == (await inspect(filtered)).faults == ()
