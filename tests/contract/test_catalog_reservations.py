"""What a claim makes of a key that is reserved."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.model import NewReservation, Owner, Reservation
from tests.contract.catalog import Stage, claimed, finding

pytestmark = pytest.mark.anyio


async def reserve(stage: Stage, key: str) -> Reservation:
    owner = Owner(id=str(stage.owner))
    return await stage.catalog.reservations.reserve(
        NewReservation(key=key, owner=owner, lasts=timedelta(hours=1))
    )


async def test_a_claim_leaves_what_was_reserved_since_it_was_marked(stage: Stage) -> None:
    await stage.mark(finding("image/reserved"), finding("image/ended"), finding("image/orphan"))
    reservation = await reserve(stage, "image/reserved")
    await reserve(stage, "image/ended")
    await stage.sql.execute(
        "UPDATE reconciler.reservations SET expires_at = now() WHERE storage_key = 'image/ended'"
    )
    claim = await stage.claim()
    assert (claimed(claim), claim.cancelled) == (["image/ended", "image/orphan"], 1)
    await stage.catalog.reservations.release(reservation)
    await stage.mark(finding("image/reserved"))
    assert claimed(await stage.claim()) == ["image/reserved"]


async def test_reservations_that_ended_are_forgotten_by_later_ones(stage: Stage) -> None:
    for number in range(3):
        await reserve(stage, f"image/{number}")
    await stage.sql.execute("UPDATE reconciler.reservations SET expires_at = now()")
    await reserve(stage, "image/0")
    left = await stage.sql.fetch("SELECT storage_key FROM reconciler.reservations")
    assert [row[0] for row in left] == ["image/0"]
