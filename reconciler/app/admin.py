"""The admin API in the daemon: its own connections, beside those that the engine works with."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import structlog

from reconciler.api.app import build
from reconciler.api.gate import Gate, Provider
from reconciler.api.site import Admin, RecentStats, Replica, Site
from reconciler.app import wiring
from reconciler.app.first_look import sight
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.engine.detect.plan import look
from reconciler.engine.lead import lease
from reconciler.engine.runtime.context import ruled
from reconciler.engine.runtime.tasks import task_group
from reconciler.errors import CatalogUnavailable, ConfigError, Halt, ReconcilerError, Retryable
from reconciler.model import ErasureKind, Explained, Job, JobKind, Mode, Role
from reconciler.operations import as_json, erasures, jobs
from reconciler.operations import erase as erasing
from reconciler.operations import undo as undoing
from reconciler.operations.explain import explain
from reconciler.operations.findings import Findings
from reconciler.operations.notary import Verifier
from reconciler.operations.tokens import TokensFile
from reconciler.settings import Settings, SettingsSource
from reconciler.stores.s3 import Bucket, open_bucket
from reconciler.telemetry.health import Health
from reconciler.telemetry.observers import NullObserver
from reconciler.telemetry.own_state import OwnState
from reconciler.web.server import serve

log = structlog.get_logger(__name__)

CONNECTIONS = 4
"""To the database, at most, whatever is asked of the API."""

RECONNECT_SECONDS = 5.0


class _Connected:
    """The site while it is open, and otherwise why it is not."""

    def __init__(self, holder: str) -> None:
        self._holder = holder
        self._site: Site | None = None
        self._fault: ReconcilerError = CatalogUnavailable("the database has not been reached yet")

    def site(self) -> Site:
        if self._site is None:
            raise self._fault
        return self._site

    async def keep(self, source: SettingsSource) -> None:
        """Keep it open until cancelled."""
        while True:
            try:
                settings = source.current()
                config = replace(wiring.catalog_config(settings), pool_size=CONNECTIONS)
                async with (
                    open_catalog(config) as catalog,
                    open_bucket(wiring.bucket_config(settings)) as bucket,
                ):
                    await catalog.require_schema()

                    async def look(
                        key: str, catalog: Catalog = catalog, bucket: Bucket = bucket
                    ) -> Explained:
                        return await explain(sight(source.current(), catalog, bucket), key)

                    self._site = Site(catalog=catalog, explain=look)
                    await jobs.take_up(catalog, self._holder, partial(self._work, source, catalog))
            except (Retryable, ConfigError, Halt) as error:
                log.warning("the admin API cannot answer yet, trying again", reason=str(error))
                self._fault = error
            finally:
                self._site = None
            await anyio.sleep(RECONNECT_SECONDS)

    @staticmethod
    async def _work(
        source: SettingsSource, catalog: Catalog, job: Job, count: Callable[[int], None]
    ) -> Mapping[str, object]:
        """Do what a job asks for; see `operations.jobs`."""
        if job.kind is JobKind.ERASURE and jobs.is_replay(job):
            return await _replay(source, catalog, job)
        if job.kind is JobKind.ERASURE and (asked := jobs.proof_of(job)) is not None:
            return await _prove(catalog, job, *asked)
        if job.kind is JobKind.ERASURE:
            keys = jobs.erasure_of(job)
            done = await (erasing.preview(catalog, keys) if job.dry_run else _erase(catalog, job, keys))
            return as_json.erased(done)
        if job.kind is JobKind.LOOK:
            return await _look(source, job, count)
        return await _undo(source, catalog, job, count)


async def _erase(catalog: Catalog, job: Job, keys: Sequence[str]) -> erasing.Erasure:
    return await erasing.erase(catalog, keys, author=job.author)


async def _prove(
    catalog: Catalog, job: Job, kind: ErasureKind, subject: Sequence[str], reason: str
) -> Mapping[str, object]:
    if job.dry_run:
        would = await erasures.preview(catalog, kind, subject)
        return {"rows": would.rows, "held": would.held}
    return as_json.erasure(await erasures.order(catalog, kind, subject, author=job.author, reason=reason))


async def _replay(source: SettingsSource, catalog: Catalog, job: Job) -> Mapping[str, object]:
    settings = source.current()
    own = settings.erasure.signing_key_file
    verifier = Verifier([] if own is None else [Path(own)])
    async with wiring.open_ports(settings) as ports:
        done = await erasures.replay(ports, catalog, verifier, author=job.author, dry_run=job.dry_run)
    return as_json.replay(done, dry_run=job.dry_run)


class _Listed(NullObserver):
    """Counts the keys that are listed."""

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count

    def page_listed(self, keys: int) -> None:
        self._count(keys)


async def _look(source: SettingsSource, job: Job, count: Callable[[int], None]) -> Mapping[str, object]:
    settings, prefix, started = source.current(), jobs.look_of(job), time.monotonic()
    found = Findings()
    async with wiring.open_ports(settings, _Listed(count)) as ports:
        runtime = await ruled(wiring.runtime_settings(settings, ports.capabilities), ports.records)
        limits, bucket = wiring.limits_of(settings), settings.bucket.name
        tally = await look(ports, limits, runtime, bucket, found.add, prefix)
    return as_json.look(prefix, tally, found, time.monotonic() - started)


async def _undo(
    source: SettingsSource, catalog: Catalog, job: Job, count: Callable[[int], None]
) -> Mapping[str, object]:
    settings, (scope, hold_for) = source.current(), jobs.undo_of(job)
    mode, started = Mode.DRY_RUN if job.dry_run else settings.mode(), time.monotonic()
    async with wiring.open_ports(settings) as ports:
        undone = await undoing.undo(
            ports,
            wiring.in_force_of(source, ports),
            settings.bucket.name,
            scope,
            author=job.author,
            mode=mode,
            emit=lambda _: count(1),
            note=catalog.orders.note,
            hold_for=hold_for,
        )
    return as_json.undone(undone, mode, time.monotonic() - started)


async def serve_admin(
    source: SettingsSource,
    health: Health,
    own: OwnState,
    refused: Callable[[str], None],
    *,
    started: anyio.Event,
) -> None:
    """Serve the admin API until cancelled. Raises ConfigError where it cannot listen."""
    settings, connected = source.current(), _Connected(lease.holder_name())
    admin = Admin(
        gate=Gate(_tokens(settings), refused, time.monotonic, _provider(settings)),
        site=connected.site,
        replica=partial(_replica, health, own),
        loaded=lambda: source.loaded,
        recent=RecentStats(time.monotonic),
    )
    async with task_group() as group:
        group.start_soon(connected.keep, source)
        log.info("admin API", host=settings.admin.host, port=settings.admin.port)
        await serve(build(admin), settings.admin.host, settings.admin.port, section="ADMIN", started=started)


def _tokens(settings: Settings) -> TokensFile | None:
    file = settings.admin.tokens_file
    if file is None:
        return None
    return TokensFile(file, lambda reason: log.error("the tokens file", file=file, reason=reason))


def _provider(settings: Settings) -> Provider | None:
    """The identity provider. What checks its tokens is imported only where there is one."""
    oidc = settings.admin.oidc
    if oidc.issuer is None:
        return None
    if not oidc.audience or not (oidc.viewers or oidc.operators or oidc.approvers):
        raise ConfigError(
            "RECONCILER_ADMIN__OIDC__ISSUER is set: set RECONCILER_ADMIN__OIDC__AUDIENCE, what tokens for"
            " this API have in `aud`, and who has a role in RECONCILER_ADMIN__OIDC__VIEWERS, __OPERATORS or"
            " __APPROVERS"
        )
    from reconciler.api import oidc as checking  # noqa: PLC0415

    roles = {Role.VIEWER: oidc.viewers, Role.OPERATOR: oidc.operators, Role.APPROVER: oidc.approvers}
    described = checking.Described(
        issuer=oidc.issuer,
        audience=oidc.audience,
        role_claim=oidc.role_claim,
        name_claim=oidc.name_claim,
        roles=roles,
    )
    return checking.Oidc(described, checking.fetch, time.monotonic)


def _replica(health: Health, own: OwnState) -> Replica:
    return Replica(
        name=own.name,
        leading=own.leads,
        halted=own.halt,
        unmet=health.unmet(),
        stuck=health.stuck(),
    )
