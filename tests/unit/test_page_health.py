"""The sentence on top of the status page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.api.page.health import Level, health
from reconciler.api.page.kept import Kept
from reconciler.api.site import Replica as Answering
from reconciler.model import Leader, Mode, Pause, Replica, Standing
from reconciler.operations.status import ModeNow, Status

NOW = datetime(2026, 11, 30, 20, 15, tzinfo=UTC)
LEADS = Leader(holder="a/1", epoch=3, acquired_at=NOW, expires_at=NOW + timedelta(seconds=30))
SAYS = Replica(name="a", version="1", mode=Mode.LIVE, mode_from="default", config_hash="x", epoch=3)
ANSWERS = Answering(name="a", leading=True, halted=None, unmet=(), stuck=())
WELL = Status(
    now=NOW,
    leader=LEADS,
    replicas=(SAYS,),
    mode=ModeNow(mode=Mode.LIVE, since=NOW, source="default"),
    pause=Pause(),
    waiting=(),
    passes=(),
    marks={},
    holds={},
    standing=None,
)
PAUSED = Pause(paused=True, at=NOW, by="ada", reason="a case")
LONG_DUE = Standing(due=5, oldest_due=NOW - timedelta(hours=1))


@pytest.mark.parametrize(
    ("status", "answers", "level", "says"),
    [
        (WELL, ANSWERS, Level.GOOD, ""),
        (replace(WELL, pause=PAUSED), ANSWERS, Level.CALM, "paused since"),
        (
            replace(WELL, mode=ModeNow(mode=Mode.DRY_RUN, since=NOW, source="default")),
            ANSWERS,
            Level.CALM,
            "dry run by default",
        ),
        (replace(WELL, leader=None), ANSWERS, Level.BAD, "no replica holds the lease"),
        (
            replace(WELL, replicas=(replace(SAYS, halted="adopt it"),), pause=PAUSED),
            ANSWERS,
            Level.BAD,
            "replica a is halted",
        ),
        (WELL, replace(ANSWERS, halted="adopt it"), Level.BAD, "replica a is halted"),
        (WELL, replace(ANSWERS, stuck=("lease",)), Level.BAD, "replica a is silent: lease"),
        (WELL, replace(ANSWERS, unmet=("no lease",)), Level.CALM, "replica a is not ready yet: no lease"),
        (replace(WELL, standing=LONG_DUE), ANSWERS, Level.BAD, "marks have been due"),
        (replace(WELL, standing=LONG_DUE, went=1), ANSWERS, Level.GOOD, ""),
    ],
)
def test_it_is_as_bad_as_the_worst_there_is(
    status: Status, answers: Answering, level: Level, says: str
) -> None:
    told = health(status, answers)
    assert told.level is level
    assert (told.matters[0].says if told.matters else "").startswith(says)
    assert bool(told.matters) == (level is not Level.GOOD)


@pytest.mark.anyio
async def test_what_is_looked_at_is_kept_for_all_and_forgotten_when_something_changes() -> None:
    looked, clock = [], [0.0]

    async def look() -> int:
        looked.append(clock[0])
        clock[0] += 1
        return len(looked)

    kept = Kept(look, 2.0, lambda: clock[0])
    assert [await kept.now(), await kept.now()] == [1, 1]
    clock[0] += 9.9
    assert await kept.now() == 1, "it took a second, so it is kept for ten"
    clock[0] += 0.2
    assert await kept.now() == 2
    kept.forget()
    assert (await kept.now(), kept.fresh) == (3, True)


@pytest.mark.anyio
async def test_what_was_forgotten_while_it_was_looked_at_is_not_kept() -> None:
    async def look() -> object:
        kept.forget()
        return object()

    kept: Kept[object] = Kept(look, 100.0, lambda: 0.0)
    assert await kept.now() is not await kept.now()
