"""Killed at any point and run again, it ends in the same state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.model import Outcome
from tests.integration.kill_at import just_killed_at, killed_at
from tests.integration.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

CALLS = [
    ("passes", "begin", "after"),
    ("passes", "record", "before"),
    ("passes", "record", "after"),
    ("passes", "arm", "before"),
    ("passes", "arm", "after"),
    ("marks", "claim", "after"),
    ("marks", "look_again", "after"),
    ("store", "delete", "before"),
    ("store", "delete", "after"),
    ("marks", "confirm", "before"),
    ("marks", "confirm", "after"),
    ("lease", "release", "before"),
    ("site", "new_id", "after"),
    ("identity", "write", "after"),
    ("site", "bind", "after"),
]


async def kill_once(site: Site, *where: str, command: Sequence[str] = ("once", "--json")) -> None:
    """One run, killed at that call. Fails if the call was never made."""
    await killed_at(site, *where, *command)


@pytest.mark.parametrize("where", CALLS, ids="-".join)
async def test_a_run_that_was_killed_is_finished_by_the_next(site: Site, where: tuple[str, str, str]) -> None:
    await site.tracked("image/live-1", "image/live-2", "video/live")
    await site.put("image/orphan-1", "video/orphan-2", "image/expired")
    await site.row("image/expired", ExpiresAt=datetime.now(UTC) - timedelta(hours=1))
    await site.row("image/dangling")

    await kill_once(site, *where)
    for _ in range(3):
        report = await site.once()
        if report.outcome is Outcome.CONVERGED:
            break

    assert report.outcome is Outcome.CONVERGED, report
    live = {"image/live-1", "image/live-2", "video/live"}
    assert await site.state() == (live, live)
    await assert_ledger_complete(site)


async def assert_ledger_complete(site: Site) -> None:
    """Every key that went has an intent before its one confirmed result, and no claim is left."""
    entries = await site.ledger()
    for key in ("image/orphan-1", "video/orphan-2", "image/expired"):
        of_key = [
            (event, result) for event, name, what, result in entries if name == key and what == "object"
        ]
        assert of_key[0][0] == "intent", of_key
        assert sum(result in {"deleted", "missing"} for event, result in of_key if event == "result") == 1
    assert await site.sql("SELECT 1 FROM reconciler.marks") == []


async def test_what_the_dead_claimed_is_left_alone_until_its_requests_must_have_ended(
    ordered_site: Site,
) -> None:
    """Two requests after the next lease began, by the time-outs of an impatient site."""
    await ordered_site.put("image/orphan")
    await just_killed_at(ordered_site, "store", "delete", "before", "once", "--json")
    assert (await ordered_site.once()).removed.objects == 1
    ((led,),) = await ordered_site.sql("SELECT acquired_at FROM reconciler.lease")
    intents = await ordered_site.sql("SELECT at FROM reconciler.ledger WHERE event = 'intent' ORDER BY id")
    _, repeated = (row[0] for row in intents)
    assert repeated - led >= timedelta(seconds=3 + 3)


@pytest.mark.incident(20)
async def test_a_killed_sweep_resumes_from_its_watermarks(ordered_site: Site) -> None:
    """The second run lists only what the first had not compared, under the first one's cutoff."""
    await ordered_site.put("image/orphan", "video/orphan")
    await kill_once(ordered_site, "passes", "arm", "before")
    (before,) = await ordered_site.sql("SELECT id, cutoff FROM reconciler.passes WHERE kind = 'sweep'")
    report = await ordered_site.once()
    after = await ordered_site.sql("SELECT id, cutoff FROM reconciler.passes WHERE kind = 'sweep'")
    assert [tuple(row) for row in after] == [tuple(before)]
    assert (report.objects, report.removed.objects) == (2, 2)


async def test_an_object_that_went_before_its_row_became_live_is_reported_lost(site: Site) -> None:
    """The delete reached the store and its confirmation was killed: nobody may call the row spared."""
    await site.tracked("image/live")
    await site.put("image/expired")
    await site.row("image/expired", ExpiresAt=datetime.now(UTC) - timedelta(hours=1))
    await kill_once(site, "store", "delete", "after")
    await site.sql('UPDATE "MediaRecords" SET "ExpiresAt" = NULL')
    report = await site.once()
    assert (report.removed.objects, report.removed.records, report.removed.lost) == (1, 0, 1)
    results = [(what, result) for event, _, what, result in await site.ledger() if event == "result"]
    assert results == [("object", "missing"), ("record", "lost")]
    assert await site.rows() == {"image/live", "image/expired"}


SEALING = [("site", "propose", "after"), ("identity", "exchange", "after"), ("site", "confirm", "after")]
"""A new nonce is in the database as pending, in the bucket, and in the database as confirmed."""


@pytest.mark.attack(22)
@pytest.mark.parametrize("order", [SEALING, SEALING[::-1]], ids=["forwards", "backwards"])
async def test_a_seal_that_was_killed_half_way_contests_nothing(
    ordered_site: Site, order: Sequence[tuple[str, str, str]]
) -> None:
    """The first at the first contact, the others at a later term: the next run always knows its own seal."""
    for number, where in enumerate(order):
        await kill_once(ordered_site, *where)
        await ordered_site.put(f"image/orphan-{number}")
        report = await ordered_site.once()
        assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1), report.detail
    ((pending,),) = await ordered_site.sql("SELECT pending_nonce FROM reconciler.site")
    assert pending is None


@pytest.mark.incident(17)
async def test_an_adoption_that_was_killed_half_way_deletes_nothing_and_is_done_again(
    ordered_site: Site,
) -> None:
    site, adopt = ordered_site, ("adopt-bucket", "--yes")
    await site.once()
    await site.put("image/orphan")
    await site.sql("UPDATE reconciler.site SET nonce = gen_random_uuid()")  # as after a restore
    for where in (
        ("site", "withdraw", "after"),
        ("identity", "exchange", "after"),
        ("site", "adopt", "before"),
    ):
        await kill_once(site, *where, command=adopt)
        assert (await site.once()).outcome is Outcome.HALTED
        assert await site.keys() == {"image/orphan"}
    await kill_once(site, "site", "adopt", "after", command=adopt)
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1), report.detail
