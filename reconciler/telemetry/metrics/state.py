"""Metrics of a replica's state: version, leadership, stops, clocks, store, settings."""

from collections.abc import Callable, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry

from reconciler.model import Capabilities, Mode, ModeSince
from reconciler.telemetry.names import gauge, info
from reconciler.telemetry.observers import NullObserver


def store_labels(found: Capabilities) -> dict[str, str]:
    """The capabilities as labels, each with a handful of values."""
    compares = {"batch": found.conditional_batch_delete, "single": found.conditional_delete}
    copies = {"conditional": found.copy_conditional, "plain": found.copy}

    def first(kinds: Mapping[str, bool]) -> str:
        return next((kind for kind, can in kinds.items() if can), "none")

    return {
        "listing_order": found.order,
        "start_after": _flag(found.start_after),
        "rewrites_keys": _flag(found.rewrites_keys),
        "batch_digest": found.batch_digest or "none",
        "batch_size": str(found.batch_size),
        "conditional_delete": first(compares),
        "conditional_put": found.conditional_put,
        "etags": _flag(found.etags),
        "lists": _flag(found.lists),
        "versioning": found.versioning,
        "undelete": _flag(found.undelete),
        "object_lock": _flag(found.object_lock),
        "copy": first(copies),
        "multipart_copy": _flag(found.multipart_copy),
        "multipart_listing": _flag(found.multipart_listing),
        "probed": _flag(found.probed),
    }


def _flag(value: bool) -> str:  # noqa: FBT001 - a value, not a choice
    return "true" if value else "false"


class StateMetrics(NullObserver):
    """Gauges of every replica."""

    _now: Callable[[], float]

    def _make_state(self, registry: CollectorRegistry, version: str) -> None:
        info(registry, "build", "The running version.").info({"version": version})
        self._leader = gauge(registry, "leader", "1 while this replica holds the lease.")
        self._halted = gauge(registry, "halted", "1 while the daemon stays idle until a person has acted.")
        self._paused = gauge(
            registry, "paused", "1 while an operator has stopped every deletion, as last read."
        )
        self._paused_since = gauge(
            registry,
            "paused_since_timestamp_seconds",
            "Since when every deletion has been stopped; 0 while none is.",
        )
        self._clocks = gauge(
            registry,
            "clock_ahead_seconds",
            "How far another clock is ahead of this machine's, as last compared.",
            "clock",
        )
        for clock in ("database", "store"):
            self._clocks.labels(clock)
        text = "What the last probe of the object store found it to do, on scratch keys."
        self._store = info(registry, "store", text)
        self._probed = gauge(
            registry, "store_probed_timestamp_seconds", "When the store was last probed; 0 for never."
        )
        self._make_settings(registry)

    def _make_settings(self, registry: CollectorRegistry) -> None:
        self._dry_run = gauge(registry, "dry_run", "1 while the write gateway refuses every deletion.")
        self._dry_run_since = gauge(
            registry,
            "dry_run_since_timestamp_seconds",
            "Since when passes on any replica have been in dry run; 0 while deletions are let through.",
        )
        self._price = gauge(
            registry,
            "price_per_gib_month",
            "What a GiB costs in a month, as set and in the currency meant there; 0 for not set.",
        )
        self._own_dry_run: float | None = None
        self._dry_run_passes: float | None = None
        text = "Hash of the settings in force that can change a verdict or a release; each pass records it."
        self._config = info(registry, "config", text)
        self._reload_ok = gauge(
            registry, "config_last_reload_successful", "1 if the settings last read were valid."
        )
        self._reloaded = gauge(
            registry,
            "config_last_reload_success_timestamp_seconds",
            "When valid settings were last read.",
        )

    def halted(self, reason: str | None) -> None:
        self._halted.set(reason is not None)

    def paused(self, *, paused: bool, since: datetime | None) -> None:
        self._paused.set(paused)
        self._paused_since.set(since.timestamp() if since else 0.0)

    def clocks(self, ahead: Mapping[str, float]) -> None:
        for name, seconds in ahead.items():
            self._clocks.labels(name.removeprefix("the ")).set(seconds)

    def store_probed(self, found: Capabilities) -> None:
        """Take the capabilities that a probe has just found."""
        self._store.info(store_labels(found))
        self._probed.set(self._now())

    def settings_in_force(self, mode: Mode, config_hash: str) -> None:
        """Take the mode that the write guard now applies, and the hash that the next pass records."""
        self._dry_run.set(mode is Mode.DRY_RUN)
        self._config.info({"hash": config_hash})
        if mode is Mode.LIVE:
            self._own_dry_run = self._dry_run_passes = None
        elif self._own_dry_run is None:
            self._own_dry_run = self._now()
        self._set_dry_run()

    def priced(self, per_gib_month: float) -> None:
        """Take the price that is set."""
        self._price.set(per_gib_month)

    def mode_recalled(self, last: ModeSince | None) -> None:
        """Take the mode of the newest passes on any replica: a restart does not reset the dry run's start."""
        dry = last is not None and last.mode is Mode.DRY_RUN
        self._dry_run_passes = last.since.timestamp() if last is not None and dry else None
        self._set_dry_run()

    def _set_dry_run(self) -> None:
        own = self._own_dry_run
        self._dry_run_since.set(0 if own is None else min(own, self._dry_run_passes or own))

    def settings_read(self, *, valid: bool) -> None:
        """Record whether the last read of the settings' files succeeded."""
        self._reload_ok.set(valid)
        if valid:
            self._reloaded.set(self._now())
