"""A replica says in the database how it stands, for `status`, and logs what people have ordered."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import structlog

from reconciler import __version__
from reconciler.catalog.leadership.replicas import ONCE
from reconciler.catalog.open import Catalog
from reconciler.errors import ReconcilerError
from reconciler.model import SPEAKS_EVERY, Mode, PassKind, Phase, Replica
from reconciler.settings import SettingsSource, origin_text
from reconciler.telemetry.observers import NullObserver

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
"""How soon a change is said: as often as the runtime file is looked at."""

LAST_WORD_SECONDS = 30.0
"""A `once` waits so long at most until its end is said: there is no second time."""


def _now() -> datetime:
    return datetime.now(UTC)


class ReplicaState(NullObserver):
    """What this process knows of itself. Listens as `ports.Observer`."""

    def __init__(self, now: Callable[[], datetime] = _now) -> None:
        self._now = now
        self._epoch: int | None = None
        self._leads = False
        self._halted: tuple[str, datetime] | None = None
        self._mode: Mode | None = None
        self._mode_since: datetime | None = None
        self._next: dict[PassKind, datetime] = {}
        self._phases: dict[PassKind, Phase] = {}
        self._blocked_by = ""

    def elected(self, epoch: int) -> None:
        self._epoch = epoch

    def leading(self, *, leader: bool) -> None:
        self._leads = leader
        if not leader:
            self._next, self._phases, self._blocked_by = {}, {}, ""

    def halted(self, reason: str | None) -> None:
        if reason is None:
            self._halted = None
        elif self._halted is None or self._halted[0] != reason:
            self._halted = reason, self._now()

    def phase(self, kind: PassKind, phase: Phase | None) -> None:
        self._phases.pop(kind, None)
        if phase is not None:
            self._phases[kind] = phase
            self._next.pop(kind, None)

    def resting(self, loop: str, seconds: float) -> None:
        if loop in set(PassKind):
            self._next[PassKind(loop)] = self._now() + timedelta(seconds=seconds)

    def blocked(self, by: str | None) -> None:
        self._blocked_by = by or ""

    def says(self, source: SettingsSource) -> Replica:
        """How it stands now."""
        settings = source.current()
        mode = settings.mode()
        if self._mode not in {None, mode}:
            self._mode_since = self._now()
        self._mode = mode
        reason, since = self._halted or (None, None)
        return Replica(
            name=f"{socket.gethostname()}/{os.getpid()}",
            version=__version__,
            mode=mode,
            mode_from=origin_text(source.loaded.origins[("dry_run",)]),
            mode_since=self._mode_since,
            config_hash=settings.config_hash(),
            epoch=self._epoch if self._leads else None,
            halted=reason,
            halted_since=since,
            next_pass=dict(self._next),
            phases=dict(self._phases),
            rate=settings.max_deletes_per_second,
            blocked_by=self._blocked_by,
            approval_ttl=settings.approval_ttl,
        )


async def keep_telling(state: ReplicaState, source: SettingsSource, catalog: Catalog) -> None:
    """Say it when it has changed, and every `SPEAKS_EVERY`, until cancelled."""
    said, at = None, 0.0
    while True:
        says = state.says(source)
        if says != said or time.monotonic() - at >= SPEAKS_EVERY.total_seconds():
            try:
                await catalog.replicas.say(says)
                said, at = says, time.monotonic()
            except ReconcilerError as error:
                log.debug("how this replica stands was not said", reason=str(error))
        await anyio.sleep(LOOK_SECONDS)


async def leave(source: SettingsSource, state: ReplicaState, catalog: Catalog) -> None:
    """A replica that ends takes away what it has said; else that would count for a minute."""
    with anyio.move_on_after(LOOK_SECONDS, shield=True):
        try:
            await catalog.replicas.leave(state.says(source).name)
        except ReconcilerError as error:
            log.debug("that this replica ends was not said", reason=str(error))


async def tell_of_once(source: SettingsSource, catalog: Catalog, halted: str | None = None) -> None:
    """Say how a `once` ended, for who asks later: until then it was no replica that anybody could see."""
    state = ReplicaState()
    state.halted(halted)
    with anyio.move_on_after(LAST_WORD_SECONDS, shield=True):
        try:
            await catalog.replicas.say(replace(state.says(source), name=ONCE))
        except ReconcilerError as error:
            log.debug("how this run ended was not said", reason=str(error))


async def log_orders(catalog: Catalog) -> None:
    """Log each order that is given from now on, on every replica, until cancelled."""
    last: int | None = None
    while True:
        try:
            if last is None:
                last = await catalog.orders.newest()
            for order in await catalog.orders.since(last):
                last = order.id
                log.info("order given", what=order.what, by=order.author, about=order.about)
        except ReconcilerError as error:
            log.debug("orders not read", reason=str(error))
        await anyio.sleep(LOOK_SECONDS)
