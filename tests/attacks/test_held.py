"""Attacks on holds: by what was seen when they began, whatever has become of the row and the key since."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

import anyio.to_thread
import pytest

from reconciler.model import Hold, HoldKind, KeepReason, Verdict
from tests.attacks.scene import Scene
from tests.attacks.test_needs import SHORT, copies, purger, quarantining
from tests.cli.program import reconciler
from tests.contract.catalog import LONG_AGO
from tests.integration.site import Site, make_site
from tests.servers import Bucket

pytestmark = pytest.mark.anyio


@pytest.fixture
def site(database: str, seaweed_bucket: Bucket) -> Site:
    made = make_site(database, seaweed_bucket, calm=True)
    made.environment["RECONCILER_DELETE_MODE"] = "auto"
    return made


def by_owner(owner: UUID) -> Hold:
    return Hold(kind=HoldKind.VIRTUAL_KEY, target=str(owner), reason="a case", author="legal")


async def hold(scene: Scene, *, lifted: bool = False) -> None:
    holds = scene.stage.catalog.holds
    if lifted:
        assert await holds.remove(HoldKind.VIRTUAL_KEY, [str(scene.owner)]) == 1
    else:
        await holds.add([by_owner(scene.owner)])


async def cascade(scene: Scene) -> None:
    """The gateway deletes the virtual key, and its rows go with it."""
    await scene.sql.execute('DELETE FROM "VirtualKeys" WHERE "Id" = $1', scene.owner)


@pytest.mark.attack(50)
async def test_a_virtual_keys_media_stay_on_hold_when_the_key_is_deleted(site: Site) -> None:
    owner = await site.virtual_key()
    await site.tracked("image/theirs", owner=owner)
    async with site.catalog() as catalog:
        await catalog.holds.add([by_owner(owner)])
    await site.tracked("image/newer", owner=owner)
    await site.once()
    await site.sql('DELETE FROM "VirtualKeys"')
    assert await site.rows() == set()
    for _ in range(2):
        report = await site.once(undo_window="0s")
        assert report.kept[KeepReason.HOLD] == 2
        assert await site.keys() == {"image/theirs", "image/newer"}, "a pass has seen the newer one"
    async with site.catalog() as catalog:
        assert await catalog.holds.remove(HoldKind.VIRTUAL_KEY, [str(owner)]) == 1
    assert (await site.once()).removed.objects == 2
    assert await site.sql("SELECT 1 FROM reconciler.held_keys") == []


@pytest.mark.attack(50)
@pytest.mark.parametrize("order", [("hold", "cascade"), ("cascade", "hold")], ids="-".join)
async def test_what_is_hidden_of_a_virtual_key_on_hold_is_not_purged(
    bare: Scene, order: Sequence[str]
) -> None:
    """Row and object went together; whose they were is kept with the copy."""
    quarantining(bare)
    await bare.tracked("image/a", ExpiresAt=LONG_AGO)
    await bare.mark("image/a", verdict=Verdict.EXPIRED)
    await bare.collect()
    assert (await bare.rows(), copies(bare)) == ([], 1)
    for each in order:
        await (hold(bare) if each == "hold" else cascade(bare))
    for _ in range(2):
        assert (await purger(bare).run(bare.term)).objects == 0
    assert list(await bare.stage.catalog.holds.held(["image/a"])) == ["image/a"]
    await hold(bare, lifted=True)
    assert ((await purger(bare).run(bare.term)).objects, copies(bare)) == (1, 0)


@pytest.mark.attack(50)
async def test_a_mark_of_a_virtual_key_on_hold_is_not_claimed_when_the_row_is_gone(bare: Scene) -> None:
    row = await bare.tracked("image/a")
    await hold(bare)
    await bare.sql.execute('UPDATE "MediaRecords" SET "StorageKey" = $1 WHERE "Id" = $2', "image/moved", row)
    await bare.mark("image/a")
    assert await bare.stage.marks() == {}, "what is on hold is not marked"
    await hold(bare, lifted=True)
    await bare.mark("image/a")
    await bare.sql.execute("INSERT INTO reconciler.held_keys VALUES ('image/a', $1)", str(bare.owner))
    await bare.sql.execute(
        "INSERT INTO reconciler.holds (kind, target, author, reason) VALUES ('virtual_key', $1, 'a', 'b')",
        str(bare.owner),
    )
    assert (await bare.claim()).taken == 0


@pytest.mark.attack(50)
async def test_a_purge_under_way_is_told_to_who_adds_the_hold(bare: Scene) -> None:
    await bare.tracked("image/a", ExpiresAt=LONG_AGO)
    quarantining(bare)
    await bare.mark("image/a", verdict=Verdict.EXPIRED)
    await bare.collect()
    (taken,) = await bare.stage.catalog.purges.claim(bare.term, SHORT, 10)
    assert await bare.stage.catalog.holds.add([by_owner(bare.owner)]) == ["image/a"]
    assert list(await bare.stage.catalog.purges.look_again(bare.term, [taken.id])) == [taken.id]


@pytest.mark.attack(51)
@pytest.mark.parametrize(
    "kind", [("--key", "image/a"), ("--prefix", "image/"), ("--virtual-key", "")], ids=lambda kind: kind[0]
)
async def test_an_erasure_of_what_is_on_hold_says_whose_hold_it_is(site: Site, kind: tuple[str, str]) -> None:
    owner = await site.virtual_key()
    await site.put("image/a")
    await site.row("image/a", owner, ExpiresAt=LONG_AGO, SizeBytes=1)
    await site.once()
    await site.sql('DELETE FROM "VirtualKeys"')
    run = partial(reconciler, env=site.environment)

    async def ran(*words: str) -> tuple[int, list[str]]:
        ended = await anyio.to_thread.run_sync(lambda: run(*words))
        return ended.status, list(ended.told)

    option, target = kind
    added = ("hold", "add", option, target or str(owner), "--reason", "case 17", "--by", "legal")
    assert await ran(*added) == (0, [])
    status, told = await ran("erase", "image/a", "image/other")
    assert status == 1
    assert "image/a: on hold by legal" in told[0]
    assert "case 17" in told[0]
    assert "--despite-hold" in told[-1]
    assert await site.sql("SELECT 1 FROM reconciler.hidden WHERE erased") == []
    assert (await ran("erase", "--despite-hold", "image/a"))[0] == 0
    await site.once()
    assert await anyio.to_thread.run_sync(site.bucket.keys, ".reconciler/quarantine/") == set()
    (line,) = await site.sql("SELECT detail FROM reconciler.ledger WHERE event = 'erased'")
    assert line[0].endswith(", despite the hold of legal")


@pytest.mark.attack(88)
@pytest.mark.parametrize("kind", ["key", "prefix", "virtual_key"])
@pytest.mark.parametrize("despite", [False, True], ids=["", "despite"])
async def test_a_hold_that_comes_after_an_erasure_stops_its_purge(
    site: Site, kind: str, *, despite: bool
) -> None:
    """Whatever its kind, until it is lifted; unless the erasure was to go before any hold."""
    owner = await site.virtual_key()
    await site.put("image/a")
    await site.row("image/a", owner, ExpiresAt=LONG_AGO, SizeBytes=1)
    await site.once()
    target = {"key": "image/a", "prefix": "image/", "virtual_key": str(owner)}[kind]
    held = Hold(kind=HoldKind(kind), target=target, reason="a case", author="legal")

    async def left() -> int:
        return len(await anyio.to_thread.run_sync(site.bucket.keys, ".reconciler/quarantine/"))

    async with site.catalog() as catalog:
        assert (await catalog.erasure.erase(["image/a"], "test", despite_hold=despite)).objects == 1
        await catalog.holds.add([held])
        await site.once()
        assert await left() == (0 if despite else 1)
        assert await catalog.recovery.recoverable(["image/a"]) == set(), "it never comes back all the same"
        await catalog.holds.remove(held.kind, [target])
        await site.once()
        assert await left() == 0


@pytest.mark.attack(88)
async def test_a_hold_that_comes_while_what_is_erased_is_purged_spares_it(bare: Scene) -> None:
    await bare.tracked("image/a", ExpiresAt=LONG_AGO)
    quarantining(bare)
    await bare.mark("image/a", verdict=Verdict.EXPIRED)
    await bare.collect()
    catalog = bare.stage.catalog
    await catalog.erasure.erase(["image/a"], "test")
    look = catalog.purges.look_again

    async def late(*given: Any, **named: Any) -> Any:
        assert await catalog.holds.add([by_owner(bare.owner)]) == ["image/a"]
        return await look(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog.purges, "look_again", late)
        assert (await purger(bare).run(bare.term)).objects == 0
    assert copies(bare) == 1
    recoverable = await bare.sql.fetchval("SELECT recoverable FROM reconciler.tombstones")
    assert recoverable is False, "no row is let in for what does not come back"
    assert (await purger(bare).run(bare.term)).objects == 0
    await hold(bare, lifted=True)
    assert ((await purger(bare).run(bare.term)).objects, copies(bare)) == (1, 0)


@pytest.mark.attack(88)
async def test_a_row_is_not_let_in_for_what_was_erased_and_is_kept_by_a_hold(bare: Scene) -> None:
    """Its object does not come back: what the writer is told is to put it again."""
    await bare.tracked("image/a", ExpiresAt=LONG_AGO)
    quarantining(bare)
    await bare.mark("image/a", verdict=Verdict.EXPIRED)
    await bare.collect()
    await bare.stage.catalog.erasure.erase(["image/a"], "test")
    recoverable = "SELECT recoverable FROM reconciler.tombstones"
    assert await bare.sql.fetchval(recoverable) is False
    await hold(bare)
    assert (await purger(bare).run(bare.term)).objects == 0
    assert await bare.sql.fetchval(recoverable) is False
