"""Gauges of what only the leader knows. They appear once their value is known, and vanish with its term."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias, TypeVar

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reconciler.model import (
    QUOTA_REACHED,
    VERDICTS,
    ErasureCase,
    HintsStanding,
    HoldKind,
    InventoryUsed,
    KeepReason,
    Lately,
    PassKind,
    Phase,
    QuotaStanding,
    Standing,
    Storage,
    Tally,
    Undecided,
    Unsent,
    Verdict,
)
from reconciler.telemetry.names import NAMESPACE

Label = TypeVar("Label", bound=str)
PREFIXES, OTHER = 20, "(other)"
"""Managed prefixes that are exported by name; the rest is added up. Few sites have more than a handful."""

READ_SELDOM = " Read when a term begins and at every RECONCILER_ACCOUNTING_INTERVAL (1h)."

Drift: TypeAlias = Mapping[Verdict, tuple[int, int, datetime | None]]


@dataclass(slots=True)
class Known:
    """What this term has learnt so far. None is not known yet and not exported: 0 would be false."""

    epoch: int | None = None
    drift: Drift | None = None
    waiting: int | None = None
    hidden: tuple[int, int] | None = None
    refused: tuple[int, int] | None = None
    blocked_by: str | None = None
    """Empty where nothing blocks."""
    standing: Standing | None = None
    storage: Storage | None = None
    quotas: Sequence[QuotaStanding] | None = None
    lately: Lately | None = None
    unsent: Mapping[str, Unsent] | None = None
    erasures: Sequence[ErasureCase] | None = None
    """Those that are open, the oldest first."""
    hints: HintsStanding | None = None
    inventory: InventoryUsed | None = None
    queue_readable: bool | None = None
    events_late: float | None = None
    next_pass: dict[PassKind, float] = field(default_factory=dict)
    phases: dict[PassKind, Phase | None] = field(default_factory=dict)


class LeaderGauges(Collector):
    """Gauges of what only the leader knows; a replica that does not lead exports none of them.

    A gauge that stayed behind after a demotion would go on showing an outdated value.
    """

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._now = wall_clock
        self.leading = False
        self.known = Known()
        self.listed: Tally | None = None
        self.kept: dict[PassKind, Mapping[KeepReason, int]] = {}
        self.holds: Mapping[HoldKind, int] | None = None

    def begin(self, epoch: int) -> None:
        """Begin another term and forget everything known."""
        self.known = Known(epoch=epoch)

    def collect(self) -> Iterable[Metric]:
        if not self.leading:
            return
        known = self.known
        yield from _term(known)
        if known.drift is not None:
            yield from self._drifting(known.drift)
        if known.standing is not None:
            yield from self._standing(known.standing)
        if known.hidden is not None:
            yield from _hiding(*known.hidden)
        if known.storage is not None:
            yield from _storing(known.storage)
        if known.quotas is not None:
            yield _limiting(known.quotas)
        if known.lately is not None:
            yield from _happened(known.lately)
        yield from _hinting(known)
        if known.inventory is not None:
            yield from _taking(known.inventory)
        if known.unsent is not None:
            yield from self._unsent(known.unsent)
        yield from self._erasing(known.erasures)
        yield from self._recalled()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not ask for values that a standby does not have."""
        return ()

    def _age(self, since: datetime | None) -> float:
        return max(0.0, self._now() - since.timestamp()) if since else 0.0

    def _drifting(self, drift: Drift) -> Iterable[Metric]:
        found = {verdict: drift.get(verdict, (0, 0, None)) for verdict in VERDICTS}
        keys = {verdict: number for verdict, (number, _, _) in found.items()}
        yield _by("verdict", "drift_keys", "Marked storage keys still to be deleted, by verdict.", keys)
        sizes = {verdict: size for verdict, (_, size, _) in found.items()}
        yield _by("verdict", "drift_bytes", "Bytes of the marked storage keys, by verdict.", sizes)
        ages = {verdict: self._age(oldest) for verdict, (_, _, oldest) in found.items()}
        text = "Time since the oldest mark was first seen; 0 without marks."
        yield _by("verdict", "drift_oldest_age_seconds", text, ages)

    def _standing(self, standing: Standing) -> Iterable[Metric]:
        yield _single(
            "marks_due",
            "Marks that are released and due and still open, including claimed, put off and refused ones."
            " In dry run those that would be deleted.",
            standing.due,
        )
        yield _single(
            "marks_due_oldest_age_seconds",
            "How long the oldest due mark has been due; 0 without due marks.",
            self._age(standing.oldest_due),
        )
        soon = {verdict: standing.due_soon.get(verdict, 0) for verdict in VERDICTS}
        text = "Released marks that are not due yet and will be within 24 hours, by verdict."
        yield _by("verdict", "marks_due_soon", text, soon)
        yield from _undecided(standing.tripped)
        yield from _within_prefixes(standing.by_prefix)
        text = "Keys that a row needs and that are to be brought back."
        yield _single("restores_waiting", text, standing.restores)
        text = "How long the first of the keys to be brought back has waited; 0 without any."
        yield _single("restores_waiting_oldest_age_seconds", text, self._age(standing.oldest_restore))
        text = "Rows that left the media table and that no pass has looked at yet."
        yield _single("departures_waiting", text, standing.departures)
        text = "How long the first of these has waited; 0 without any."
        yield _single("departures_oldest_age_seconds", text, self._age(standing.oldest_departure))
        ranges = {"done": standing.ranges_done, "open": standing.ranges_open}
        text = "Key ranges of the ordered sweep under way; 0 between sweeps."
        yield _by("state", "key_ranges", text, ranges)

    def _unsent(self, unsent: Mapping[str, Unsent]) -> Iterable[Metric]:
        pending = {channel: each.pending for channel, each in unsent.items()}
        text = "Messages still to be sent, by channel; also of one that the settings no longer have."
        yield _by("channel", "outbox_messages", text, pending)
        ages = {channel: self._age(each.oldest) for channel, each in unsent.items()}
        text = "How long the first of these has waited; 0 without any."
        yield _by("channel", "outbox_oldest_age_seconds", text, ages)
        off = {channel: each.switched_off for channel, each in unsent.items()}
        text = "1 while a channel is switched off, since its receiver wants no more."
        yield _by("channel", "channel_switched_off", text, off)

    def _erasing(self, erasures: Sequence[ErasureCase] | None) -> Iterable[Metric]:
        if erasures is None:
            return
        yield _single("erasures_open", "Erasures with proof that have no certificate yet.", len(erasures))
        age = self._age(erasures[0].ordered_at if erasures else None)
        text = "Time since the first of these was ordered; 0 without any."
        yield _single("erasures_open_oldest_age_seconds", text, age)

    def _recalled(self) -> Iterable[Metric]:
        """Metrics of the last released passes, run by any replica."""
        if self.listed is not None:
            listed = self.listed
            yield _single("bucket_objects", "Objects that the last finished sweep listed.", listed.objects)
            yield _single(
                "bucket_bytes", "Bytes of the objects that the last finished sweep listed.", listed.bytes
            )
            yield _single(
                "expired_by_store_records",
                "Records whose objects the store expired by itself, as the last finished sweep found.",
                listed.expired_by_store,
            )
        kept = _family(
            "kept_keys",
            "Keys that looked like drift to the last released pass and are kept, by reason.",
            "kind",
            "reason",
        )
        for kind, reasons in self.kept.items():
            for reason in KeepReason:
                kept.add_metric([kind, reason], reasons.get(reason, 0))
        yield kept
        if self.holds is not None:
            holds = {what: self.holds.get(what, 0) for what in HoldKind}
            yield _by("kind", "holds", "Holds in force, by what they name.", holds)


def _term(known: Known) -> Iterable[Metric]:
    if known.epoch is not None:
        yield _single(
            "lease_epoch", "Number of this term, which grows with every change of leader.", known.epoch
        )
    if known.next_pass:
        text = "When the next pass is to begin; in the past while one is under way."
        yield _by("kind", "pass_next_timestamp_seconds", text, known.next_pass)
    phases = _family(
        "pass_phase", "1 for what the pass under way is doing; 0 for all between passes.", "kind", "phase"
    )
    for kind in PassKind:
        for phase in Phase:
            phases.add_metric([kind, phase], known.phases.get(kind) is phase)
    yield phases
    if known.waiting is not None:
        yield _single(
            "marks_pending",
            "Released marks that no claim could take at the last look: not due, put off or claimed.",
            known.waiting,
        )
    if known.refused is not None:
        text = "Keys that stay because the database does not let their rows go, by what is of the object."
        yield _by("object", "rows_refused", text, dict(zip(("kept", "gone"), known.refused, strict=True)))
    if known.blocked_by is not None:
        text = "1 while an open transaction holds deletions back; the label names it."
        yield _by("by", "deletion_blocked", text, {known.blocked_by: bool(known.blocked_by)})


def _undecided(tripped: Mapping[PassKind, Undecided]) -> Iterable[Metric]:
    """One series a kind at most, whatever the reasons: `passes` lists the same passes."""
    text = "1 while passes of the kind have tripped and a person has to decide: one decision is about all."
    yield _by("kind", "passes_tripped", text, {kind: kind in tripped for kind in PassKind})
    text = "Since when the first of them has waited; 0 while none does."
    since = {kind: tripped[kind].since.timestamp() if kind in tripped else 0.0 for kind in PassKind}
    yield _by("kind", "passes_tripped_since_timestamp_seconds", text, since)
    named = _family(
        "pass_tripped_info",
        "The pass to decide about, by the number to approve or discard, and why it waits.",
        "kind",
        "pass",
        "trip_reason",
    )
    for kind, each in tripped.items():
        named.add_metric([kind, str(each.pass_id), each.reason], 1)
    yield named


def _within_prefixes(by_prefix: Mapping[str, Mapping[Verdict, tuple[int, int]]]) -> Iterable[Metric]:
    labels = ("prefix", "verdict")
    text = "Marked storage keys, by managed prefix and verdict."
    keys = _family("drift_prefix_keys", text, *labels)
    text = "Bytes of the marked storage keys, by managed prefix and verdict."
    sizes = _family("drift_prefix_bytes", text, *labels)
    found: dict[str, Counter[Verdict]] = {}
    stored: dict[str, Counter[Verdict]] = {}
    for place, (prefix, drift) in enumerate(by_prefix.items()):
        name = prefix if place < PREFIXES else OTHER
        found.setdefault(name, Counter()).update({each: drift.get(each, (0, 0))[0] for each in VERDICTS})
        stored.setdefault(name, Counter()).update({each: drift.get(each, (0, 0))[1] for each in VERDICTS})
    for name, numbers in found.items():
        for verdict in VERDICTS:
            keys.add_metric([name, verdict], numbers[verdict])
            sizes.add_metric([name, verdict], stored[name][verdict])
    yield keys
    yield sizes


def _happened(lately: Lately) -> Iterable[Metric]:
    text = f"Bytes that went for good in the last days, as far as the ledger goes back.{READ_SELDOM}"
    freed = {f"{days}d": size for days, size in lately.freed.items()}
    yield _by("window", "ledger_freed_bytes", text, freed)
    text = (
        "Objects brought back in the last days, by healing and by undo, as far as the ledger goes back."
        f"{READ_SELDOM}"
    )
    restored = {f"{days}d": objects for days, objects in lately.restored.items()}
    yield _by("window", "ledger_restored_objects", text, restored)


HINTED = (Verdict.ORPHAN, Verdict.DANGLING)
"""What is found where an event says to look."""


def _hinting(known: Known) -> Iterable[Metric]:
    """Where the store tells of its objects by a queue."""
    if known.queue_readable is not None:
        text = "1 if the queue of the store's events answered when it was last read."
        yield _single("event_queue_readable", text, known.queue_readable)
    if known.events_late is not None:
        text = "How long after it happened the newest event was read, of those last read."
        yield _single("events_late_seconds", text, known.events_late)
    if known.hints is not None:
        text = "Keys that events named and that are still to be looked at, or again."
        yield _single("hints_waiting", text, known.hints.waiting)
        found = {verdict: known.hints.found.get(verdict, 0) for verdict in HINTED}
        text = "Keys that events named and that the next sweep would find, by verdict."
        yield _by("verdict", "hints_found", text, found)


def _taking(used: InventoryUsed) -> Iterable[Metric]:
    """Where sweeps take the store's inventories."""
    text = "When the inventory began that the last sweep took: what came later, it may not know."
    yield _single("inventory_began_timestamp_seconds", text, used.began_at.timestamp())
    text = "When the store had made the inventory that the last sweep took."
    yield _single("inventory_delivered_timestamp_seconds", text, used.delivered_at.timestamp())


def _hiding(objects: int, size: int) -> Iterable[Metric]:
    yield _single("hidden_objects", "Deleted objects that can still be brought back.", objects)
    yield _single("hidden_bytes", "Bytes of deleted objects that are not freed before their purge.", size)


def _storing(storage: Storage) -> Iterable[Metric]:
    """Export the largest pairs by name and the rest as `other`, which bounds the number of labels."""
    labels = ("media_type", "provider")
    objects = _family(
        "storage_objects", "Objects named by rows in the managed prefixes, one per row.", *labels
    )
    size = _family("storage_bytes", "Bytes of the objects named by rows, as the rows give them.", *labels)
    # A provider may be called `other`, and no series may be exported twice.
    keys, stored = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for part in (*storage.largest, storage.other):
        keys[part.names] += part.objects
        stored[part.names] += part.bytes
    for names, number in keys.items():
        objects.add_metric(names, number)
        size.add_metric(names, stored[names])
    yield objects
    yield size
    yield _single(
        "storage_accounted_timestamp_seconds",
        "When the rows were last counted by media type and provider.",
        storage.at.timestamp(),
    )


GLOBAL_QUOTA = "(global)"
"""The quota of the global settings: no rule has that name."""


def _limiting(quotas: Sequence[QuotaStanding]) -> Metric:
    """Owners are counted and not named: `reconciler storage` names them."""
    owners = _family(
        "quota_owners",
        "Owners that keep this much of their quota or more, in per cent, when the rows were last counted; the"
        " label quota is the name of its rule.",
        "quota",
        "evict",
        "reached",
    )
    for each in quotas:
        for share, number in zip(QUOTA_REACHED, each.reached, strict=True):
            labels = (each.quota.name or GLOBAL_QUOTA, each.quota.evict.value, f"{share * 100:.0f}")
            owners.add_metric(labels, number)
    return owners


def _by(label: str, name: str, text: str, values: Mapping[Label, float]) -> GaugeMetricFamily:
    family = _family(name, text, label)
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{NAMESPACE}_{name}", text, labels=labels)


def _single(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{NAMESPACE}_{name}", text, value=value)
