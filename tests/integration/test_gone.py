"""Gone means gone, whatever became of the bucket's versions since: nothing is left that could be read."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.to_thread
import pytest

from reconciler.model import DeletionResult, ObjectResult
from reconciler.stores.s3.versions import BucketVersions
from tests.integration.site import SOON_DEAD, Site
from tests.integration.test_purge import LONG_AGO, NOW, freed, lost
from tests.integration.test_versions import keep_versions

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

QUARANTINE = ".reconciler/quarantine/"


async def left(site: Site, prefix: str) -> list[tuple[str, str]]:
    """Every version, with its kind, and every marker under the prefix."""
    answer: dict[str, Any] = await anyio.to_thread.run_sync(
        lambda: site.bucket.client.list_object_versions(Bucket=site.bucket.name, Prefix=prefix)
    )
    return [(kind, each["Key"]) for kind in ("Versions", "DeleteMarkers") for each in answer.get(kind, ())]


async def erase(site: Site, *keys: str) -> None:
    async with site.catalog() as catalog:
        await catalog.erasure.erase(list(keys), "test")


async def a_second_passes(site: Site) -> None:
    """On the store's clock, whose times a HEAD tells to the second: only then is a PUT known to be newer."""

    def date() -> str:
        answer = site.bucket.client.head_bucket(Bucket=site.bucket.name)
        return str(answer["ResponseMetadata"]["HTTPHeaders"]["date"])

    for _ in range(2):
        before = await anyio.to_thread.run_sync(date)
        while await anyio.to_thread.run_sync(date) == before:  # noqa: ASYNC110 - another's clock tells no event
            await anyio.sleep(0.05)


@pytest.mark.attack(62)
@pytest.mark.parametrize("since", [("Enabled",), ("Enabled", "Suspended")])
@pytest.mark.parametrize("erased", [True, False])
async def test_no_copy_stays_where_versions_were_switched_on_since(
    site: Site, since: tuple[str, ...], *, erased: bool
) -> None:
    await lost(site)
    for status in since:
        keep_versions(site, status)
    if erased:
        await erase(site, "image/a")
        await site.once()
    else:
        await site.once(**NOW)
    assert await left(site, QUARANTINE) == []
    assert [row for row in await left(site, "image/a") if row[0] == "Versions"] == []
    assert await freed(site) == [("image/a", 1)]


@pytest.mark.attack(62)
async def test_a_marker_that_the_store_keeps_for_good_holds_nothing_up(site: Site) -> None:
    """As of a deletion by name while versions were suspended: SeaweedFS never deletes such a marker."""
    await lost(site)
    keep_versions(site, "Suspended")
    ((_, copy),) = await left(site, QUARANTINE)
    site.bucket.client.delete_object(Bucket=site.bucket.name, Key=copy)
    await site.once(**NOW)
    assert [row for row in await left(site, QUARANTINE) if row[0] == "Versions"] == []
    assert await freed(site) == [("image/a", 1)]
    assert await site.sql("SELECT 1 FROM reconciler.hidden") == []


@pytest.mark.attack(62)
async def test_what_a_deletion_by_name_left_goes_with_its_copy(site: Site) -> None:
    """Put while versions were kept, deleted while they were not: the copy was not all of it."""
    keep_versions(site)
    await site.put("image/a")
    await site.put("image/other")
    keep_versions(site, "Suspended")
    await site.row("image/other")
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await site.once()
    assert await site.keys() == {"image/other"}
    await site.once(**NOW)
    assert [row for row in await left(site, "image/a") if row[0] == "Versions"] == []
    assert await left(site, QUARANTINE) == []
    assert await site.keys() == {"image/other"}


@pytest.mark.attack(62)
async def test_an_erasure_takes_older_versions_too(site: Site) -> None:
    keep_versions(site)
    await site.put("image/a")
    await lost(site)
    assert len(await left(site, "image/a")) == 3
    await erase(site, "image/a")
    await site.once()
    assert await left(site, "image/a") == []
    assert await freed(site) == [("image/a", 1)]


@pytest.mark.attack(62)
async def test_an_erasure_leaves_what_lies_at_the_key_by_now(site: Site) -> None:
    keep_versions(site)
    await lost(site)
    await a_second_passes(site)
    await site.put("image/a")
    await site.row("image/a")
    await erase(site, "image/a")
    await site.once()
    assert await site.keys() == {"image/a"}
    assert await left(site, "image/a") == [("Versions", "image/a")]


@pytest.mark.attack(62)
async def test_what_was_older_than_versions_goes_though_they_are_suspended_since(
    unordered_site: Site,
) -> None:
    """Its id is the one that the next PUT takes: it goes only while nothing lies at the key.

    On SeaweedFS alone: a suspended bucket of moto forgets its versions, and fails over its markers.
    """
    site = unordered_site
    await site.put("image/a")
    await site.put("image/b")
    keep_versions(site)
    for key in ("image/a", "image/b"):
        await site.row(key, ExpiresAt=LONG_AGO, SizeBytes=1)
    site.environment["RECONCILER_DELETE_MODE"] = "auto"
    await site.once()
    keep_versions(site, "Suspended")
    await site.put("image/b")
    await site.row("image/b")
    await site.once(**NOW)
    assert [row for row in await left(site, "image/a") if row[0] == "Versions"] == []
    assert await site.keys() == {"image/b"}


async def test_a_copy_that_a_lock_or_the_store_keeps_is_not_counted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a store that says yes and keeps a version: it is tried again, and the ledger says nothing yet."""
    await lost(site)
    keep_versions(site)

    async def keeps(_: object, version: Any, *__: object) -> DeletionResult:
        return DeletionResult(key=version.key, result=ObjectResult.DELETED)

    with monkeypatch.context() as patched:
        patched.setattr(BucketVersions, "_remove", keeps)
        await site.once(**NOW)
    assert len(await left(site, QUARANTINE)) == 1
    assert await freed(site) == []
    await site.sql("UPDATE reconciler.hidden SET claimed_at = claimed_at - interval '1 hour'")
    await site.once(**NOW, **SOON_DEAD)
    assert (await left(site, QUARANTINE), await freed(site)) == ([], [("image/a", 1)])
