"""Every metric that a daemon exports, read from its registry; `python -m tools.metrics_reference` writes
`docs/metrics.md`.

Rules and dashboards are held against `metric_names` and `metric_labels`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from reconciler.model import (
    DAYS,
    Capabilities,
    Evict,
    HintsStanding,
    InventoryUsed,
    Lately,
    ListingOrder,
    Mode,
    Pass,
    PassKind,
    Quota,
    QuotaOwner,
    QuotaStanding,
    Reading,
    Standing,
    Storage,
    StoragePart,
    Tally,
    Undecided,
    Unsent,
)
from reconciler.settings import Source
from reconciler.stores.s3 import OPERATIONS, OUTCOMES
from reconciler.telemetry.limits import LimitsInForce
from reconciler.telemetry.metrics import Metrics, daemon_registry
from reconciler.telemetry.metrics.media import media_registry

REFERENCE = Path(__file__).parent.parent / "docs" / "metrics.md"
NAMESPACE = "media_reconciler_"
NOW = datetime(2026, 1, 1, tzinfo=UTC)

ABOUT = """\
# Metrics

<!-- Written by `python -m tools.metrics_reference` from the program's own registry: do not edit. -->

`reconciler run` serves these at `/metrics` in Prometheus' text format, and as OpenMetrics on request.
Counters and the children of closed label sets exist from the start, at zero.

Metrics *of the leader* are exported by the replica that holds the lease, and by no other: a replica that
loses it drops them at once. A new leader reads them from the database within seconds of its election, and the
storage a little later; it does not export what it does not know yet. So `sum(...)` over all replicas is
right, and a gap is a change of leader. Only the leader increments the counters of work, but every replica has
them: use `sum(rate(...))`.

`reconciler media` serves its own, the requests to the store and the calls to the database, and those of the
process.

`…_timestamp_seconds` is Unix time, 0 for never.
"""

LABELS: Mapping[str, str] = {
    "by": "the open transaction as pid, application and start; empty while none holds deletions back",
    "pass": "the pass's number",
    "prefix": "managed prefixes: the first 20, and the rest as `(other)`; `(all)` where the whole bucket is"
    " managed; `(outside)` for marks of former prefixes",
    "trip_reason": "in words, as `reconciler passes` prints it; one at a time of each kind",
    "hash": "16 hexadecimal digits",
    "media_type": "as in the rows, in lower case; `unknown` where a row has none, `other` beyond the 20"
    " largest pairs",
    "provider": "as `media_type`",
    "quota": "the name of the rule that sets it; `(global)` for `QUOTA__…`",
    "setting": "as in the YAML files: `dry_run`, `breaker.max_count`",
    "version": "the program's version",
}
"""What labels of open sets say; the values of the others are listed."""

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
}
UNITS = (
    ("_timestamp_seconds", "Unix time, s"),
    ("_start_time_seconds", "Unix time, s"),
    ("_keys_per_second", "keys/s"),
    ("_seconds", "s"),
    ("_bytes", "bytes"),
)


def _everything_known(metrics: Metrics) -> None:
    """What every replica tells once it has reached store and database."""
    metrics.settings_in_force(Mode.LIVE, "")
    metrics.settings_read(valid=True)
    metrics.delivered("cdn", "bunny", 0, 0, away=False)
    metrics.store_probed(
        Capabilities(
            order=ListingOrder.BYTES,
            conditional_batch_delete=False,
            conditional_delete=False,
            batch_digest=None,
            batch_size=1,
        )
    )
    metrics.sources.tell({each: each for each in Source})
    metrics.limits.follow(lambda: LimitsInForce(keys_a_second=1, batches=1, pages=1))


def _leading(metrics: Metrics) -> None:
    """What the leader tells once it has looked at everything."""
    metrics.elected(1)
    metrics.leading(leader=True)
    metrics.drift({}, 0)
    metrics.refused(0, 0)
    metrics.blocked(None)
    metrics.queue_read(readable=True)
    metrics.events_read(Reading.TAKEN, 0, 0.0)
    metrics.hinted({}, HintsStanding())
    metrics.inventory_taken(InventoryUsed(name="", digest="", began_at=NOW, delivered_at=NOW))
    undecided = Undecided(pass_id=1, reason="", since=NOW)
    metrics.standing_read(Standing(by_prefix={"image/": {}}, tripped=dict.fromkeys(PassKind, undecided)))
    metrics.lately_read(Lately(freed=dict.fromkeys(DAYS, 0), restored=dict.fromkeys(DAYS, 0)))
    for kind in (PassKind.SWEEP, PassKind.RETENTION):  # departures have no time of their own
        metrics.resting(kind, 0)
    rest = StoragePart(names=("other", "other"), objects=0, bytes=0)
    metrics.storage_read(Storage(at=NOW, largest=(), other=rest))
    limit = Quota(name="", max_bytes=1, max_objects=None, owner=QuotaOwner.VIRTUAL_KEY, evict=Evict.NEVER)
    metrics.quotas_read([QuotaStanding(quota=limit, reached=(0, 0), nearest=())])
    metrics.holds_recalled({})
    metrics.outbox_read({"cdn": Unsent(pending=0, oldest=None)})
    metrics.erasures_read(())
    for kind in PassKind:
        released = Pass(
            id=1, kind=kind, cutoff=NOW, config_hash="", mode=Mode.LIVE, order=None, tally=Tally()
        )
        metrics.pass_recalled(kind, None, released)


@functools.cache
def _registry(*, leads: bool) -> CollectorRegistry:
    registry, metrics = daemon_registry(version="", operations=OPERATIONS, outcomes=OUTCOMES)
    _everything_known(metrics)
    if leads:
        _leading(metrics)
    return registry


def of_media() -> Mapping[str, Metric]:
    """What the media service exports and the daemon does not."""
    registry, _ = media_registry(version="", operations=OPERATIONS, outcomes=OUTCOMES)
    found = {_title(each): each for each in registry.collect()}
    return {name: each for name, each in found.items() if name not in families(leads=False)}


def families(*, leads: bool = True) -> Mapping[str, Metric]:
    """By the name that a reader looks for: a counter's with `_total`, an info's with `_info`."""
    return {_title(each): each for each in _registry(leads=leads).collect()}


def metric_names() -> frozenset[str]:
    """Every name that a query may use, `_total`, `_bucket` and so on included."""
    return frozenset(
        each.name + suffix for each in families().values() for suffix in SUFFIXES.get(each.type, ("",))
    )


def metric_labels() -> Mapping[str, frozenset[str]]:
    """The labels of each of those names, without those that Prometheus adds (`job`, `instance`)."""
    return {
        each.name + suffix: frozenset(_label_names(each)) | ({"le"} if suffix == "_bucket" else set())
        for each in families().values()
        for suffix in SUFFIXES.get(each.type, ("",))
    }


def _title(family: Metric) -> str:
    return family.name + (SUFFIXES[family.type][0] if family.type in {"counter", "info"} else "")


def _label_names(family: Metric) -> list[str]:
    return list(dict.fromkeys(name for each in family.samples for name in each.labels if name != "le"))


def _unit(name: str, family: Metric) -> str:
    stem = name.removesuffix("_total")
    if family.type == "info":
        return "1"
    return next((unit for ending, unit in UNITS if stem.endswith(ending)), "")


def _rows(named: Iterable[tuple[str, Metric]]) -> Iterable[str]:
    yield "| metric | type | labels | unit | meaning |"
    yield "|---|---|---|---|---|"
    for name, family in sorted(named):
        labels = ", ".join(f"`{label}`" for label in _label_names(family))
        yield f"| `{name}` | {family.type} | {labels} | {_unit(name, family)} | {family.documentation} |"


def _values() -> Iterable[str]:
    """Each label with its values; once for each set of them, and of open sets what they are."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, family in sorted([*families().items(), *of_media().items()]):
        if family.name.endswith("_store"):
            continue  # in the store's own words
        for label in _label_names(family):
            seen = dict.fromkeys(each.labels[label] for each in family.samples if label in each.labels)
            found.setdefault((label, tuple(sorted(seen))), []).append(f"`{name}`")
    yield "| label | of | values |"
    yield "|---|---|---|"
    for (label, values), names in sorted(found.items()):
        listed = ", ".join(f"`{value}`" for value in values)
        yield f"| `{label}` | {', '.join(names)} | {LABELS.get(label, listed)} |"


def reference() -> str:
    """The text of `docs/metrics.md`."""
    everybody, leader = families(leads=False), families()
    ours = [(name, each) for name, each in everybody.items() if name.startswith(NAMESPACE)]
    process = [(name, each) for name, each in everybody.items() if not name.startswith(NAMESPACE)]
    only = [(name, each) for name, each in leader.items() if name not in everybody]
    sections = (
        ("Of every replica", _rows(ours)),
        ("Of the leader", _rows(only)),
        ("Of the media service", _rows(of_media().items())),
        ("Of the process", _rows(process)),
        ("Labels", _values()),
    )
    told = [f"## {title}\n\n" + "\n".join(rows) + "\n" for title, rows in sections]
    return "\n".join([ABOUT, *told])


if __name__ == "__main__":
    REFERENCE.write_text(reference())
    print(f"wrote {REFERENCE}")
