"""Surroundings that fail: one clear line, the right ending, and nothing lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler import app
from reconciler.errors import ConfigError, StoreUnavailable
from reconciler.model import ObjectPage, Outcome
from tests.integration.site import Site
from tests.support.faulty_store import Answer, faulty_store

pytestmark = pytest.mark.anyio


async def test_wrong_credentials_fail_a_run(unordered_site: Site) -> None:
    """As a store that is away does. The daemon halts."""
    await unordered_site.tracked("image/live")
    unordered_site.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    report = await unordered_site.once()
    assert report.outcome is Outcome.FAILED
    assert "AWS_SECRET_ACCESS_KEY" in report.detail
    assert await unordered_site.rows() == {"image/live"}


async def test_a_missing_bucket_fails_a_run(site: Site) -> None:
    """As a missing database does. The daemon halts."""
    await site.row("image/live")
    report = await site.once(bucket__name="no-such-bucket-here")
    assert report.outcome is Outcome.FAILED
    assert "no-such-bucket-here" in report.detail
    assert await site.rows() == {"image/live"}


async def test_an_endpoint_that_is_no_store_halts_and_says_so(site: Site) -> None:
    """A store's console, say: it answers everything with a page of its own."""
    await site.row("image/live")
    async with faulty_store(Answer("<!DOCTYPE html><html>console</html>")) as console:
        report = await site.once(bucket__endpoint_url=console.endpoint_url)
    assert report.outcome is Outcome.HALTED
    assert "not how an S3 store answers" in report.detail
    assert await site.rows() == {"image/live"}


async def test_an_endpoint_that_does_not_answer_fails(site: Site) -> None:
    report = await site.once(bucket__endpoint_url="http://127.0.0.1:9", bucket__request_timeout="1s")
    assert report.outcome is Outcome.FAILED
    assert "127.0.0.1:9" in report.detail


async def test_a_database_that_is_away_fails_without_its_password(site: Site) -> None:
    report = await site.once(database_url="postgresql://someone:hunter2@127.0.0.1:9/nowhere")
    assert report.outcome is Outcome.FAILED
    assert "127.0.0.1:9" in report.detail
    assert "hunter2" not in report.detail


async def test_a_database_that_was_not_migrated_is_a_configuration_error(
    site: Site, empty_database: str
) -> None:
    with pytest.raises(ConfigError, match="reconciler migrate"):
        await site.once(database_url=empty_database)


async def test_a_second_run_names_who_holds_the_lease(ordered_site: Site) -> None:
    await ordered_site.sql(
        "UPDATE reconciler.lease SET holder = 'somebody/42', expires_at = now() + interval '1 hour'"
    )
    report = await ordered_site.once_within(timedelta(0))
    assert report.outcome is Outcome.FAILED
    assert "somebody/42" in report.detail


class ErrsHalfWay:
    """A listing whose second page never comes."""

    def __init__(self, listing: Any) -> None:
        self._listing = listing
        self._pages = 0

    async def list_page(self, prefix: str, **asked: Any) -> ObjectPage:
        self._pages += 1
        if self._pages > 1:
            raise StoreUnavailable("the store went away in mid-listing")
        page: ObjectPage = await self._listing.list_page(prefix, **asked)
        return page


@pytest.mark.incident(1)
async def test_a_listing_that_errs_half_way_releases_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first prefix is listed and its orphan found, the second is not: the pass must not arm."""
    await site.tracked("video/live")
    await site.put("image/orphan")
    wire = app.wiring.wire
    with monkeypatch.context() as patched:
        patched.setattr(
            app.wiring,
            "wire",
            lambda *args: replace(ports := wire(*args), listing=ErrsHalfWay(ports.listing)),
        )
        report = await site.once()
    assert report.outcome is Outcome.FAILED
    assert "mid-listing" in report.detail
    assert await site.keys() == {"video/live", "image/orphan"}
    assert await site.sql("SELECT 1 FROM reconciler.passes WHERE state = 'released' AND kind = 'sweep'") == []
    assert (await site.once()).removed.objects == 1
