"""Buckets that keep versions, on real servers: what goes is hidden by a delete marker of ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio.to_thread
import pytest

from reconciler.errors import ConfigError
from reconciler.model import Outcome, Return
from tests.integration.site import Site
from tests.integration.test_crash import kill_once

pytestmark = pytest.mark.anyio

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


def keep_versions(site: Site, status: str = "Enabled") -> None:
    site.bucket.client.put_bucket_versioning(
        Bucket=site.bucket.name, VersioningConfiguration={"Status": status}
    )


@pytest.fixture(autouse=True)
def versioned(request: pytest.FixtureRequest) -> None:
    for name in {"site", "ordered_site", "unordered_site"} & set(request.fixturenames):
        site: Site = request.getfixturevalue(name)
        site.environment["RECONCILER_DELETE_MODE"] = "auto"
        keep_versions(site)


async def versions(site: Site, key: str) -> tuple[list[str], list[str]]:
    """The ids of the key's versions, and of its delete markers."""
    answer: dict[str, Any] = await anyio.to_thread.run_sync(
        lambda: site.bucket.client.list_object_versions(Bucket=site.bucket.name, Prefix=key)
    )
    return (
        [each["VersionId"] for each in answer.get("Versions", ()) if each["Key"] == key],
        [each["VersionId"] for each in answer.get("DeleteMarkers", ()) if each["Key"] == key],
    )


async def test_a_delete_marker_hides_what_goes_and_undo_takes_it_away(site: Site) -> None:
    await site.tracked("image/live", "image/a")
    await site.put("image/a/b")
    await site.row("image/a/b", ExpiresAt=LONG_AGO, SizeBytes=1)
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    assert await site.keys() == {"image/live", "image/a"}
    kept, markers = await versions(site, "image/a/b")
    assert (len(kept), len(markers)) == (1, 1)
    (row,) = await site.sql(
        "SELECT recovery::text FROM reconciler.ledger WHERE event = 'result' AND what = 'object'"
    )
    recovery = json.loads(row[0])
    assert (recovery["mode"], recovery["version_ids"], recovery["marker_ids"]) == ("versioned", kept, markers)
    undone = await site.undo(since=LONG_AGO)
    assert (undone.objects, undone.records, undone.complete) == (1, 1, True)
    assert await site.state() == ({"image/live", "image/a", "image/a/b"},) * 2
    assert await versions(site, "image/a/b") == (kept, [])
    assert (await site.once()).removed.objects == 0


@pytest.mark.attack(9)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_killed_deletion_is_repeated_and_one_undo_removes_every_marker(
    ordered_site: Site, when: str
) -> None:
    site = ordered_site
    await site.put("image/a")
    await kill_once(site, "store", "delete", when)
    # As a request that was sent twice leaves it.
    if when == "after":
        await anyio.to_thread.run_sync(
            lambda: site.bucket.client.delete_object(Bucket=site.bucket.name, Key="image/a")
        )
    for _ in range(3):  # On a busy machine a request may end by its time-out, and the claim waits.
        report = await site.once()
        if report.outcome is Outcome.CONVERGED:
            break
    assert report.outcome is Outcome.CONVERGED, report
    kept, markers = await versions(site, "image/a")
    assert (len(kept), len(markers)) == (1, 2 if when == "after" else 1)
    assert (await site.undo(since=LONG_AGO)).objects == 1
    assert await versions(site, "image/a") == (kept, [])
    assert await site.keys() == {"image/a"}


@pytest.mark.attack(9)
async def test_a_bucket_that_stopped_keeping_versions_halts(ordered_site: Site) -> None:
    """Versions are suspended between the claim and its deletion: a plain delete would be for good."""
    site = ordered_site
    await site.put("image/a")
    await kill_once(site, "marks", "look_again", "after")
    keep_versions(site, "Suspended")
    report = await site.once()
    assert report.outcome is Outcome.HALTED
    assert "does not keep versions any more" in report.detail
    assert await site.keys() == {"image/a"}
    keep_versions(site)
    await site.outlive_the_dead()
    assert (await site.once()).removed.objects == 1


@pytest.mark.attack(9)
async def test_undo_says_so_where_a_foreign_marker_hides_the_object(ordered_site: Site) -> None:
    """HEAD 200 alone is success."""
    site = ordered_site
    await site.put("image/a")
    await site.once()
    await site.sql("UPDATE reconciler.hidden SET hidden_at = hidden_at - interval '1 hour'")
    await anyio.to_thread.run_sync(
        lambda: site.bucket.client.delete_object(Bucket=site.bucket.name, Key="image/a")
    )
    undone = await site.undo(keys=("image/a",))
    assert [(each.outcome, "not ours" in each.reason) for each in undone.refused] == [(Return.REFUSED, True)]
    assert await site.keys() == set()


async def test_a_mode_that_the_bucket_cannot_do_is_a_usage_error(ordered_site: Site) -> None:
    with pytest.raises(ConfigError, match="take auto or versioned"):
        await ordered_site.once(delete_mode="quarantine")
    keep_versions(ordered_site, "Suspended")
    with pytest.raises(ConfigError, match="switch versioning on"):
        await ordered_site.once(delete_mode="versioned")
