"""Which bucket a database is tied to, and its seal, asked of the double and of a real Postgres alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from reconciler.errors import Halt, LeaseLost, PassEnded
from reconciler.model import (
    Claim,
    DeleteMode,
    Identity,
    Lineage,
    Seal,
    Seals,
    Tally,
    Term,
    UndoScope,
    Verdict,
)
from reconciler.ports import ClaimRequest
from tests.contract.catalog import ALL, NOTHING, POLICY, TTL, claimed, no_cap, unless_named
from tests.contract.sides import CatalogSide

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
FIRST, SECOND = UUID(int=1), UUID(int=2)
LINEAGE = Lineage(cluster=7, database=8, wal=9)
AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


async def test_the_site_id_is_made_once_and_the_tie_remembered(catalog: CatalogSide) -> None:
    site = catalog.site
    assert await site.identity() is None
    site_id = await site.new_id()
    assert await site.new_id() == site_id
    assert await site.identity() is None, "not tied yet"
    made = Identity(site_id=site_id, bucket="b", prefixes=("image/",), created_at=AT)
    await site.bind(made)
    assert await site.identity() == made
    sealed = replace(made, prefixes=("",), seal=Seal(epoch=1, nonce=FIRST), contested="by a copy")
    await site.bind(sealed)
    assert await site.identity() == replace(made, prefixes=("",)), "seal and dispute are the identity's alone"


@pytest.mark.incident(5)
async def test_another_sites_identity_is_never_written_over(catalog: CatalogSide) -> None:
    await catalog.site.new_id()
    other = Identity(site_id=uuid4(), bucket="b", prefixes=("",), created_at=AT)
    with pytest.raises(Halt, match=str(other.site_id)):
        await catalog.site.bind(other)


@pytest.mark.attack(22)
async def test_a_seal_is_proposed_before_it_is_confirmed(catalog: CatalogSide) -> None:
    """A crash in between leaves both, of which the next term knows each."""
    site, term = catalog.site, catalog.term
    assert await site.seals() == Seals()
    await site.new_id()
    await site.propose(term, None, FIRST)
    assert await site.seals() == Seals(pending=FIRST)
    await site.confirm(term, FIRST, LINEAGE)
    assert await site.seals() == Seals(confirmed=FIRST)
    await site.propose(term, FIRST, SECOND)
    assert await site.seals() == Seals(confirmed=FIRST, pending=SECOND)
    for known in (FIRST, SECOND):
        await site.confirm(replace(term, seal=known), SECOND if known is FIRST else known, LINEAGE)
        await site.propose(term, FIRST, SECOND)
    with pytest.raises(Halt, match="nonce"):
        await site.confirm(replace(term, seal=UUID(int=3)), SECOND, LINEAGE)
    assert await site.seals() == Seals(confirmed=FIRST, pending=SECOND)


@pytest.mark.attack(22)
async def test_who_no_longer_leads_seals_and_adopts_nothing(catalog: CatalogSide) -> None:
    site, term = catalog.site, catalog.term
    await site.new_id()
    await catalog.lease.release(term)
    assert isinstance(await catalog.lease.acquire("next", TTL), Term)
    identity = Identity(
        site_id=uuid4(), bucket="b", prefixes=("",), created_at=AT, seal=Seal(epoch=1, nonce=FIRST)
    )
    for refused in (
        site.propose(term, None, FIRST),
        site.confirm(term, FIRST, LINEAGE),
        site.on_their_way(term, HOUR),
        site.withdraw(term, HOUR),
        site.adopt(term, identity),
    ):
        with pytest.raises(LeaseLost):
            await refused
    assert await site.seals() == Seals()
    assert await site.identity() is None


@pytest.mark.incident(17)
async def test_an_adopted_bucket_has_a_new_site_id_and_its_seal(catalog: CatalogSide) -> None:
    site = catalog.site
    before = await site.new_id()
    await site.bind(Identity(site_id=before, bucket="a", prefixes=("",), created_at=AT))
    await site.propose(catalog.term, None, FIRST)
    adopted = Identity(
        site_id=uuid4(), bucket="b", prefixes=("image/",), created_at=AT, seal=Seal(epoch=1, nonce=SECOND)
    )
    await site.adopt(catalog.term, adopted)
    assert await site.identity() == replace(adopted, seal=None)
    assert await site.new_id() == adopted.site_id
    assert await site.seals() == Seals(confirmed=SECOND)


async def claim_one_of_two(catalog: CatalogSide) -> Claim:
    """Two marks, of which one is claimed to be deleted by way of the quarantine."""
    await catalog.sweep(("image/a", Verdict.ORPHAN), ("image/b", Verdict.ORPHAN))
    policy = replace(POLICY, delete_mode=DeleteMode.QUARANTINE)
    return await catalog.marks.claim(catalog.term, ClaimRequest(policy, ALL, 1, unless_named, no_cap))


@pytest.mark.incident(17)
async def test_an_adoption_waits_for_deletions_that_may_be_on_their_way(catalog: CatalogSide) -> None:
    assert await catalog.site.on_their_way(catalog.term, HOUR) == NOTHING
    await claim_one_of_two(catalog)
    assert NOTHING < await catalog.site.on_their_way(catalog.term, HOUR) <= HOUR
    assert await catalog.site.on_their_way(catalog.term, NOTHING) == NOTHING


@pytest.mark.incident(17)
async def test_what_was_found_before_an_adoption_is_withdrawn_and_can_be_undone(catalog: CatalogSide) -> None:
    """What a claim may have sent is not known: what it copied before can be brought back."""
    claim = await claim_one_of_two(catalog)
    running = await catalog.begin()
    assert await catalog.site.withdraw(catalog.term, HOUR) == 2
    assert await catalog.marks.drift() == {}
    with pytest.raises(PassEnded):
        await catalog.passes.arm(catalog.term, running, Tally())
    (found,) = await catalog.recovery.removals(UndoScope())
    assert found.object is not None
    (key,) = claim.keys
    assert [found.storage_key] == claimed(claim)
    assert found.object.hidden.quarantine_key == key.quarantine_key
    assert found.object.operation_id == claim.operation_id
    assert await catalog.site.withdraw(catalog.term, HOUR) == 0
