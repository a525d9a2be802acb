"""Single bytes changed on their way, where it would hurt most. TLS finds that out; plain connections do not.

No single reading is believed: what a listing lacks has to be lacking twice and to answer a HEAD with 404,
what the rows do not name is looked up again at the claim and before the delete, and what is sent to the
store carries a digest.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest

from reconciler.errors import ReconcilerError
from reconciler.model import Outcome, Verdict
from tests.faults.rounds import SEED, say
from tests.integration.site import Site, make_site
from tests.servers import Bucket
from tests.support.proxy import Direction, Rewrite, proxy_of

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

LIVE = {"image/live-1", "image/live-2", "video/live-3"}


@pytest.fixture
def ordered_site(database: str, moto_bucket: Bucket) -> Site:
    return make_site(database, moto_bucket)


@pytest.fixture
def any_site(database: str, bucket: Bucket) -> Site:
    """On the store without order, and on the one with it."""
    return make_site(database, bucket)


def changing(before: bytes, after: bytes, where: Direction, places: Collection[int] | None = None) -> Rewrite:
    """`before` becomes `after` (of the same length), at those `places`, counted from 1, or at all."""
    assert len(before) == len(after)
    count = 0

    def change(_: re.Match[bytes]) -> bytes:
        nonlocal count
        count += 1
        return after if places is None or count in places else before

    def rewrite(direction: Direction, block: bytes) -> bytes:
        return re.sub(re.escape(before), change, block) if direction is where else block

    return rewrite


@asynccontextmanager
async def store_through(site: Site, rewrite: Rewrite) -> AsyncIterator[dict[str, str]]:
    """Settings that lead to the store by way of a network that does this."""
    async with proxy_of(site.bucket.server.endpoint_url) as proxy:
        proxy.rewrite = rewrite
        yield {"bucket__endpoint_url": proxy.through(site.bucket.server.endpoint_url)}


@asynccontextmanager
async def database_through(site: Site, rewrite: Rewrite) -> AsyncIterator[dict[str, str]]:
    async with proxy_of(site.database) as proxy:
        proxy.rewrite = rewrite
        yield {"database_url": proxy.through(site.database)}


@pytest.mark.incident(15)
async def test_a_key_that_listings_garble_every_time_costs_no_row_and_no_object(any_site: Site) -> None:
    """The listing invents a key and loses one, in every pass: HEAD says that it is there."""
    site = any_site
    await site.tracked(*LIVE)
    garbled = changing(b"<Key>image/live-2", b"<Key>image/liwe-2", Direction.ANSWER)
    async with store_through(site, garbled) as settings:
        for _ in range(3):
            report = await site.once(**settings)
            assert (report.outcome is Outcome.FAILED, report.removed.records) == (False, 0)
    assert await site.state() == (LIVE, LIVE)


async def test_a_garbled_key_that_becomes_anothers_takes_it_not_along(site: Site) -> None:
    """The key of an orphan becomes that of a fresh upload, which has no row yet: it has another ETag."""
    site.bucket.put("image/orphan-1", b"old")
    await site.tracked(*LIVE)
    garbled = changing(b"<Key>image/orphan-1", b"<Key>image/upload-1", Direction.ANSWER)
    async with store_through(site, garbled) as settings:
        await site.once(**settings, delete_delay="1h")  # marked, and not yet due
    marked = await site.sql("SELECT storage_key FROM reconciler.marks")
    assert [row["storage_key"] for row in marked] == ["image/upload-1"]
    site.bucket.put("image/upload-1", b"new")
    await site.sql("UPDATE reconciler.marks SET due_at = now() - interval '1 hour'")
    await site.once(grace_period="1h")  # of the upload itself: it is seconds old
    assert "image/upload-1" in await site.keys()


@pytest.mark.parametrize("places", [(1,), (1, 3)], ids=["once", "twice"])
async def test_a_row_whose_key_is_garbled_on_its_way_still_protects(
    ordered_site: Site, places: tuple[int, ...]
) -> None:
    """Once: the sweep marks the object, and the claim finds the row. In its answer as well (the third that
    names the key, after the mark itself): the second look finds it.
    """
    site = ordered_site
    await site.tracked(*LIVE)
    garbled = changing(b"image/live-2", b"image/liwe-2", Direction.ANSWER, places)
    async with database_through(site, garbled) as settings:
        report = await site.once(**settings)
    assert report.found[Verdict.ORPHAN] == 1
    assert await site.state() == (LIVE, LIVE)
    assert (await site.once()).outcome is Outcome.CONVERGED
    assert await site.sql("SELECT * FROM reconciler.marks") == []


async def test_a_garbled_key_in_a_request_to_delete_deletes_nothing_else(site: Site) -> None:
    """SeaweedFS compares no digest of a batch, as AWS does; but each key goes with its object's ETag."""
    await site.tracked("image/live-2", "video/live-3")
    site.bucket.put("image/live-1", b"of its own")
    await site.row("image/live-1")
    await site.put("image/dead-1")
    garbled = changing(b"<Key>image/dead-1", b"<Key>image/live-1", Direction.REQUEST, [1])
    async with store_through(site, garbled) as settings:
        assert (await site.once(**settings)).outcome is Outcome.FAILED
    assert await site.keys() > LIVE
    await site.sql("UPDATE reconciler.marks SET not_before = now()")
    assert (await site.once()).outcome is Outcome.CONVERGED
    assert await site.state() == (LIVE, LIVE)


async def test_a_deletion_that_nobody_asked_for_is_told(site: Site) -> None:
    """What the store did not confirm stays claimed, and is found to be gone when it is repeated."""
    await site.tracked(*LIVE)
    await site.put("image/dead-1")
    garbled = changing(b"<Deleted><Key>image/dead-1", b"<Deleted><Key>image/dear-1", Direction.ANSWER)
    async with store_through(site, garbled) as settings:
        report = await site.once(**settings)
    assert (report.outcome, report.removed.objects, report.removed.failed) == (Outcome.FAILED, 0, 1)
    (told,) = await site.sql("SELECT detail FROM reconciler.ledger WHERE result = 'failed'")
    assert "'image/dear-1' is gone, which was not asked for" in told["detail"]
    await site.sql("UPDATE reconciler.marks SET not_before = now()")
    assert (await site.once()).removed.objects == 1
    assert await site.state() == (LIVE, LIVE)


async def test_an_answer_of_postgres_that_cannot_be_read_fails_in_one_line(ordered_site: Site) -> None:
    site = ordered_site
    await site.tracked(*LIVE)
    await site.put("image/orphan")
    garbled = changing(b"image/live-2", b"image/li\xffe-2", Direction.ANSWER, [1])
    async with database_through(site, garbled) as settings:
        report = await site.once(**settings)
    assert report.outcome is Outcome.FAILED
    assert "cannot be read" in report.detail
    assert "\n" not in report.detail
    assert (await site.once()).outcome is Outcome.CONVERGED
    assert await site.state() == (LIVE, LIVE)


@pytest.mark.parametrize("column", [b"can_select", b"is_unique"])
async def test_a_column_whose_name_is_garbled_fails_in_one_line(ordered_site: Site, column: bytes) -> None:
    """Whichever module reads it."""
    site = ordered_site
    await site.tracked(*LIVE)
    garbled = changing(column, column[:-1] + b"k", Direction.ANSWER)
    async with database_through(site, garbled) as settings:
        report = await site.once(**settings)
    assert report.outcome is Outcome.FAILED
    assert "cannot be read (KeyError): it has other columns than were asked for" in report.detail
    assert "\n" not in report.detail
    assert await site.state() == (LIVE, LIVE)


async def test_json_that_is_garbled_fails_in_one_line(ordered_site: Site) -> None:
    """The driver gives it as a text; it is read with the row. Here the colon behind a name is lost."""
    site = ordered_site
    await site.tracked(*LIVE)
    await site.once()
    garbled = changing(b'"objects":', b'"objects";', Direction.ANSWER)
    async with database_through(site, garbled) as settings:
        report = await site.once(**settings)
    assert report.outcome is Outcome.FAILED
    assert "cannot be read (JSONDecodeError): bytes of it were changed on the way" in report.detail
    assert "\n" not in report.detail
    assert await site.state() == (LIVE, LIVE)


@pytest.mark.timeout(240)
async def test_a_column_with_a_changed_name_ends_no_run_by_a_traceback(site: Site) -> None:
    """Rows are read while their connection is lent: it is closed, and the next run gets the true name."""
    await site.tracked(*LIVE)
    named = await site.sql(
        "SELECT DISTINCT column_name AS name FROM information_schema.columns"
        " WHERE table_schema = 'reconciler' AND length(column_name) > 3 ORDER BY 1"
    )
    outcomes: Counter[str] = Counter()
    for name in random.Random(SEED).sample([row["name"].encode() for row in named], 24):
        say(f"{name!r}")
        await site.put("image/dead-1")
        garbled = changing(name + b"\0", name[:-1] + b"~\0", Direction.ANSWER)
        async with database_through(site, garbled) as settings:
            try:
                outcomes[(await site.once(**settings)).outcome] += 1
            except ReconcilerError as error:
                outcomes[str(error)] += "cannot be read (KeyError)" in str(error)
    assert outcomes.pop(Outcome.CONVERGED) > 0
    assert outcomes
    assert min(outcomes.values()) > 0, outcomes
    assert (await site.once()).outcome is Outcome.CONVERGED
    assert await site.state() == (LIVE, LIVE)
