"""What charts are drawn of, compared with what the status counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.model import PassKind, Verdict
from reconciler.operations.status import status
from reconciler.operations.trends import over_time
from reconciler.settings import SettingsSource
from tests.integration.site import make_site
from tests.servers import Bucket

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def not_probed(known_abilities: None) -> None:
    """The shared servers: what they can do is known."""


async def test_trends_agree_with_what_stands_and_went(database: str, seaweed_bucket: Bucket) -> None:
    """Held, unreleased, overdue, due within the day and later."""
    site = make_site(database, seaweed_bucket, calm=True)
    site.environment["RECONCILER_DELETE_DELAY"] = "2h"
    await site.tracked("image/live")
    await site.put("image/gone-1", "image/gone-2")
    await site.once(delete_delay="0s")
    await site.put(*(f"image/orphan-{number}" for number in range(6)))
    owner = await site.virtual_key()
    long_ago = datetime.now(UTC) - timedelta(days=1)
    for number in range(3):
        await site.put(f"video/old-{number}")
        await site.row(f"video/old-{number}", owner, ExpiresAt=long_ago)
    await site.once()
    for key, later in (("image/orphan-0", "-1 hours"), ("image/orphan-1", "30 hours")):
        await site.sql(
            "UPDATE reconciler.marks SET due_at = now() + $2::text::interval WHERE storage_key = $1",
            key,
            later,
        )
    await site.sql(
        "INSERT INTO reconciler.holds (kind, target, reason, author)"
        " VALUES ('key', 'image/orphan-2', 'kept', 'ada')"
    )
    async with site.catalog() as catalog:
        policy = SettingsSource(site.environment).current().policy()
        found = await over_time(catalog, policy)
        standing = (await status(catalog)).standing
    trends = found.trends
    assert standing is not None
    keys = dict.fromkeys((Verdict.ORPHAN, Verdict.EXPIRED), 0)
    for amounts in trends.due.values():
        for verdict, (number, _) in amounts.items():
            keys[verdict] += number
    assert keys == {Verdict.ORPHAN: 4, Verdict.EXPIRED: 3}
    assert sum(keys.values()) == standing.due + sum(standing.due_soon.values())
    assert trends.due[0] == {Verdict.ORPHAN: (1, 1)}
    assert [*trends.gone.values()] == [{Verdict.ORPHAN: (2, 2)}]
    assert {each.kind: dict(each.found) for each in trends.drift} == {
        PassKind.SWEEP: {Verdict.ORPHAN: (6, 6)},
        PassKind.RETENTION: {Verdict.EXPIRED: (3, 3)},
    }
    assert found.lately.freed[1] == 2
