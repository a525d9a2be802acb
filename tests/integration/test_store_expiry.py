"""Rows whose objects the bucket's own rules expired, on a real store: no loss, and dangling all the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import anyio.to_thread
import pytest

from reconciler import app
from reconciler.model import BY_STORE, CheckStatus, Hold, HoldKind, Outcome, Verdict
from reconciler.settings import SettingsSource
from tests.cli.program import reconciler
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
    """At the end of the sweep and at the claim, and a day's loss may go beside it, and beside what went."""
    await site.tracked("image/live")
    await expiring(site, "image/", 3)
    cap = {"breaker__max_dangling": "1"}
    for age, lost in ((5 * DAY, 0), (6 * DAY, 1)):
        await without_objects(site, age)
        await without_objects(site, 2 * DAY, lost)
        planned, findings = await site.plan(**cap)
        assert (planned.outcome, planned.found[Verdict.DANGLING]) == (Outcome.CONVERGED, 3 + lost)
        assert sum(each.reason.startswith(BY_STORE) for each in findings) == 3
        first = await site.once(**cap)
        (told,) = await site.sql(
            "SELECT tally ->> 'expired_by_store' FROM reconciler.passes"
            " WHERE kind = 'sweep' ORDER BY id DESC LIMIT 1"
        )
        assert told[0] == "3"
        assert (first.outcome, first.removed.records) == (Outcome.PENDING, 0)
        second = await site.once(**cap)
        assert (second.outcome, second.removed.records) == (Outcome.CONVERGED, 3 + lost)
    assert await site.rows() == {"image/live"}
    told = await site.sql("SELECT DISTINCT storage_key, reason FROM reconciler.ledger")
    explained = f"{BY_STORE}lifecycle rule 'three' expires 'image/' after 3 days; no object"
    assert sum(row["reason"].startswith(explained) for row in told) == len(told) - 1 == 6


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
    """It did not count among the losses, so that it is not taken off them: here one of a row past its end."""
    await site.tracked("image/live")
    await expiring(site, "image/", 3)
    await site.row("image/held", age=5 * DAY)
    async with site.catalog() as catalog:
        hold = Hold(kind=HoldKind.KEY, target="image/held", reason="a case", author="alice")
        await catalog.holds.add([hold])
    await site.row("video/gone", age=2 * DAY, ExpiresAt=datetime.now(UTC) - DAY)
    report = await site.once(breaker__max_dangling="0")
    assert report.outcome is Outcome.TRIPPED
    assert "1 record without an object" in report.detail


def rules(site: Site) -> list[dict[str, object]]:
    found = site.bucket.client.get_bucket_lifecycle_configuration(Bucket=site.bucket.name)
    return list(found["Rules"])


async def lifecycle(site: Site, *words: str) -> tuple[int, str]:
    ran = await anyio.to_thread.run_sync(
        lambda: reconciler("lifecycle", "export", *words, env=site.environment)
    )
    return ran.status, ran.out


async def test_the_difference_is_shown_first_and_rules_of_others_stay(ordered_site: Site) -> None:
    site = ordered_site
    await expiring(site, "other/", 3)
    (foreign,) = rules(site)
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    status, out = await lifecycle(site)
    assert (status, [each["Filter"] for each in json.loads(out)["Rules"]]) == (
        0,
        [{"Prefix": "image/"}, {"Prefix": "video/"}],
    )
    status, out = await lifecycle(site, "--apply", "--dry-run")
    assert (status, [line[0] for line in out.splitlines()]) == (0, [" ", "+", "+"])
    assert rules(site) == [foreign]
    site.environment["RECONCILER_DRY_RUN"] = "true"
    assert (await lifecycle(site, "--apply"))[0] == 1
    assert rules(site) == [foreign]
    site.environment["RECONCILER_DRY_RUN"] = "false"
    assert (await lifecycle(site, "--apply"))[0] == 0
    first, *ours = rules(site)
    assert (first, len(ours)) == (foreign, 2)
    status, out = await lifecycle(site, "--apply")
    assert (status, {line[0] for line in out.splitlines()}) == (0, {" "})
    assert rules(site) == [foreign, *ours]


async def test_objects_are_left_to_the_store_only_while_nothing_else_decides_of_them(
    ordered_site: Site,
) -> None:
    """An access, a hold, and keys that rows may share stand against it; doctor tells of the hold once the
    rule is there.
    """
    site = ordered_site
    site.environment.update(RECONCILER_DRY_RUN="false", RECONCILER_RECENT_ACCESS_DAYS="0")
    assert (await lifecycle(site, "--expire", "--apply"))[0] == 0
    assert [each["Expiration"] for each in rules(site)] == [{"Days": 90 + 7}] * 2
    assert await told_by_doctor(site) == (CheckStatus.OK, "")
    async with site.catalog() as catalog:
        hold = Hold(kind=HoldKind.PREFIX, target="image/case/", reason="a case", author="alice")
        await catalog.holds.add([hold])
    look, told = await told_by_doctor(site)
    assert look is CheckStatus.WARN
    assert "It ignores: 1 hold in force may keep some of them" in told
    status, out = await lifecycle(site, "--expire")
    assert (status, ["Expiration" in each for each in json.loads(out)["Rules"]]) == (1, [False, True])
    await site.sql('ALTER TABLE "MediaRecords" DROP CONSTRAINT "MediaRecords_StorageKey_key"')
    status, out = await lifecycle(site, "--expire")
    assert (status, ["Expiration" in each for each in json.loads(out)["Rules"]]) == (1, [False, False])
    site.environment["RECONCILER_RECENT_ACCESS_DAYS"] = "30"
    assert (await lifecycle(site, "--expire", "--apply"))[0] == 1
    assert not any("Expiration" in each for each in rules(site))


async def told_by_doctor(site: Site) -> tuple[CheckStatus, str]:
    found = await app.doctor(SettingsSource(site.environment))
    (check,) = [each for each in found if each.name == "lifecycle"]
    return check.status, check.detail if check.status is CheckStatus.WARN else ""
