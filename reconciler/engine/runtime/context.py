"""What the engine runs with: the ports it acts through, and the current settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from reconciler.engine.runtime.clocks import Clocks
from reconciler.engine.runtime.pause import PauseWatch
from reconciler.engine.runtime.steps import UNTRACED
from reconciler.engine.runtime.throttle import Throttles
from reconciler.model import BreakerLimits, Capabilities, Mode, Policy
from reconciler.ports import (
    Budget,
    Clock,
    Copies,
    Holds,
    IdentityMarker,
    Lease,
    Listing,
    Marks,
    NearMisses,
    ObjectStore,
    Observer,
    Passes,
    Prober,
    Purges,
    Records,
    Recovery,
    Site,
    StagingArea,
    Tracer,
    Uploads,
    Versions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """One consistent reading of the settings. A pass keeps its own; the collector reads it for each batch.

    `rate` is in keys a second, infinite for unlimited. `config_hash` covers every setting that changes a
    verdict or a release.
    """

    mode: Mode
    policy: Policy
    limits: BreakerLimits
    config_hash: str
    rate: float
    upload_window: timedelta
    undo_window: timedelta = timedelta(days=7)
    ledger_retention: timedelta = timedelta(days=90)
    abort_multipart_after: timedelta = timedelta(days=7)
    hold_for: timedelta = timedelta(days=30)


Steer: TypeAlias = Callable[[], Steering]
"""Gives the current steering at the moment of the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How wide the engine works and how long it waits; fixed for the life of the program."""

    listing_concurrency: int = 16
    delete_concurrency: int = 32
    copy_concurrency: int = 128
    lease_ttl: timedelta = timedelta(seconds=15)
    request_timeout: timedelta = timedelta(seconds=30)
    sweep_interval: timedelta = timedelta(hours=6)
    retention_interval: timedelta = timedelta(minutes=5)

    @property
    def longest_call(self) -> timedelta:
        """The longest that a call to the store lasts. A dead epoch's last began before its lease ended."""
        return 2 * self.request_timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Every port that the engine acts through, as the composition root wired them.

    `pause`, `throttles` and `clocks` belong to the engine: each watches another port, or the adapter.
    """

    listing: Listing
    store: ObjectStore
    copies: Copies
    versions: Versions
    uploads: Uploads
    marker: IdentityMarker
    prober: Prober
    records: Records
    staging: StagingArea
    passes: Passes
    near_misses: NearMisses
    marks: Marks
    lease: Lease
    site: Site
    budget: Budget
    pause: PauseWatch
    throttles: Throttles
    clocks: Clocks
    holds: Holds
    recovery: Recovery
    purges: Purges
    clock: Clock
    observer: Observer
    capabilities: Capabilities
    tracer: Tracer = UNTRACED
