"""The purge by version id, on real servers: what lies open again, by whatever hand, is nothing to purge."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
import pytest

from tests.integration.site import Site
from tests.integration.test_purge import LONG_AGO, NOW, freed, lost
from tests.integration.test_versions import keep_versions, versions

pytestmark = pytest.mark.anyio


async def ask(site: Site, call: str, **arguments: Any) -> Any:
    """A request by somebody else."""
    act = getattr(site.bucket.client, call)
    return await anyio.to_thread.run_sync(lambda: act(Bucket=site.bucket.name, **arguments))


@pytest.mark.attack(38)
@pytest.mark.parametrize("left", ["hidden", "restoring"])
async def test_a_version_that_is_current_again_is_not_purged(site: Site, left: str) -> None:
    """Somebody took the marker away by other means, or an undo died between that and its note."""
    keep_versions(site)
    await lost(site)
    kept, (marker,) = await versions(site, "image/a")
    await ask(site, "delete_object", Key="image/a", VersionId=marker)
    await site.row("image/a")
    await site.sql(
        "UPDATE reconciler.hidden SET state = $1, claimed_at = clock_timestamp() - interval '2 hours'", left
    )
    await site.once(**NOW)
    await site.once(**NOW)
    assert await versions(site, "image/a") == (kept, [])
    assert await site.keys() == {"image/a"}
    assert await freed(site) == []
    assert await site.sql("SELECT 1 FROM reconciler.hidden") == []
    assert (await site.undo(since=LONG_AGO)).gone == 0


async def test_a_purge_makes_no_older_version_visible(site: Site) -> None:
    keep_versions(site)
    await site.put("image/a")
    await lost(site)
    assert await site.keys() == set()
    await site.once(**NOW)
    assert await site.keys() == set()
    assert len(await freed(site)) == 1
    kept, markers = await versions(site, "image/a")
    assert (len(kept), len(markers)) == (1, 1)
    await site.once(**NOW)
    assert await site.keys() == set()
