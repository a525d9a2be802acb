"""Rows whose objects the bucket's own rules expired, on a real store: no loss, and dangling all the same."""

from __future__ import annotations

from datetime import timedelta

import anyio.to_thread
import pytest

from reconciler.model import BY_STORE, Hold, HoldKind, Outcome, Verdict
from tests.integration.site import DAY, Site
from tests.servers import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.calm]


@pytest.fixture
def s3_server(seaweed: S3Server) -> S3Server:
    """One store is enough: the contract tests read the rules of each."""
    return seaweed


async def expiring(site: Site, prefix: str, days: int) -> None:
    """The bucket's only rule."""
    rule = {
        "ID": "three",
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "Expiration": {"Days": days},
    }
    await anyio.to_thread.run_sync(
        lambda: site.bucket.client.put_bucket_lifecycle_configuration(
            Bucket=site.bucket.name, LifecycleConfiguration={"Rules": [rule]}
        )
    )


async def without_objects(site: Site, age: timedelta, number: int = 3, prefix: str = "image/") -> None:
    for each in range(number):
        await site.row(f"{prefix}gone-{age.days}-{each}", age=age)


async def test_what_the_store_expired_is_removed_however_small_the_cap_of_losses(site: Site) -> None:
    """At the end of the sweep and at the claim, and with what went before within the day."""
    await site.tracked("image/live")
    await expiring(site, "image/", 3)
    for age in (5 * DAY, 6 * DAY):
        await without_objects(site, age)
        planned, findings = await site.plan(breaker__max_dangling="0")
        assert (planned.outcome, planned.found[Verdict.DANGLING]) == (Outcome.CONVERGED, 3)
        assert all(each.reason.startswith(BY_STORE) for each in findings)
        first = await site.once(breaker__max_dangling="0")
        assert (first.outcome, first.removed.records) == (Outcome.PENDING, 0)
        second = await site.once(breaker__max_dangling="0")
        assert (second.outcome, second.removed.records) == (Outcome.CONVERGED, 3)
    assert await site.rows() == {"image/live"}
    reasons = await site.sql("SELECT DISTINCT reason FROM reconciler.ledger")
    assert all(row[0].startswith(f"{BY_STORE}lifecycle rule 'three' expires 'image/'") for row in reasons)


async def test_what_the_rule_does_not_explain_is_loss_as_ever(site: Site) -> None:
    """Too young for it, or under another prefix; what it explains is none of these."""
    await site.tracked("image/live")
    await expiring(site, "image/", 3)
    await without_objects(site, 5 * DAY)
    await without_objects(site, 2 * DAY, 1)
    await without_objects(site, 5 * DAY, 1, "video/")
    report = await site.once(breaker__max_dangling="1")
    assert report.outcome is Outcome.TRIPPED
    assert "2 records without an object; the limit is 1" in report.detail


async def test_the_other_limits_count_what_the_store_expired(site: Site) -> None:
    """A rule that was made by mistake expires all at once."""
    await site.tracked("image/live")
    await expiring(site, "image/", 3)
    await without_objects(site, 5 * DAY)
    report = await site.once(breaker__max_count="2")
    assert report.outcome is Outcome.TRIPPED
    assert "RECONCILER_BREAKER__MAX_COUNT" in report.detail


async def test_what_is_on_hold_hides_no_loss(site: Site) -> None:
    """It did not count among the losses, so that it is not taken off them."""
    await site.tracked("image/live")
    await expiring(site, "image/", 3)
    await site.row("image/held", age=5 * DAY)
    async with site.catalog() as catalog:
        hold = Hold(kind=HoldKind.KEY, target="image/held", reason="a case", author="alice")
        await catalog.holds.add([hold])
    await without_objects(site, 2 * DAY, 1)
    report = await site.once(breaker__max_dangling="0")
    assert report.outcome is Outcome.TRIPPED
    assert "1 record without an object" in report.detail
