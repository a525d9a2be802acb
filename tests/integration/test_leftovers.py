"""Multipart uploads that nobody completes, on real servers."""

from __future__ import annotations

from functools import partial

import anyio.to_thread
import pytest

from tests.integration.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.incident(25)]

NOW = {"abort_multipart_after": "0s"}


async def begin(site: Site, *keys: str) -> None:
    for key in keys:
        await anyio.to_thread.run_sync(
            partial(site.bucket.client.create_multipart_upload, Bucket=site.bucket.name, Key=key)
        )


async def rescue(site: Site) -> set[str]:
    answer = await anyio.to_thread.run_sync(
        lambda: site.bucket.client.list_multipart_uploads(Bucket=site.bucket.name)
    )
    return {each["Key"] for each in answer.get("Uploads", ())}


async def aborted(site: Site) -> list[tuple[str, str]]:
    rows = await site.sql("SELECT what, storage_key FROM reconciler.ledger WHERE event = 'aborted'")
    return [(row[0], row[1]) for row in rows]


async def test_old_uploads_in_the_managed_prefixes_are_ended_and_no_others(site: Site) -> None:
    """Moto's uploads are all of 2010."""
    await begin(site, "image/a", "image/ODD", "images/a", "other", ".reconciler/quarantine/x/y")
    await site.once(bucket__key_shape="image/[a-z]+", **NOW)
    assert await rescue(site) == {"image/ODD", "images/a", "other"}
    assert sorted(await aborted(site)) == [("upload", ".reconciler/quarantine/x/y"), ("upload", "image/a")]


async def test_a_young_upload_is_left_alone(unordered_site: Site) -> None:
    await begin(unordered_site, "image/a")
    await unordered_site.once()
    assert await rescue(unordered_site) == {"image/a"}


async def test_what_is_held_or_not_let_go_stays(unordered_site: Site) -> None:
    site = unordered_site
    await begin(site, "image/a", "image/held")
    await site.sql(
        "INSERT INTO reconciler.holds (kind, target, author, reason) VALUES ('key', 'image/held', 'a', 'b')"
    )
    await site.once(dry_run="true", **NOW)
    await site.once(breaker__max_count="0", **NOW)
    await site.sql("UPDATE reconciler.pause SET paused = true")
    await site.once(**NOW)
    assert await rescue(site) == {"image/a", "image/held"}
    await site.sql("UPDATE reconciler.pause SET paused = false")
    await site.once(**NOW)
    assert await rescue(site) == {"image/held"}
