"""The seal on the bucket's identity, where programs die and networks garble."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import inf
from uuid import uuid4

import pytest

from reconciler.engine.lead.lease import Tenure
from reconciler.engine.lead.seal import Sealer
from reconciler.engine.runtime.write_guard import SEAL_AGE
from reconciler.errors import Halt, StoreUnavailable
from reconciler.model import Identity, Outcome, Seal, Term
from tests.doubles.observing import Crash, crash
from tests.doubles.passes import MemorySite
from tests.doubles.world import BUCKET, World

pytestmark = pytest.mark.anyio


async def test_a_crash_at_any_point_of_the_first_contact_contests_nothing() -> None:
    """Not even between the nonce in the database and the first seal in the bucket."""
    for call in range(1000):
        world = World()
        try:
            await world.run_once({call: crash})
        except Crash:
            assert (await world.run_once()).outcome is Outcome.CONVERGED, call
            continue
        assert call > 20
        return
    raise AssertionError("no run came to its end")


async def test_a_marker_that_was_garbled_on_its_way_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flipped digit is a valid nonce, and contesting the bucket for it would last until a person acts."""
    world = World()
    await world.run_once()
    read, readings = world.bucket.read, 0

    async def garbled() -> Identity | None:
        nonlocal readings
        readings += 1
        seen = await read()
        if readings % 2 and seen is not None:
            return replace(seen, seal=Seal(epoch=1, nonce=uuid4()))
        return seen

    monkeypatch.setattr(world.bucket, "read", garbled)
    assert (await world.run_once()).outcome is Outcome.CONVERGED
    assert readings > 1
    marker = await read()
    assert marker is not None
    assert not marker.contested


@pytest.mark.attack(63)
@pytest.mark.parametrize("fact", ["cluster", "database", "media", "keys", "own", "timeline"])
async def test_another_database_than_the_one_that_sealed_halts_alone(fact: str) -> None:
    """It has the nonce; it contests nothing, so that the one that sealed goes on."""
    world = World()
    await world.run_once()
    sealed = world.bucket.identity
    world.bucket.upload("image/orphan", age=timedelta(days=9))
    world.database.lineage = replace(world.database.lineage, **{fact: 99})  # type: ignore[arg-type]  # any number
    with pytest.raises(Halt, match="is 99, and was"):
        await world.run_once()
    assert world.bucket.identity == sealed
    assert "image/orphan" in world.bucket.objects


@pytest.mark.attack(63)
async def test_what_the_bucket_has_forgotten_the_database_knows() -> None:
    """An older version that led in between writes an identity without it."""
    world = World()
    await world.run_once()
    assert world.bucket.identity is not None
    world.bucket.identity = replace(world.bucket.identity, lineage=None)
    world.database.lineage = replace(world.database.lineage, database=99)
    with pytest.raises(Halt, match="is 99, and was"):
        await world.run_once()


@pytest.mark.attack(63)
async def test_a_marker_of_an_older_version_is_completed() -> None:
    world = World()
    await world.run_once()
    assert world.bucket.identity is not None
    assert world.database.identity is not None
    world.bucket.identity = replace(world.bucket.identity, lineage=None)
    world.database.identity = replace(world.database.identity, lineage=None)
    world.database.lineage = replace(world.database.lineage, database=99)
    assert (await world.run_once()).outcome is Outcome.CONVERGED
    assert world.bucket.identity.lineage is not None
    assert world.bucket.identity.lineage.database == 99


async def sealing(world: World) -> tuple[Sealer, Term]:
    """A leader after its first contact, which has not sealed the bucket yet."""
    await world.run_once()
    term = await world.take_lease()
    return Sealer(world.ports, BUCKET, world.limits.lease_ttl, Tenure(good_until=inf)), term


@pytest.mark.attack(63)
async def test_a_reading_is_compared_with_the_database_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot may be put back at any moment after the bucket was read."""
    world = World()
    sealer, term = await sealing(world)
    await sealer.take(term)
    with monkeypatch.context() as patched:
        patched.setattr(world.bucket, "read", away)
        assert world.bucket.identity is not None
        assert world.bucket.identity.seal is not None
        assert await sealer.check(SEAL_AGE) == world.bucket.identity.seal.nonce
    world.database.lineage = replace(world.database.lineage, database=99)
    with pytest.raises(Halt, match="is 99, and was"):
        await sealer.check(SEAL_AGE)


@pytest.mark.attack(63)
async def test_how_far_the_log_came_is_noted_without_a_reading() -> None:
    world = World()
    sealer, term = await sealing(world)
    await sealer.take(term)
    before = world.database.lineage
    assert before.wal is not None
    world.database.lineage = replace(before, wal=before.wal + 100)
    await sealer.check(SEAL_AGE)
    world.database.lineage = replace(before, wal=before.wal + 50)
    with pytest.raises(Halt, match="write-ahead log ends at"):
        await sealer.check(SEAL_AGE)


@pytest.mark.attack(22)
async def test_a_former_terms_seal_is_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    sealer, term = await sealing(world)
    former = world.bucket.identity
    with monkeypatch.context() as patched:
        patched.setattr(MemorySite, "propose", away)
        with pytest.raises(StoreUnavailable):
            await sealer.take(term)
    assert world.bucket.identity == former
    assert former is not None
    assert former.seal is not None
    assert await sealer.check(SEAL_AGE) != former.seal.nonce


async def away(*_: object) -> None:
    raise StoreUnavailable("the store is away")
