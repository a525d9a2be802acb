"""The whole demo, from its first line to its last."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import asyncpg
from anyio import to_thread

from reconciler import app
from reconciler.catalog import migrate
from reconciler.demo import DemoOptions, daemon, sandbox, serving
from reconciler.demo.sandbox import logs_to, only_credentials, settings_for
from reconciler.demo.scene import Scene, imagine
from reconciler.demo.seed import BUCKET, DATABASE, Seeder, bucket_client, create_database, database_connection
from reconciler.demo.show import Deletions, Screen
from reconciler.demo.verify import Contents, Difference, converged, look, unchanged
from reconciler.embedded.binaries import wheel_postgres, wheel_weed
from reconciler.embedded.client import Supervisor, supervised, tail
from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.embedded.seaweedfs import EmbeddedS3
from reconciler.embedded.servers import start_both
from reconciler.model import Mode, Outcome, PassState, Report, UndoScope
from reconciler.operations import passes
from reconciler.operations.findings import Findings
from reconciler.planning.formatting import human_bytes
from reconciler.ports import Observer
from reconciler.settings import SettingsSource

if TYPE_CHECKING:  # the stubs are no dependency of the program
    from types_aiobotocore_s3 import S3Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything that the acts use."""

    screen: Screen
    scene: Scene
    client: S3Client
    connection: asyncpg.Connection
    seeder: Seeder
    settings: Mapping[str, str]
    signals: Signals

    async def look(self) -> Contents:
        """Read what is stored, by the demo's own clients."""
        return await look(self.client, self.connection)

    def source(self, *, dry_run: bool) -> SettingsSource:
        return SettingsSource({**self.settings, "RECONCILER_DRY_RUN": str(dry_run).lower()})

    async def once(self, *, dry_run: bool, observer: Observer | None = None) -> Report:
        """Run what `reconciler once` runs, with uploads in flight that were just made."""
        await self.seeder.store_fresh()
        try:
            return await app.once(self.source(dry_run=dry_run), wait=timedelta(0), observer=observer)
        finally:
            self.signals.listen()


class Signals:
    """SIGINT and SIGTERM cancel the scope. Where they are `expected`, that is the way to end the demo."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        self._loop = asyncio.get_running_loop()
        self.received = ""
        self.expected = False

    def listen(self) -> None:
        """Listen. Call it again after a pass, which listens itself and releases both signals at its end."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._end, number.name)

    def ignore(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)

    def _end(self, name: str) -> None:
        self.received = name
        # What is cancelled half-way, such as a connection being made, needs no words.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        self._scope.cancel()


async def play(options: DemoOptions, screen: Screen) -> int:
    """Run everything; return the exit status. A signal ends it in order; after a kill, the supervisor does.

    Raises ConfigError before anything is started, ServerFailed where a server does not start.
    """
    scene = imagine(options.objects)
    wheel_postgres()
    wheel_weed()
    with anyio.CancelScope() as scope:
        signals = Signals(scope)
        signals.listen()
        try:
            return await _play(screen, scene, signals, keep=options.keep)
        finally:
            signals.ignore()
    screen.verdict(f"Ended by {signals.received}: no server and no file is left.", good=signals.expected)
    return 0 if signals.expected else 1


async def _play(screen: Screen, scene: Scene, signals: Signals, *, keep: bool) -> int:
    started = time.monotonic()
    async with supervised() as supervisor:
        screen.step("Starting a Postgres and an S3 server of the demo's own")
        postgres, s3 = await start_both(supervisor)
        screen.say(f"Postgres at 127.0.0.1:{postgres.port}, SeaweedFS at {s3.endpoint_url}")
        settings = settings_for(postgres, s3, scene)
        with only_credentials(s3.environment()), logs_to(supervisor.directory / "reconciler.log") as log:
            async with _stage(screen, scene, postgres, s3, settings, signals) as stage:
                done, token = await _acts(stage), stage.seeder.token
        if not done:
            screen.say(f"the end of the reconciler's log:\n{tail(log)}")
            return 1
        if keep:
            kept = {**s3.environment(), **settings}
            serve = partial(serving.start, supervisor, kept, scene, token)
            await _keep_up(screen, kept, supervisor, signals, serve)
        _suggest(screen, time.monotonic() - started)
    return 0


@asynccontextmanager
async def _stage(
    screen: Screen,
    scene: Scene,
    postgres: EmbeddedPostgres,
    s3: EmbeddedS3,
    settings: Mapping[str, str],
    signals: Signals,
) -> AsyncIterator[Stage]:
    """An empty bucket, a migrated database, and a client of the demo's own for each."""
    await create_database(postgres)
    made = partial(migrate.upgrade, postgres.url(DATABASE), create_tables=True, with_triggers=True)
    await to_thread.run_sync(made, abandon_on_cancel=True)
    async with bucket_client(s3) as client, database_connection(postgres) as connection:
        await client.create_bucket(Bucket=BUCKET)
        yield Stage(
            screen=screen,
            scene=scene,
            client=client,
            connection=connection,
            seeder=Seeder(scene, client, connection),
            settings=settings,
            signals=signals,
        )


# --- the acts -------------------------------------------------------------------------------------


async def _acts(stage: Stage) -> bool:
    """Seed, dry run, approve, live, undo. Returns whether all went as it should."""
    await _seed(stage)
    await stage.seeder.store_fresh()
    before = await stage.look()
    if not await _dry_run(stage, before):
        return False
    await _approve(stage)
    return await _live(stage, before) and await _undo(stage, before)


async def _seed(stage: Stage) -> None:
    screen, scene = stage.screen, stage.scene
    objects = scene.objects(fresh=False)
    screen.step(f"Filling the bucket and the gateway's tables, {len(scene.going()):,} keys of it drift")
    orphans_stored = time.monotonic()

    def note_time() -> None:
        nonlocal orphans_stored
        orphans_stored = time.monotonic()

    with screen.counter("objects stored", len(objects)).shown() as counter:
        await stage.seeder.store(counter.add, note_time)
    grace = sandbox.GRACE_SECONDS
    left = orphans_stored + grace + 1 - time.monotonic()
    if left <= 0:
        return
    with screen.waiting(
        f"waiting {left:.0f} s: an object without a row is an orphan only when it is older than the"
        f" grace period, which is {grace} s here (48 h by default); the store sets its age"
    ):
        await anyio.sleep(left)


async def _dry_run(stage: Stage, before: Contents) -> bool:
    screen = stage.screen
    screen.step("A dry run, then its plan (`reconciler once` and `reconciler plan`, RECONCILER_DRY_RUN=true)")
    report = await stage.once(dry_run=True)
    if report.outcome is not Outcome.TRIPPED:
        return _failed(screen, report)
    await stage.seeder.store_fresh()
    findings = Findings()
    planned = await app.plan(stage.source(dry_run=True).current(), findings.add)
    if planned.outcome is not Outcome.TRIPPED:
        return _failed(screen, planned)
    screen.plan(findings.groups, planned)
    now = await stage.look()
    if differences := unchanged(before, now):
        return _wrong(screen, differences)
    screen.say(f"nothing was deleted: {len(now.objects):,} objects and {len(now.rows):,} rows, all as before")
    return True


async def _approve(stage: Stage) -> None:
    """Decide as an operator about what the breaker holds back."""
    screen = stage.screen
    screen.step("The breaker holds it back: nothing goes before a person has looked (`reconciler passes`)")
    async with app.open_database(stage.source(dry_run=True).current()) as catalog:
        for detail in reversed(await passes.newest(catalog, 10, state=PassState.TRIPPED)):
            current = detail.current
            screen.say(f"{current.kind} pass {current.id} tripped: {current.trip_reason}")
            done = await passes.approve(catalog, current.id, by="the demo")
            screen.say(f"`reconciler approve {current.id}`: {done.marks:,} marks released")


async def _undo(stage: Stage, before: Contents) -> bool:
    """Bring back one expired record with its object, and compare both with what they were."""
    screen = stage.screen
    key = stage.scene.to_undo()
    screen.step(f"Undo: one of them back (`reconciler undo --key {shlex.quote(key)}`)")
    undone = await app.undo(
        stage.source(dry_run=False),
        UndoScope(keys=(key,)),
        author="the demo",
        mode=Mode.LIVE,
        emit=lambda _: None,
    )
    now = await stage.look()
    same = (now.objects.get(key), now.rows.get(key)) == (before.objects[key], before.rows[key])
    if not undone.complete or not same:
        screen.verdict(f"{key} did not come back as it was", good=False)
        return False
    screen.say("its object is back byte for byte (ETag compared), its row column for column, and on hold")
    return True


async def _live(stage: Stage, before: Contents) -> bool:
    screen, scene = stage.screen, stage.scene
    rate = stage.settings["RECONCILER_MAX_DELETES_PER_SECOND"]
    screen.step(f"The same, live, at {rate} keys a second (`reconciler once`, RECONCILER_DRY_RUN=false)")
    with screen.counter("keys done with", len(scene.going())).shown() as counter:
        report = await stage.once(dry_run=False, observer=Deletions(counter))
    if report.outcome is not Outcome.CONVERGED:
        return _failed(screen, report)
    removed = report.removed
    screen.say(
        f"deleted {removed.objects:,} objects ({human_bytes(removed.bytes)}) and {removed.records:,} rows"
    )
    now = await stage.look()
    if differences := converged(before, now, scene):
        return _wrong(screen, differences)
    screen.verdict(
        f"Verified by a listing and a query of the demo's own: {len(now.objects):,} objects and"
        f" {len(now.rows):,} rows are left, exactly those that should be, and unaltered.",
        good=True,
    )
    return True


def _failed(screen: Screen, report: Report) -> bool:
    screen.verdict(f"The pass ended as {report.outcome}: {report.detail}", good=False)
    return False


def _wrong(screen: Screen, differences: Sequence[Difference]) -> bool:
    screen.verdict(f"Not as it should be: {'; '.join(map(str, differences))}", good=False)
    return False


# --- the end ------------------------------------------------------------------------------------------


async def _keep_up(
    screen: Screen,
    environment: Mapping[str, str],
    supervisor: Supervisor,
    signals: Signals,
    serve: Callable[[], Awaitable[serving.Served]],
) -> None:
    """Start a daemon and the media service, say how to reach them and the servers, and wait for a signal."""
    signals.expected = True
    admin = await daemon.start(supervisor, environment)
    served = await serve()
    screen.step("A daemon in dry run and the servers stay up until you end this with ^C. Its page, and API:")
    screen.say(f"{admin.address}/    {admin.address}/api/v1/docs")
    screen.say(f"token of an approver: {admin.token}")
    screen.step("The media service is up too. It gives a medium to its owner, and a stranger gets 404:")
    for command in served.commands:
        screen.shell(command)
    screen.step("In another terminal:")
    if in_the_way := [name for name in sandbox.IN_THE_WAY if name in os.environ]:
        screen.shell(f"unset {' '.join(in_the_way)}")
    if (program := sandbox.program()) != "reconciler":
        screen.shell(f"export PATH={shlex.quote(str(Path(program).parent.absolute()))}:$PATH")
    for name, value in environment.items():
        screen.shell(f"export {name}={shlex.quote(value)}")
    screen.step("and then, for example")
    screen.say("reconciler doctor")
    screen.say("reconciler status")
    screen.say("reconciler plan      # the uploads that were in flight have no row yet: orphans by now")
    screen.say(f"curl --oauth2-bearer {admin.token} {admin.address}/api/v1/drift")
    screen.say(f"the logs are in {supervisor.directory}")
    await anyio.sleep_forever()


def _suggest(screen: Screen, seconds: float) -> None:
    program = sandbox.program()
    screen.step(f"That took {seconds:.0f} s. To try next")
    for arguments, what in (
        ("demo --keep", "leaves the servers up, a daemon with its page and API, and the media service"),
        ("demo --objects 20000", "a larger bucket"),
        ("doctor", "your own bucket and database: it says what is missing"),
    ):
        screen.say(f"{program} {arguments:<24}{what}")
