"""What the engine runs with: the ports it acts through, and the current settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias

from reconciler import ports
from reconciler.engine.runtime.clocks import Clocks
from reconciler.engine.runtime.pause import PauseWatch
from reconciler.engine.runtime.quarantine import Quarantines
from reconciler.engine.runtime.steps import UNTRACED
from reconciler.engine.runtime.throttle import Throttles
from reconciler.model import AdoptionTerms, BreakerLimits, Capabilities, Mode, Notary, Policy
from reconciler.planning import group_policies


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """One consistent reading of the settings. A pass keeps its own; the collector reads it for each batch.

    `rate` is in keys a second, infinite for unlimited. `config_hash` covers every setting that changes a
    verdict or a release. `by_group_policy`: Conduit's policies are the rules, and `policy` is without them
    until `ruled` has read them.
    """

    mode: Mode
    policy: Policy
    limits: BreakerLimits
    config_hash: str
    rate: float
    approval_ttl: timedelta
    upload_window: timedelta
    undo_window: timedelta
    ledger_retention: timedelta
    abort_multipart_after: timedelta
    hold_for: timedelta
    departure_delay: timedelta
    integrity_interval: timedelta | None
    by_group_policy: bool = False
    adoption: AdoptionTerms | None = None
    """How sweeps adopt objects without a row; None: they do not."""


SettingsInForce: TypeAlias = Callable[[], RuntimeSettings]
"""Gives the settings in force at the moment of the call."""


async def ruled(settings: RuntimeSettings, records: ports.Records) -> RuntimeSettings:
    """The settings with the rules of Conduit's policies as they are now, where those are the source."""
    if not settings.by_group_policy:
        return settings
    policies = await records.group_policies()
    return replace(settings, policy=group_policies.under(policies, settings.policy))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How wide the engine works and how long it waits; fixed for the life of the program."""

    listing_concurrency: int
    delete_concurrency: int
    copy_concurrency: int
    lease_ttl: timedelta
    request_timeout: timedelta
    sweep_interval: timedelta
    retention_interval: timedelta

    @property
    def longest_call(self) -> timedelta:
        """The longest that a call to the store lasts. A dead epoch's last began before its lease ended."""
        return 2 * self.request_timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Every port that the engine acts through, as the composition root wired them.

    `pause`, `throttles`, `clocks` and `quarantines` belong to the engine: each watches another port, or the
    adapter.
    """

    listing: ports.Listing
    store: ports.ObjectStore
    descriptions: ports.Descriptions
    copies: ports.Copies
    versions: ports.Versions
    uploads: ports.Uploads
    identity: ports.IdentityObject
    prober: ports.Prober
    records: ports.Records
    staging: ports.StagingArea
    passes: ports.Passes
    departures: ports.Departures
    near_misses: ports.NearMisses
    marks: ports.Marks
    lease: ports.Lease
    site: ports.Site
    budget: ports.Budget
    pause: PauseWatch
    throttles: Throttles
    clocks: Clocks
    quarantines: Quarantines
    holds: ports.Holds
    jobs: ports.Jobs
    recovery: ports.Recovery
    adoptions: ports.Adoptions
    purges: ports.Purges
    outbox: ports.Outbox
    erasures: ports.Erasures
    certificates: ports.Certificates
    notary: Notary
    clock: ports.Clock
    observer: ports.Observer
    capabilities: Capabilities
    tracer: ports.Tracer = UNTRACED
    channels: Sequence[ports.Channel] = ()
    inventories: ports.Inventories | None = None
    """Where sweeps take the store's inventories instead of listing the bucket."""
