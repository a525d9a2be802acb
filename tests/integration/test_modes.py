"""Dry run and live: the same loop and marks; one gateway refuses."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from reconciler.engine.runtime.write_guard import Refused, WriteGuard
from reconciler.model import Deletion, Mode, Outcome, Pause, Verdict
from tests.integration.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.calm]


async def drifted(site: Site) -> None:
    await site.tracked("image/live")
    await site.put("image/orphan-1", "image/orphan-2")


@pytest.mark.incident(31)
@pytest.mark.probes
async def test_a_dry_run_counts_what_would_go_and_deletes_nothing(site: Site) -> None:
    await drifted(site)
    before = await site.state()
    for _ in range(2):
        report = await site.once(dry_run="true")
        assert report.mode is Mode.DRY_RUN
        assert (report.found[Verdict.ORPHAN], report.removed.objects, report.removed.bytes) == (2, 2, 2)
        assert report.outcome is Outcome.CONVERGED
    assert await site.state() == before
    assert await site.ledger() == []


async def test_switching_dry_run_off_starts_the_delay_anew(site: Site) -> None:
    await drifted(site)
    await site.once(dry_run="true", delete_delay="1h")
    await site.sql("UPDATE reconciler.marks SET due_at = now() - interval '1 day'")
    report = await site.once(delete_delay="1h")
    assert (report.outcome, report.removed.objects) == (Outcome.PENDING, 0)
    assert len(await site.keys()) == 3


async def test_a_delay_is_waited_for(site: Site) -> None:
    await drifted(site)
    report = await site.once(delete_delay="1h")
    assert (report.outcome, report.removed.objects) == (Outcome.PENDING, 0)
    await site.sql("UPDATE reconciler.marks SET due_at = now()")
    await site.sql("UPDATE reconciler.term SET live_since = now() - interval '1 day'")
    assert (await site.once(delete_delay="1h")).removed.objects == 2


@pytest.mark.calm(False)
async def test_what_a_live_run_claimed_stays_claimed_in_dry_run_and_is_finished_later(site: Site) -> None:
    await drifted(site)
    await site.once(delete_delay="1h")
    await site.sql(
        "UPDATE reconciler.marks SET state = 'claimed', operation_id = gen_random_uuid(), epoch = 1,"
        " claimed_xid = pg_current_xact_id(), attempted_at = now() - interval '1 hour', delete_object = true,"
        " verify_absence = false"
    )
    await site.once(dry_run="true")
    assert len(await site.keys()) == 3
    assert await site.sql("SELECT 1 FROM reconciler.marks WHERE state <> 'claimed'") == []
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 2)
    assert await site.keys() == {"image/live"}


class Untouchable:
    """Ports that no call may reach, but to ask whether the program is paused."""

    def __init__(self, look: Callable[[], Awaitable[Pause]]) -> None:
        self.pause = SimpleNamespace(look=look)

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} was reached")


HARMLESS = {"adopt", "copy", "reveal", "withdraw"}
"""Copies, rows made and markers taken away delete nothing: they bring back what should not have gone."""

ASKED = "stopped"
"""Writes nothing: it says why the others would refuse."""
WRITES = [
    name
    for name, _ in inspect.getmembers(WriteGuard, inspect.iscoroutinefunction)
    if not name.startswith("_") and name != ASKED
]


async def ask(media: WriteGuard, write: str) -> None:
    """Any write, of nothing: a refusal comes before whatever is given is looked at."""
    method = getattr(media, write)
    parameters = inspect.signature(method).parameters.values()
    named = {each.name: None for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}
    await method(*[None] * (len(parameters) - len(named)), **named)


async def sealed(_: float) -> UUID:
    return UUID(int=0)


async def unasked(_: float) -> UUID:
    raise AssertionError("the identity was read")


async def running() -> Pause:
    return Pause()


async def paused() -> Pause:
    return Pause(paused=True, by="alice@host", reason="a restore is under way")


@pytest.mark.incident(31)
@pytest.mark.parametrize("write", WRITES)
async def test_the_gateway_refuses_every_write_in_dry_run(write: str) -> None:
    """Found by inspection, so that a write path added later is asked as well."""
    ports: Any = Untouchable(running)
    media = WriteGuard(ports, lambda: Mode.DRY_RUN, lambda: True, unasked)
    with pytest.raises(Refused, match="RECONCILER_DRY_RUN"):
        await ask(media, write)


@pytest.mark.parametrize("write", [write for write in WRITES if write not in HARMLESS])
async def test_the_gateway_refuses_all_that_deletes_while_paused(write: str) -> None:
    ports: Any = Untouchable(paused)
    media = WriteGuard(ports, lambda: Mode.LIVE, lambda: True, sealed)
    with pytest.raises(Refused, match=r"paused by alice@host \(a restore is under way\).*reconciler resume"):
        await ask(media, write)


@pytest.mark.parametrize(
    ("mode", "pause", "why"),
    [
        (Mode.DRY_RUN, running, "RECONCILER_DRY_RUN"),
        (Mode.LIVE, paused, "paused by alice@host"),
        (Mode.LIVE, running, None),
    ],
)
async def test_it_says_why_it_would_refuse(
    mode: Mode, pause: Callable[[], Awaitable[Pause]], why: str | None
) -> None:
    ports: Any = Untouchable(pause)
    media = WriteGuard(ports, lambda: mode, lambda: True, sealed)
    told = await media.stopped()
    assert told is None if why is None else why in str(told)


def test_the_write_paths_are_those_we_know() -> None:
    deleting = {"claim", "rescue", "delete", "purge", "abort", "confirm", "wipe"}
    assert set(WRITES) == deleting | HARMLESS
    assert Deletion(key="a").etag is None
