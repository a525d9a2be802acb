"""What becomes of work that was asked for: it ends, fails in words, is cancelled, or is put off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

import anyio
import pytest

from reconciler.catalog.open import Catalog
from reconciler.errors import CatalogUnavailable, ErrorKind, NotDone
from reconciler.model import Job, JobKind, JobState, PassKind, UndoScope
from reconciler.operations import jobs
from tests.integration.site import Site

pytestmark = pytest.mark.anyio

HERE = "here/1"


async def ask(catalog: Catalog) -> UUID:
    """An undo that waits."""
    scope = UndoScope(keys=("image/a",))
    return (await jobs.ask_for_undo(catalog, scope, None, dry_run=False, author="ada")).id


async def ended(catalog: Catalog, job_id: UUID) -> Job:
    with anyio.fail_after(60):
        while True:
            job = await jobs.show(catalog, job_id)
            if job.ended_at is not None:
                return job
            await anyio.sleep(0.05)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (NotDone(ErrorKind.CONFLICT, "held", "image/a is on hold"), "image/a is on hold"),
        (ZeroDivisionError("by nothing"), "a fault of the program: ZeroDivisionError('by nothing')"),
    ],
)
async def test_a_job_that_fails_says_why(site: Site, raised: Exception, said: str) -> None:
    async def fail(job: Job, count: Callable[[int], None]) -> Mapping[str, object]:
        count(3)
        raise raised

    async with site.catalog() as catalog, anyio.create_task_group() as group:
        asked = await ask(catalog)
        group.start_soon(jobs.take_up, catalog, HERE, fail)
        job = await ended(catalog, asked)
        assert (job.state, job.error, job.done, job.result) == (JobState.FAILED, said, 3, None)
        group.cancel_scope.cancel()


async def test_a_job_that_runs_ends_where_it_is_cancelled_and_the_next_is_done(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "KEEP_SECONDS", 0.05)
    begun = anyio.Event()

    async def work(job: Job, count: Callable[[int], None]) -> Mapping[str, object]:
        if job.id != first:
            return {"which": "second"}
        begun.set()
        await anyio.sleep_forever()
        raise AssertionError

    async with site.catalog() as catalog, anyio.create_task_group() as group:
        first = await ask(catalog)
        group.start_soon(jobs.take_up, catalog, HERE, work)
        await begun.wait()
        second = await ask(catalog)
        assert (await jobs.cancel(catalog, first)).state is JobState.RUNNING
        assert (await ended(catalog, first)).state is JobState.CANCELLED
        assert (await ended(catalog, second)).result == {"which": "second"}
        group.cancel_scope.cancel()


async def test_a_job_is_put_off_while_the_store_is_away(site: Site) -> None:
    tried: list[UUID] = []
    put_off = anyio.Event()

    async def away(job: Job, count: Callable[[int], None]) -> Mapping[str, object]:
        tried.append(job.id)
        put_off.set()
        raise CatalogUnavailable("it is away")

    async with site.catalog() as catalog, anyio.create_task_group() as group:
        asked = await ask(catalog)
        group.start_soon(jobs.take_up, catalog, HERE, away)
        await put_off.wait()
        group.cancel_scope.cancel()
    async with site.catalog() as catalog:
        job = await jobs.show(catalog, asked)
        assert (job.state, job.error, job.ended_at) == (JobState.RUNNING, None, None)
        assert await catalog.jobs.take("there/2", jobs.CHANGES) is None, "it is the first one's for a while"
        await site.sql("UPDATE reconciler.jobs SET taken_until = clock_timestamp()")
        again = await catalog.jobs.take("there/2", jobs.CHANGES)
        assert again is not None
        assert again.id == asked
    assert tried == [asked]


async def test_a_look_that_takes_long_holds_up_no_undo(site: Site) -> None:
    async def work(job: Job, count: Callable[[int], None]) -> Mapping[str, object]:
        if job.kind is JobKind.LOOK:
            await anyio.sleep_forever()
        return {}

    async with site.catalog() as catalog, anyio.create_task_group() as group:
        look = await jobs.ask_for_look(catalog, "image/", ("image/",), author="ada")
        undo = await ask(catalog)
        group.start_soon(jobs.take_up, catalog, HERE, work)
        assert (await ended(catalog, undo)).state is JobState.DONE
        assert (await jobs.show(catalog, look.id)).ended_at is None
        group.cancel_scope.cancel()


async def test_a_look_answers_nobody_who_asked_for_a_sweep(site: Site) -> None:
    async with site.catalog() as catalog:
        look = await jobs.ask_for_look(catalog, "image/a/", ("image/",), author="ada")
        sweep = await jobs.ask_for_pass(catalog, PassKind.SWEEP, author="ada")
        assert await catalog.jobs.wanted(HERE) == {PassKind.SWEEP}
        await catalog.jobs.begin(PassKind.SWEEP, HERE)
        await catalog.jobs.answered(PassKind.SWEEP, HERE, 1)
        assert (await jobs.show(catalog, sweep.id)).pass_id == 1
        assert (await jobs.show(catalog, look.id)).state is JobState.WAITING
