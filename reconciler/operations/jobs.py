"""Jobs: work that is asked for, and done soon: passes by the leader, the rest by any replica."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import anyio
import structlog

from reconciler.catalog.open import Catalog
from reconciler.engine.detect.plan import managed
from reconciler.engine.runtime.tasks import task_group
from reconciler.errors import ErrorKind, NotDone, ReconcilerError, Retryable
from reconciler.model import ErasureKind, Job, JobKind, JobState, PassKind, UndoScope

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""How often a replica looks for jobs."""

KEEP_SECONDS = 2.0
"""How often it says that it is still at one, and looks whether it was cancelled."""

CHANGES = (JobKind.UNDO, JobKind.ERASURE)
"""Jobs that need no lease, and change something. What only looks may take long, and must not hold them up."""

KINDS = {PassKind.SWEEP: JobKind.SWEEP, PassKind.RETENTION: JobKind.RETENTION}
"""The passes that can be asked for. One of departures begins by itself, within seconds."""

Json = Mapping[str, object]
Count = Callable[[int], None]
Work = Callable[[Job, Count], Awaitable[Json]]
"""Does what a job asks for, and returns its result; it calls the function with how many keys it looked at."""


async def ask_for_pass(catalog: Catalog, kind: PassKind, *, author: str) -> Job:
    """Ask for a pass: the leader begins it within a second or two, or once the one under way has ended."""
    return await catalog.jobs.ask(uuid4(), KINDS[kind], {}, dry_run=False, author=author)


async def ask_for_look(catalog: Catalog, prefix: str, prefixes: Iterable[str], *, author: str) -> Job:
    """Ask what a sweep would find under a prefix, of the managed `prefixes`, without a pass or a mark.

    Only a whole sweep makes marks: its breaker, its near misses and the claims that rely on both know nothing
    of a part. Raises NotDone where nothing under it is managed.
    """
    managed(prefix, prefixes)
    return await catalog.jobs.ask(uuid4(), JobKind.LOOK, {"prefix": prefix}, dry_run=True, author=author)


async def ask_for_undo(
    catalog: Catalog, scope: UndoScope, hold_for: timedelta | None, *, dry_run: bool, author: str
) -> Job:
    """Ask for an undo. In dry run it only says what would come back."""
    asked = {
        "keys": list(scope.keys),
        "pass_id": scope.pass_id,
        "since": scope.since.isoformat() if scope.since else None,
        "until": scope.until.isoformat() if scope.until else None,
        "hold_for_seconds": hold_for.total_seconds() if hold_for else None,
    }
    return await catalog.jobs.ask(uuid4(), JobKind.UNDO, asked, dry_run=dry_run, author=author)


def undo_of(job: Job) -> tuple[UndoScope, timedelta | None]:
    """What a job for an undo asks for."""
    asked: Mapping[str, object] = job.asked
    keys, pass_id, lasts = asked["keys"], asked["pass_id"], asked["hold_for_seconds"]
    assert isinstance(keys, list)
    assert pass_id is None or isinstance(pass_id, int)
    scope = UndoScope(
        keys=tuple(keys), pass_id=pass_id, since=_time(asked["since"]), until=_time(asked["until"])
    )
    return scope, timedelta(seconds=float(str(lasts))) if lasts is not None else None


def _time(given: object) -> datetime | None:
    return datetime.fromisoformat(str(given)) if given is not None else None


async def ask_for_erasure(catalog: Catalog, keys: Sequence[str], *, dry_run: bool, author: str) -> Job:
    """Ask for an erasure. What is on hold is never erased by a job. Raises NotDone for no keys."""
    if not keys:
        raise NotDone(ErrorKind.INVALID, "no_target", "say which keys")
    asked = {"keys": list(dict.fromkeys(keys))}
    return await catalog.jobs.ask(uuid4(), JobKind.ERASURE, asked, dry_run=dry_run, author=author)


async def ask_for_proof(
    catalog: Catalog, kind: ErasureKind, subject: Sequence[str], reason: str, *, dry_run: bool, author: str
) -> Job:
    """Ask for an erasure with proof, which the leader does once it is written down."""
    asked = {"erase": str(kind), "subject": list(dict.fromkeys(subject)), "reason": reason}
    return await catalog.jobs.ask(uuid4(), JobKind.ERASURE, asked, dry_run=dry_run, author=author)


async def ask_for_replay(catalog: Catalog, *, dry_run: bool, author: str) -> Job:
    """Ask that what came back with a backup is erased again."""
    return await catalog.jobs.ask(uuid4(), JobKind.ERASURE, {"replay": True}, dry_run=dry_run, author=author)


def is_replay(job: Job) -> bool:
    """Whether a job for an erasure is one again, after a restore."""
    return "replay" in job.asked


def proof_of(job: Job) -> tuple[ErasureKind, Sequence[str], str] | None:
    """What kind, subject and reason a job has erased with proof; None where it asks for none."""
    if "erase" not in job.asked:
        return None
    subject = job.asked["subject"]
    assert isinstance(subject, list)
    return ErasureKind(str(job.asked["erase"])), subject, str(job.asked["reason"])


def erasure_of(job: Job) -> Sequence[str]:
    """The keys that a job has erased."""
    keys = job.asked["keys"]
    assert isinstance(keys, list)
    return keys


def look_of(job: Job) -> str:
    """The prefix that a job looks at."""
    return str(job.asked["prefix"])


async def show(catalog: Catalog, job_id: UUID) -> Job:
    """One job. Raises NotDone."""
    return await catalog.jobs.look(job_id)


async def page(catalog: Catalog, before: Job | None = None, size: int = 100) -> Sequence[Job]:
    """The jobs, the newest first, behind the one `before`."""
    return await catalog.jobs.page(before, size)


async def cancel(catalog: Catalog, job_id: UUID) -> Job:
    """Have a job end. What it has done stays done. Raises NotDone."""
    return await catalog.jobs.cancel(job_id)


async def take_up(catalog: Catalog, holder: str, work: Work) -> None:
    """Do what is asked for that needs no lease, until cancelled: changes one after the other, and looks one
    after the other. What another replica began and left is done again: all of it may be repeated.
    """
    async with task_group() as group:
        for kinds in (CHANGES, (JobKind.LOOK,)):
            group.start_soon(_take_up, catalog, holder, work, kinds)


async def _take_up(catalog: Catalog, holder: str, work: Work, kinds: Sequence[JobKind]) -> None:
    while True:
        try:
            job = await catalog.jobs.take(holder, kinds)
            if job is not None:
                await _do(catalog, holder, job, work)
                continue
        except ReconcilerError as error:
            log.warning("jobs not taken up, trying again", reason=str(error))
        await anyio.sleep(LOOK_SECONDS)


async def _do(catalog: Catalog, holder: str, job: Job, work: Work) -> None:
    done, state = 0, JobState.CANCELLED
    result, error = None, None

    def count(keys: int) -> None:
        nonlocal done
        done += keys

    async def keep(scope: anyio.CancelScope) -> None:
        while True:
            if await _ended(catalog, holder, job, done):
                scope.cancel()
            await anyio.sleep(KEEP_SECONDS)

    async with task_group() as group:
        group.start_soon(keep, group.cancel_scope)
        try:
            result, state = await work(job, count), JobState.DONE
        except Retryable as failure:
            # Nobody has to ask again: it is taken up once more when this replica's time is over.
            log.warning("a job is put off", kind=str(job.kind), job=str(job.id), reason=str(failure))
            group.cancel_scope.cancel()
            return
        except ReconcilerError as failure:
            error, state = str(failure), JobState.FAILED
        except Exception as fault:
            log.exception("a job failed on a fault of the program", job=str(job.id))
            error, state = f"a fault of the program: {fault!r}", JobState.FAILED
        group.cancel_scope.cancel()
    await catalog.jobs.end(job, holder, state, done=done, result=result, error=error)


async def _ended(catalog: Catalog, holder: str, job: Job, done: int) -> bool:
    try:
        return await catalog.jobs.keep(job, holder, done)
    except Retryable:
        return False
