"""Attacks on old marks, which a later pass no longer finds, on a real Postgres."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from reconciler.model import Finding, KeepReason, PassKind, Tally, Trip, Verdict
from tests.attacks.scene import Scene
from tests.contract.catalog import LONG_AGO, NOTHING, claimed

pytestmark = [pytest.mark.anyio, pytest.mark.attack(49)]

SWEPT = ("image/a", "image/b")


async def marked(scene: Scene, verdict: Verdict = Verdict.ORPHAN) -> None:
    """Released, and due."""
    if verdict is Verdict.ORPHAN:
        scene.put(*SWEPT)
    else:
        for key in SWEPT:
            await scene.tracked(key, ExpiresAt=LONG_AGO)
    await scene.mark(*SWEPT, verdict=verdict)


async def marks(scene: Scene) -> list[str]:
    return sorted(await scene.stage.marks())


async def sweep_that_keeps(scene: Scene, kept: KeepReason, *keys: str) -> None:
    current = await scene.stage.begin(PassKind.SWEEP)
    found = [Finding(storage_key=key, verdict=Verdict.ORPHAN, bytes=1, reason="", kept=kept) for key in keys]
    await scene.stage.catalog.passes.record(scene.term, current, found, NOTHING)
    await scene.arm(current)


@pytest.mark.attack(49)
@pytest.mark.parametrize("verdict", [Verdict.ORPHAN, Verdict.EXPIRED])
@pytest.mark.parametrize("trips", [False, True], ids=["released", "tripped"])
async def test_a_released_mark_that_a_complete_pass_no_longer_finds_goes(
    bare: Scene, verdict: Verdict, *, trips: bool
) -> None:
    """The rows were away at two moments; the sweeps in between have seen them."""
    await marked(bare, verdict)
    again = await bare.mark("image/b", verdict=verdict, arm=False)
    if trips:
        await bare.stage.catalog.passes.trip(bare.term, again, Tally(), Trip(reason="for the test"))
    else:
        await bare.arm(again)
    assert await marks(bare) == ["image/b"]
    assert claimed(await bare.claim()) == ["image/b"]


async def test_passes_of_the_other_marker_and_such_as_failed_withdraw_nothing(bare: Scene) -> None:
    await marked(bare)
    await bare.mark(verdict=Verdict.EXPIRED)
    broken = await bare.mark(arm=False)
    await bare.stage.catalog.passes.fail(bare.term, broken, "the store was away")
    await bare.mark(arm=False)  # still running
    assert claimed(await bare.claim()) == list(SWEPT)


async def test_a_sweep_that_finds_another_verdict_confirms_nothing(bare: Scene) -> None:
    """An expired row has lost its object, or the object its row: that pass is none of retention's."""
    await marked(bare, Verdict.EXPIRED)
    await bare.mark(*SWEPT, verdict=Verdict.ORPHAN)
    assert await marks(bare) == list(SWEPT)
    await bare.mark("image/a", verdict=Verdict.STALE)
    assert await marks(bare) == ["image/a"], "retention confirms by any of its verdicts"


@pytest.mark.attack(49)
async def test_a_mark_that_could_not_be_withdrawn_is_not_claimed_until_it_is_seen_again(scene: Scene) -> None:
    await marked(scene)
    writer = await scene.writer()
    await writer.begin()
    await writer.insert("image/a")
    await scene.mark("image/b")
    assert await marks(scene) == list(SWEPT), "a writer holds it"
    await writer.rollback()
    assert claimed(await scene.claim()) == ["image/b"]
    await scene.mark("image/a")
    assert claimed(await scene.claim()) == ["image/a"]


@pytest.mark.parametrize(("kept", "goes"), [(KeepReason.HOLD, SWEPT), (KeepReason.DISABLED, ())])
async def test_what_is_found_on_hold_stays_marked_and_goes_once_it_is_free(
    bare: Scene, kept: KeepReason, goes: Sequence[str]
) -> None:
    """What is found while its clean-up is off is withdrawn: once it is on, a person decides (I-11)."""
    await marked(bare)
    current = await bare.stage.begin(PassKind.SWEEP)
    findings = [
        Finding(storage_key=key, verdict=Verdict.ORPHAN, bytes=1, reason="", kept=kept) for key in SWEPT
    ]
    findings += [Finding(storage_key="image/new", verdict=Verdict.ORPHAN, bytes=1, reason="", kept=kept)]
    await bare.stage.catalog.passes.record(bare.term, current, findings, NOTHING)
    await bare.arm(current)
    assert claimed(await bare.claim()) == list(goes)


async def test_what_comes_back_by_itself_is_a_finding_no_more(bare: Scene) -> None:
    await marked(bare)
    current = await bare.stage.begin(PassKind.SWEEP)
    kept = KeepReason.RECOVERABLE
    findings = [
        Finding(storage_key=key, verdict=Verdict.ORPHAN, bytes=1, reason="", kept=kept) for key in SWEPT
    ]
    await bare.stage.catalog.passes.record(bare.term, current, findings, NOTHING)
    await bare.arm(current)
    assert await marks(bare) == []
