"""One mark, row or answer that trips whatever reads it, among others that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from reconciler.engine.detect.passes import MarkSink
from reconciler.model import Decision, Mark, ObjectResult, PassKind, Record
from reconciler.planning import claim_decision
from reconciler.ports import ClaimRequest
from tests.attacks.scene import WINDOW, Scene
from tests.contract.catalog import ALL, NOTHING, no_cap

pytestmark = [pytest.mark.anyio, pytest.mark.attack(73)]

POISON = "image/poison"
OTHERS = [f"image/{number:02}" for number in range(20)]


@pytest.mark.parametrize("error", [TypeError, ValueError, OverflowError, ZeroDivisionError])
async def test_a_mark_that_cannot_be_claimed_is_put_off_alone(scene: Scene, error: type[Exception]) -> None:
    scene.put(POISON, *OTHERS)
    await scene.mark(POISON, *OTHERS)

    def decide(mark: Mark, rows: Sequence[Record], now: datetime) -> Decision:
        if mark.storage_key == POISON:
            raise error("can't compare offset-naive and offset-aware datetimes")
        return scene.decide(mark, rows, now)

    claimed: set[str] = set()
    marks = scene.stage.catalog.marks
    while (claim := await marks.claim(scene.term, ClaimRequest(scene.policy, ALL, 8, decide, no_cap))).keys:
        claimed |= {key.mark.storage_key for key in claim.keys}
    assert claimed == set(OTHERS)
    ((attempts, waits),) = await scene.sql.fetch(
        "SELECT attempts, not_before > clock_timestamp() FROM reconciler.marks WHERE storage_key = $1", POISON
    )
    assert (attempts, waits) == (1, True)
    told = await scene.sql.fetchval(
        "SELECT detail FROM reconciler.ledger WHERE storage_key = $1 AND result = 'failed'", POISON
    )
    assert "offset-naive" in told
    # Whoever can read it by then claims it.
    await scene.sql.execute("UPDATE reconciler.marks SET not_before = now()")
    claim = await scene.claim()
    assert [key.mark.storage_key for key in claim.keys] == [POISON]


async def test_a_claimed_key_whose_rows_cannot_be_read_is_spared_alone(scene: Scene) -> None:
    scene.put(POISON, *OTHERS)
    await scene.mark(POISON, *OTHERS)
    claim = await scene.claim()

    def decide(mark: Mark, rows: Sequence[Record], now: datetime) -> Decision:
        if mark.storage_key == POISON:
            raise ValueError("a date that no calendar has")
        return scene.decide(mark, rows, now)

    spared = await scene.stage.catalog.marks.look_again(claim, decide, scene.policy, guarded=True)
    assert set(spared) == {POISON}
    assert "no calendar" in spared[POISON]
    await scene.confirm(claim, await scene.delete(claim, spared))
    assert scene.objects == {POISON}


async def test_an_answer_that_the_database_cannot_take_fails_its_key_alone(scene: Scene) -> None:
    scene.put(POISON, *OTHERS)
    await scene.mark(POISON, *OTHERS)
    claim = await scene.claim()
    results = {key.mark.storage_key: (ObjectResult.DELETED, "") for key in claim.keys}
    results[POISON] = (ObjectResult.DELETED, "cut off: \x00")
    removed = await scene.stage.catalog.marks.confirm(scene.term, claim, results, scene.decide, WINDOW)
    assert (removed.objects, removed.failed) == (20, 1)
    left = await scene.sql.fetch("SELECT storage_key, state FROM reconciler.marks")
    assert [tuple(row) for row in left] == [(POISON, "claimed")]


async def test_a_policy_that_trips_over_one_mark_collects_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole round of the collector: what cannot be decided is put off, and nothing of it goes."""
    plain = claim_decision.decide

    def tripped(mark: Mark, *rest: object) -> Decision:
        if mark.storage_key == POISON:
            raise TypeError("a fault of ours")
        return plain(mark, *rest)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(claim_decision, "decide", tripped)
    few = OTHERS[:5]  # below what the breaker asks about
    scene.put(POISON, *few)
    await scene.mark(POISON, *few)
    assert (await scene.collect()).objects == 5
    assert scene.objects == {POISON}


async def test_a_finding_that_cannot_be_written_down_leaves_the_others_marked(scene: Scene) -> None:
    scene.put(POISON, *OTHERS)
    current = await scene.stage.begin(PassKind.SWEEP)
    findings = [scene.finding(key) for key in OTHERS]
    findings.insert(7, replace(scene.finding(POISON), reason="\x00"))
    sink = MarkSink(ports=scene.ports, term=scene.term, current=current, delete_delay=NOTHING)
    await sink.write(findings, None)
    rows = await scene.sql.fetch("SELECT storage_key FROM reconciler.marks ORDER BY 1")
    assert [row["storage_key"] for row in rows] == OTHERS
