"""Buckets whose policy keeps every version for good, on real stores: what goes can still come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio.to_thread
import pytest

from reconciler import app
from reconciler.model import Check, CheckStatus, Outcome, Return
from reconciler.settings import SettingsSource
from reconciler.stores.s3.quarantine import BucketCopies
from tests.integration.site import Site
from tests.integration.test_gone import left
from tests.integration.test_versions import keep_versions
from tests.support.faulty_store import Answer, Request
from tests.support.relay import keeps_versions_for_good, relay

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
EVERYWHERE, MANAGED = "", "image/"


@asynccontextmanager
async def forbidding(site: Site, prefix: str | None = None) -> AsyncIterator[None]:
    """The site's way to a bucket that keeps versions, and lets nobody delete them under the prefix.

    Where none is given, each store has one of both: it is the program that they make a difference to.
    """
    if prefix is None:
        prefix = MANAGED if site.bucket.server.kind == "moto" else EVERYWHERE
    keep_versions(site)
    server = site.bucket.server
    async with relay(server.endpoint_url, keeps_versions_for_good(site.bucket.name, prefix)) as address:
        site.environment["RECONCILER_BUCKET__ENDPOINT_URL"] = address
        yield


async def expired(site: Site) -> None:
    await site.put("image/a")
    await site.row("image/a", ExpiresAt=LONG_AGO, SizeBytes=1)


async def modes(site: Site) -> list[str]:
    return [row[0] for row in await site.sql("SELECT mode FROM reconciler.hidden")]


async def checks(site: Site) -> dict[str, Check]:
    found = await app.doctor(SettingsSource(site.environment))
    return {check.name: check for check in found}


@pytest.mark.incident(52)
async def test_auto_copies_what_no_marker_could_be_taken_from(site: Site) -> None:
    site.environment["RECONCILER_DELETE_MODE"] = "auto"
    async with forbidding(site):
        await expired(site)
        assert (await site.once()).outcome is Outcome.CONVERGED
        assert await modes(site) == ["quarantine"]
        told = await checks(site)
        assert told["versions"].status is CheckStatus.WARN
        assert "not seen to come back" in told["versions"].detail
        assert "s3:DeleteObjectVersion" in told["delete mode"].advice
        undone = await site.undo(since=LONG_AGO)
        assert (undone.objects, undone.records, undone.complete) == (1, 1, True)
    assert await site.state() == ({"image/a"},) * 2
    assert {key for _, key in await left(site, "image/")} == {"image/a"}


@pytest.mark.incident(52)
async def test_an_undo_copies_the_version_over_a_marker_that_stays(site: Site) -> None:
    site.environment["RECONCILER_DELETE_MODE"] = "versioned"
    async with forbidding(site):
        await expired(site)
        await site.once()
        assert (await modes(site), await site.keys()) == (["versioned"], set())
        undone = await site.undo(since=LONG_AGO)
        assert (undone.objects, undone.records, undone.complete) == (1, 1, True)
        assert await site.state() == ({"image/a"},) * 2
        again = await site.undo(since=LONG_AGO)
        assert (again.objects, again.records, again.complete) == (0, 0, True)
        assert (await site.once(undo_window="0s")).outcome is Outcome.CONVERGED
    assert await site.state() == ({"image/a"},) * 2


@pytest.mark.probes
@pytest.mark.incident(52)
async def test_where_versions_may_go_a_marker_hides_and_the_probe_leaves_nothing(site: Site) -> None:
    keep_versions(site)
    site.environment["RECONCILER_DELETE_MODE"] = "auto"
    await expired(site)
    report = await site.once()
    assert (report.removed.objects, await modes(site)) == (1, ["versioned"])
    assert {key for _, key in await left(site, "")} <= {"image/a", ".reconciler/identity.json"}


@pytest.mark.probes
async def test_a_dry_run_puts_no_scratch_key_where_objects_are_managed(site: Site) -> None:
    written: list[str] = []
    server = site.bucket.server
    keep_versions(site)
    site.environment["RECONCILER_DELETE_MODE"] = "auto"
    await site.put("image/a")

    def watch(request: Request) -> Answer | None:
        if request.method in {"PUT", "DELETE"}:
            written.append(request.target)
        return None

    async with relay(server.endpoint_url, watch) as address:
        site.environment["RECONCILER_BUCKET__ENDPOINT_URL"] = address
        await site.once(dry_run="true")
        await site.plan()
        assert [each for each in written if "/.reconciler/" not in each] == []
        await site.once(grace_period="1h")
    assert [each for each in written if "/image/.reconciler-probe/" in each] != []


def overtaken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody puts another object after the look at the key and before the copy to it."""
    at_once = BucketCopies._at_once

    async def late(copies: BucketCopies, source: Any, target: str, *, only_new: bool) -> str:
        if only_new:
            await anyio.to_thread.run_sync(site.bucket.put, target, b"newer")
        return await at_once(copies, source, target, only_new=only_new)

    monkeypatch.setattr(BucketCopies, "_at_once", late)


async def newest(site: Site) -> bytes:
    def read() -> bytes:
        body: bytes = site.bucket.client.get_object(Bucket=site.bucket.name, Key="image/a")["Body"].read()
        return body

    return await anyio.to_thread.run_sync(read)


@pytest.mark.attack(60)
async def test_an_upload_between_look_and_copy_is_not_written_over_where_the_store_compares(
    unordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = unordered_site
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await expired(site)
    await site.once()
    overtaken(site, monkeypatch)
    undone = await site.undo(since=LONG_AGO)
    assert [each.outcome for each in undone.refused] == [Return.REFUSED]
    assert await newest(site) == b"newer"


@pytest.mark.attack(60)
async def test_where_it_does_not_and_versions_are_kept_our_copy_goes_again(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moto ignores If-None-Match on a copy."""
    site = ordered_site
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await expired(site)
    await site.once()
    keep_versions(site)
    site.environment["RECONCILER_DELETE_MODE"] = "auto"
    overtaken(site, monkeypatch)
    undone = await site.undo(since=LONG_AGO)
    assert [each.outcome for each in undone.refused] == [Return.REFUSED]
    assert "lies there again" in undone.refused[0].reason
    assert await newest(site) == b"newer"
    assert await site.rows() == set()


@pytest.mark.attack(60)
@pytest.mark.incident(52)
async def test_where_our_copy_may_not_go_again_it_is_told_what_lies_behind_it(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = ordered_site
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await expired(site)
    await site.once()
    site.environment["RECONCILER_DELETE_MODE"] = "auto"
    async with forbidding(site, EVERYWHERE):
        overtaken(site, monkeypatch)
        undone = await site.undo(since=LONG_AGO)
    (refused,) = undone.refused
    assert (refused.outcome, undone.objects, undone.records) == (Return.REFUSED, 0, 0)
    assert "behind what was brought back, which may not go again" in refused.reason
    found = site.bucket.client.list_object_versions(Bucket=site.bucket.name, Prefix="image/a")
    (behind,) = (each["VersionId"] for each in found["Versions"] if not each["IsLatest"])
    assert f"is version {behind} behind" in refused.reason


@pytest.mark.incident(52)
async def test_what_is_put_as_a_version_is_copied_over_its_marker_is_not_written_over(
    unordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = unordered_site
    site.environment["RECONCILER_DELETE_MODE"] = "versioned"
    async with forbidding(site, EVERYWHERE):
        await expired(site)
        await site.once()
        overtaken(site, monkeypatch)
        undone = await site.undo(since=LONG_AGO)
    assert [each.outcome for each in undone.refused] == [Return.REFUSED]
    assert await newest(site) == b"newer"


@pytest.mark.attack(61)
async def test_rules_that_take_copies_early_stop_deletions_until_one_of_the_two_is_changed(
    ordered_site: Site,
) -> None:
    site = ordered_site
    site.environment["RECONCILER_DELETE_MODE"] = "auto"
    await expired(site)
    rule = {
        "ID": "tidy",
        "Status": "Enabled",
        "Filter": {"Prefix": ".reconciler/"},
        "Expiration": {"Days": 3},
    }
    await anyio.to_thread.run_sync(
        lambda: site.bucket.client.put_bucket_lifecycle_configuration(
            Bucket=site.bucket.name, LifecycleConfiguration={"Rules": [rule]}
        )
    )
    report = await site.once()
    assert report.outcome is Outcome.HALTED
    assert "'tidy' deletes copies under .reconciler/quarantine/ after 3 days" in report.detail
    assert await site.keys() == {"image/a"}
    found = await app.doctor(SettingsSource(site.environment))
    told = [(check.status, check.detail) for check in found if check.name == "lifecycle"]
    assert [status for status, _ in told] == [CheckStatus.FAIL, CheckStatus.WARN]
    assert "identity.json" in told[1][1]
    assert (await site.once(undo_window="3d")).removed.objects == 1
