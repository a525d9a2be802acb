"""Metrics as Prometheus sees them: every test scrapes, and none looks inside."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from reconciler.model import (
    VERDICTS,
    Capabilities,
    Digest,
    ErasureCase,
    ErasureKind,
    HintsStanding,
    HoldKind,
    InventoryUsed,
    KeepReason,
    Lately,
    Left,
    ListingOrder,
    Mode,
    ModeSince,
    Outcome,
    Pass,
    PassKind,
    Phase,
    Reading,
    Standing,
    Storage,
    StoragePart,
    Tally,
    Undecided,
    Unsent,
    Verdict,
    Versioning,
)
from reconciler.ports import Observer
from reconciler.telemetry.health import Health
from reconciler.telemetry.metrics import Metrics
from reconciler.telemetry.observers import CompositeObserver, NullObserver

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OPERATIONS = ("ListObjectsV2", "DeleteObjects")
OUTCOMES = ("ok", "throttled")
HASH = "00112233445566ff"


@pytest.fixture
def registry() -> CollectorRegistry:
    disable_created_metrics()  # type: ignore[no-untyped-call]  # as the daemon does
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(
        registry, version="1.2.3", operations=OPERATIONS, outcomes=OUTCOMES, wall_clock=NOW.timestamp
    )


def families(registry: CollectorRegistry) -> Mapping[str, Metric]:
    text = generate_latest(registry).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """The one sample of that name and exactly those labels; None where it is not exported."""
    found = [
        sample.value
        for family in families(registry).values()
        for sample in family.samples
        if sample.name == f"media_reconciler_{name}" and sample.labels == labels
    ]
    assert len(found) <= 1
    return found[0] if found else None


def test_every_child_exists_from_the_start_at_zero(registry: CollectorRegistry, metrics: Metrics) -> None:
    for mode in ("live", "dry_run"):
        for result in ("deleted", "missing", "changed", "present", "spared", "untouched", "failed"):
            labels = {"action": "delete_object", "result": result, "mode": mode}
            assert value(registry, "actions_total", **labels) == 0
        for result in ("deleted", "lost"):
            labels = {"action": "delete_record", "result": result, "mode": mode}
            assert value(registry, "actions_total", **labels) == 0
        for verdict in ("orphan", "dangling", "expired", "stale", "revoked", "ownerless"):
            assert value(registry, "deleted_keys_total", verdict=verdict, mode=mode) == 0
            assert value(registry, "deleted_bytes_total", verdict=verdict, mode=mode) == 0
    for kind in ("sweep", "retention"):
        assert value(registry, "pass_last_attempt_timestamp_seconds", kind=kind) == 0
        assert value(registry, "pass_last_success_timestamp_seconds", kind=kind) == 0
        for outcome in ("converged", "pending", "tripped", "halted", "failed"):
            assert value(registry, "pass_duration_seconds_count", kind=kind, outcome=outcome) == 0
    for name in ("pages_listed_total", "keys_listed_total", "records_read_total", "leader", "halted"):
        assert value(registry, name) == 0


def test_every_outcome_of_a_call_exists_from_the_start(registry: CollectorRegistry, metrics: Metrics) -> None:
    for operation in OPERATIONS:
        assert value(registry, "request_duration_seconds_count", operation=operation) == 0
        for outcome in OUTCOMES:
            assert value(registry, "requests_total", operation=operation, outcome=outcome) == 0
    for outcome in ("ok", "retried", "failed"):
        assert value(registry, "database_calls_total", outcome=outcome) == 0
    for outcome in ("ok", "failed", "lost"):
        assert value(registry, "lease_renewals_total", outcome=outcome) == 0
    assert value(registry, "database_call_duration_seconds_count") == 0


def test_names_follow_prometheus_conventions(registry: CollectorRegistry, metrics: Metrics) -> None:
    lead(metrics)
    for name, family in families(registry).items():
        assert name.startswith("media_reconciler_")
        assert family.documentation.endswith(".")
        if family.type == "counter":
            counted = {sample.name for sample in family.samples if not sample.name.endswith("_created")}
            assert counted == {f"{name}_total"}
        if family.type == "histogram":
            assert name.endswith("_seconds")
        assert not name.endswith("_total") or family.type == "counter"


@pytest.mark.debian("prometheus")
def test_promtool_finds_nothing_to_mend(registry: CollectorRegistry, metrics: Metrics) -> None:
    lead(metrics)
    promtool = shutil.which("promtool")
    assert promtool is not None
    told = subprocess.run(
        [promtool, "check", "metrics"],
        input=generate_latest(registry),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


def test_a_pause_is_told_by_every_replica(registry: CollectorRegistry, metrics: Metrics) -> None:
    def told() -> tuple[float | None, float | None]:
        return value(registry, "paused"), value(registry, "paused_since_timestamp_seconds")

    assert told() == (0, 0)
    metrics.paused(paused=True, since=NOW)
    assert told() == (1, NOW.timestamp())
    metrics.paused(paused=False, since=None)
    assert told() == (0, 0)


def test_a_setting_whose_source_changes_leaves_nothing_behind(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    def told(source: str) -> float | None:
        return value(registry, "setting_source", setting="dry_run", source=source)

    assert told("environment") is None
    metrics.sources.tell({"dry_run": "environment", "breaker.max_count": "default"})
    assert (told("environment"), told("runtime_file")) == (1, None)
    metrics.sources.tell({"dry_run": "runtime_file", "breaker.max_count": "default"})
    assert (told("environment"), told("runtime_file")) == (None, 1)


def test_clocks_are_told_by_how_far_they_are_ahead(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.clocks({"the database": -2.5, "the store": 400.0})
    assert value(registry, "clock_ahead_seconds", clock="database") == -2.5
    assert value(registry, "clock_ahead_seconds", clock="store") == 400


def test_the_leader_names_the_transaction_that_holds_deletions_back(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    assert value(registry, "deletion_blocked", by="") is None, "nobody has looked yet"
    metrics.blocked(None)
    assert value(registry, "deletion_blocked", by="") == 0
    metrics.blocked("pid 7 (psql), open since 2026-11-22T12:00:00Z")
    assert value(registry, "deletion_blocked", by="pid 7 (psql), open since 2026-11-22T12:00:00Z") == 1
    assert value(registry, "deletion_blocked", by="") is None
    metrics.leading(leader=False)
    assert value(registry, "deletion_blocked", by="pid 7 (psql), open since 2026-11-22T12:00:00Z") is None


def test_build_info_names_the_version(registry: CollectorRegistry, metrics: Metrics) -> None:
    assert value(registry, "build_info", version="1.2.3") == 1


@pytest.mark.incident(22)
def test_what_the_store_can_do_is_told_in_labels_of_a_few_values(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    found = Capabilities(
        order=ListingOrder.BYTES,
        conditional_batch_delete=False,
        conditional_delete=True,
        batch_digest=None,
        batch_size=1,
        versioning=Versioning.SUSPENDED,
        copy=True,
    )
    metrics.store_probed(found)
    metrics.store_probed(replace(found, batch_digest=Digest.MD5, batch_size=250))
    told = [sample.labels for sample in families(registry)["media_reconciler_store_info"].samples]
    assert told == [
        {
            "listing_order": "bytes",
            "start_after": "false",
            "rewrites_keys": "false",
            "batch_digest": "md5",
            "batch_size": "250",
            "conditional_delete": "single",
            "conditional_put": "compared",
            "etags": "true",
            "lists": "true",
            "versioning": "suspended",
            "undelete": "false",
            "object_lock": "false",
            "copy": "plain",
            "multipart_copy": "false",
            "multipart_listing": "false",
            "probed": "true",
        }
    ], "one series, of the last probe"


def test_reading_is_counted(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.page_listed(1000)
    metrics.page_listed(7)
    metrics.records_read(12)
    assert value(registry, "pages_listed_total") == 2
    assert value(registry, "keys_listed_total") == 1007
    assert value(registry, "records_read_total") == 12


def test_requests_are_counted_and_timed(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.request_ended("ListObjectsV2", "ok", 0.2)
    metrics.request_ended("ListObjectsV2", "throttled", 0.3)
    assert value(registry, "requests_total", operation="ListObjectsV2", outcome="ok") == 1
    assert value(registry, "requests_total", operation="ListObjectsV2", outcome="throttled") == 1
    assert value(registry, "request_duration_seconds_count", operation="ListObjectsV2") == 2
    assert value(registry, "request_duration_seconds_bucket", operation="ListObjectsV2", le="0.25") == 1


def test_actions_are_counted_by_action_result_and_mode(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.deleted(Mode.LIVE, Verdict.ORPHAN, "deleted", 3, 300)
    metrics.deleted(Mode.LIVE, Verdict.STALE, "deleted", 2, 20)
    metrics.deleted(Mode.LIVE, Verdict.STALE, "failed", 1, 0)
    metrics.deleted(Mode.LIVE, Verdict.STALE, "record", 2, 0)
    metrics.deleted(Mode.LIVE, Verdict.STALE, "lost", 1, 0)
    metrics.deleted(Mode.DRY_RUN, Verdict.ORPHAN, "deleted", 5, 50)

    def count(action: str, result: str, mode: str) -> float | None:
        return value(registry, "actions_total", action=action, result=result, mode=mode)

    assert count("delete_object", "deleted", "live") == 5
    assert count("delete_object", "failed", "live") == 1
    assert count("delete_record", "deleted", "live") == 2
    assert count("delete_record", "lost", "live") == 1
    assert count("delete_object", "deleted", "dry_run") == 5

    def by_verdict(what: str, verdict: str, mode: str) -> float | None:
        return value(registry, f"deleted_{what}_total", verdict=verdict, mode=mode)

    assert (by_verdict("keys", "orphan", "live"), by_verdict("bytes", "orphan", "live")) == (3, 300)
    assert (by_verdict("keys", "stale", "live"), by_verdict("bytes", "stale", "live")) == (2, 20)
    assert (by_verdict("keys", "orphan", "dry_run"), by_verdict("bytes", "orphan", "dry_run")) == (5, 50)


def test_what_stays_is_not_counted_as_gone_and_rows_without_their_object_are(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    for result in ("changed", "present", "spared", "recoverable", "held", "failed"):
        metrics.deleted(Mode.LIVE, Verdict.DANGLING, result, 1, 0)
    assert value(registry, "deleted_keys_total", verdict="dangling", mode="live") == 0
    metrics.deleted(Mode.LIVE, Verdict.DANGLING, "missing", 2, 0)
    metrics.deleted(Mode.LIVE, Verdict.EXPIRED, "untouched", 1, 0)
    metrics.deleted(Mode.LIVE, Verdict.DANGLING, "record", 3, 0)
    assert value(registry, "deleted_keys_total", verdict="dangling", mode="live") == 2
    assert value(registry, "deleted_keys_total", verdict="expired", mode="live") == 1


@pytest.mark.parametrize(
    ("outcome", "success"),
    [
        (Outcome.CONVERGED, True),
        (Outcome.PENDING, True),
        (Outcome.TRIPPED, False),
        (Outcome.HALTED, False),
        (Outcome.FAILED, False),
    ],
)
def test_a_pass_leaves_its_duration_and_two_timestamps(
    registry: CollectorRegistry, metrics: Metrics, outcome: Outcome, success: bool
) -> None:
    metrics.pass_started(PassKind.SWEEP)
    metrics.pass_finished(PassKind.SWEEP, outcome, 90.0, Tally())
    stamped = NOW.timestamp()
    assert value(registry, "pass_last_attempt_timestamp_seconds", kind="sweep") == stamped
    expected = stamped if success else 0
    assert value(registry, "pass_last_success_timestamp_seconds", kind="sweep") == expected
    assert value(registry, "pass_last_success_timestamp_seconds", kind="retention") == 0
    labels = {"kind": "sweep", "outcome": str(outcome)}
    assert value(registry, "pass_duration_seconds_sum", **labels) == 90
    assert value(registry, "pass_duration_seconds_bucket", le="60.0", **labels) == 0
    assert value(registry, "pass_duration_seconds_bucket", le="21600.0", **labels) == 1


def test_state_is_told_as_it_is(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.settings_in_force(Mode.DRY_RUN, HASH)
    metrics.settings_read(valid=True)
    metrics.halted("the bucket is another's")
    assert value(registry, "dry_run") == 1
    assert value(registry, "halted") == 1
    assert value(registry, "config_last_reload_successful") == 1
    assert value(registry, "config_last_reload_success_timestamp_seconds") == NOW.timestamp()
    metrics.settings_in_force(Mode.LIVE, HASH)
    metrics.settings_read(valid=False)
    metrics.halted(None)
    assert value(registry, "dry_run") == 0
    assert value(registry, "halted") == 0
    assert value(registry, "config_last_reload_successful") == 0
    assert value(registry, "config_last_reload_success_timestamp_seconds") == NOW.timestamp()


LEADER_ONLY = {
    "media_reconciler_drift_keys",
    "media_reconciler_rows_refused",
    "media_reconciler_drift_bytes",
    "media_reconciler_drift_oldest_age_seconds",
    "media_reconciler_marks_pending",
    "media_reconciler_bucket_objects",
    "media_reconciler_expired_by_store_records",
    "media_reconciler_bucket_bytes",
    "media_reconciler_kept_keys",
    "media_reconciler_holds",
    "media_reconciler_hidden_objects",
    "media_reconciler_hidden_bytes",
    "media_reconciler_deletion_blocked",
    "media_reconciler_lease_epoch",
    "media_reconciler_pass_phase",
    "media_reconciler_marks_due",
    "media_reconciler_marks_due_oldest_age_seconds",
    "media_reconciler_departures_waiting",
    "media_reconciler_departures_oldest_age_seconds",
    "media_reconciler_passes_tripped",
    "media_reconciler_key_ranges",
    "media_reconciler_storage_objects",
    "media_reconciler_storage_bytes",
    "media_reconciler_storage_accounted_timestamp_seconds",
    "media_reconciler_pass_next_timestamp_seconds",
    "media_reconciler_marks_due_soon",
    "media_reconciler_passes_tripped_since_timestamp_seconds",
    "media_reconciler_pass_tripped_info",
    "media_reconciler_drift_prefix_keys",
    "media_reconciler_drift_prefix_bytes",
    "media_reconciler_restores_waiting",
    "media_reconciler_restores_waiting_oldest_age_seconds",
    "media_reconciler_ledger_freed_bytes",
    "media_reconciler_ledger_restored_objects",
}


def lead(metrics: Metrics) -> None:
    """A term in which everything is known that a leader tells."""
    metrics.elected(7)
    metrics.delivered("cdn", "bunny", 0, 0, away=False)
    metrics.leading(leader=True)
    metrics.drift({Verdict.ORPHAN: (3, 300, NOW)}, 2)
    metrics.refused(2, 1)
    metrics.blocked(None)
    metrics.standing_read(Standing(drift={Verdict.ORPHAN: (3, 300, NOW)}))
    metrics.storage_read(
        Storage(at=NOW, largest=(), other=StoragePart(names=("other", "other"), objects=0, bytes=0))
    )
    metrics.lately_read(Lately(freed={7: 70, 30: 300}, restored={7: 1, 30: 3}))
    metrics.resting("sweep", 60)
    metrics.holds_recalled({})
    metrics.pass_recalled(PassKind.SWEEP, None, remembered(PassKind.SWEEP, NOW, NOW, Tally()))


def test_the_leader_tells_drift_as_count_bytes_and_age_of_the_oldest(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    metrics.drift({Verdict.ORPHAN: (3, 300, NOW - timedelta(hours=1)), Verdict.STALE: (1, 5, None)}, 2)
    assert value(registry, "leader") == 1
    assert value(registry, "drift_keys", verdict="orphan") == 3
    assert value(registry, "drift_bytes", verdict="orphan") == 300
    assert value(registry, "drift_oldest_age_seconds", verdict="orphan") == 3600
    assert value(registry, "drift_oldest_age_seconds", verdict="stale") == 0
    assert value(registry, "marks_pending") == 2
    for verdict in VERDICTS:
        assert value(registry, "drift_keys", verdict=verdict) is not None


def test_the_next_pass_is_told_until_it_has_rested_again(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    assert "media_reconciler_pass_next_timestamp_seconds" not in families(registry), "not known yet is not 0"
    metrics.resting("sweep", 60)
    metrics.resting("collector", 10)
    metrics.resting("leadership", 1)
    assert value(registry, "pass_next_timestamp_seconds", kind="sweep") == NOW.timestamp() + 60
    assert value(registry, "pass_next_timestamp_seconds", kind="retention") is None
    metrics.pass_started(PassKind.SWEEP)
    assert value(registry, "pass_next_timestamp_seconds", kind="sweep") == NOW.timestamp() + 60
    metrics.resting("sweep", 3600)
    assert value(registry, "pass_next_timestamp_seconds", kind="sweep") == NOW.timestamp() + 3600


def test_drift_is_told_by_prefix_of_which_twenty_are_named(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    found = {f"p{number:02}/": {Verdict.ORPHAN: (number, 10 * number)} for number in range(22)}
    metrics.standing_read(Standing(by_prefix=found))
    assert value(registry, "drift_prefix_keys", prefix="p19/", verdict="orphan") == 19
    assert value(registry, "drift_prefix_keys", prefix="p19/", verdict="stale") == 0
    assert value(registry, "drift_prefix_keys", prefix="p20/", verdict="orphan") is None
    assert value(registry, "drift_prefix_keys", prefix="(other)", verdict="orphan") == 20 + 21
    assert value(registry, "drift_prefix_bytes", prefix="(other)", verdict="orphan") == 10 * (20 + 21)


def test_what_came_back_and_what_was_freed_is_told_by_days(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    metrics.lately_read(Lately(freed={7: 70, 30: 300}, restored={7: 1, 30: 3}))
    assert value(registry, "ledger_freed_bytes", window="7d") == 70
    assert value(registry, "ledger_freed_bytes", window="30d") == 300
    assert value(registry, "ledger_restored_objects", window="30d") == 3
    metrics.standing_read(Standing(restores=2, oldest_restore=NOW - timedelta(hours=1)))
    assert value(registry, "restores_waiting") == 2
    assert value(registry, "restores_waiting_oldest_age_seconds") == 3600


def test_erasures_that_are_open_are_counted_with_the_age_of_the_first(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    metrics.erasures_read([])
    assert value(registry, "erasures_open") == value(registry, "erasures_open_oldest_age_seconds") == 0
    case = partial(ErasureCase, kind=ErasureKind.KEYS, subject=("a",), author="ada", reason="")
    ages = (timedelta(hours=3), timedelta(hours=1))
    metrics.erasures_read([case(id=uuid4(), ordered_at=NOW - age) for age in ages])
    assert value(registry, "erasures_open") == 2
    assert value(registry, "erasures_open_oldest_age_seconds") == 3 * 3600


def test_what_others_are_still_to_be_told_is_counted_by_channel(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    metrics.outbox_read({"cdn": Unsent(pending=3, oldest=NOW - timedelta(hours=1))})
    assert value(registry, "outbox_messages", channel="cdn") == 3
    assert value(registry, "outbox_oldest_age_seconds", channel="cdn") == 3600
    metrics.outbox_read({"cdn": Unsent(pending=0, oldest=None)})
    assert value(registry, "outbox_oldest_age_seconds", channel="cdn") == 0
    metrics.delivered("cdn", "bunny", 2, 1, away=True)
    names = {"channel": "cdn", "receiver": "bunny"}
    assert value(registry, "messages_total", result="arrived", **names) == 2
    assert value(registry, "messages_total", result="refused", **names) == 1
    assert value(registry, "receiver_failures_total", **names) == 1


def test_a_price_is_told_by_every_replica(registry: CollectorRegistry, metrics: Metrics) -> None:
    assert value(registry, "price_per_gib_month") == 0
    metrics.priced(0.023)
    assert value(registry, "price_per_gib_month") == 0.023


def test_rows_that_the_database_keeps_are_told_by_what_is_of_their_objects(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    assert "media_reconciler_rows_refused" not in families(registry), "not known yet is not 0"
    metrics.refused(2, 1)
    assert value(registry, "rows_refused", object="kept") == 2
    assert value(registry, "rows_refused", object="gone") == 1


def test_the_size_of_the_bucket_is_that_of_the_last_sweep(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    metrics.pass_finished(PassKind.SWEEP, Outcome.CONVERGED, 1.0, Tally(objects=9, bytes=90))
    metrics.pass_finished(PassKind.RETENTION, Outcome.CONVERGED, 1.0, Tally(records=4))
    metrics.pass_finished(PassKind.SWEEP, Outcome.FAILED, 1.0, Tally(objects=1))
    assert value(registry, "bucket_objects") == 9
    assert value(registry, "bucket_bytes") == 90


def test_what_is_kept_and_how_many_holds_there_are_is_told(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    sweep, retention = Tally(kept={KeepReason.HOLD: 3}), Tally(kept={KeepReason.HOLD: 1})
    metrics.pass_finished(PassKind.SWEEP, Outcome.CONVERGED, 1.0, sweep)
    metrics.pass_recalled(PassKind.RETENTION, None, remembered(PassKind.RETENTION, NOW, NOW, retention))
    metrics.holds_recalled({HoldKind.PREFIX: 2})
    assert value(registry, "kept_keys", kind="sweep", reason="hold") == 3
    assert value(registry, "kept_keys", kind="retention", reason="hold") == 1
    assert value(registry, "kept_keys", kind="sweep", reason="pending") == 0
    assert (value(registry, "holds", kind="prefix"), value(registry, "holds", kind="key")) == (2, 0)


def remembered(kind: PassKind, cutoff: datetime, finished_at: datetime, tally: Tally) -> Pass:
    return Pass(
        id=1,
        kind=kind,
        cutoff=cutoff,
        config_hash="",
        mode=Mode.LIVE,
        order=None,
        tally=tally,
        finished_at=finished_at,
    )


def test_a_new_process_knows_the_passes_of_an_earlier_one(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    hour = timedelta(hours=1)
    success = remembered(PassKind.SWEEP, NOW - 3 * hour, NOW - 2 * hour, Tally(objects=7, bytes=70))
    metrics.pass_recalled(PassKind.SWEEP, remembered(PassKind.SWEEP, NOW - hour, NOW, Tally()), success)
    metrics.pass_recalled(PassKind.RETENTION, None, None)
    metrics.leading(leader=True)

    def stamp(which: str, kind: str) -> float | None:
        return value(registry, f"pass_last_{which}_timestamp_seconds", kind=kind)

    assert stamp("attempt", "sweep") == (NOW - hour).timestamp()
    assert stamp("success", "sweep") == (NOW - 2 * hour).timestamp()
    assert (stamp("attempt", "retention"), stamp("success", "retention")) == (0, 0)
    assert (value(registry, "bucket_objects"), value(registry, "bucket_bytes")) == (7, 70)
    metrics.pass_started(PassKind.SWEEP)
    metrics.pass_finished(PassKind.SWEEP, Outcome.CONVERGED, 1.0, Tally(objects=8))
    metrics.pass_recalled(PassKind.SWEEP, success, success)
    assert (stamp("attempt", "sweep"), stamp("success", "sweep")) == (NOW.timestamp(), NOW.timestamp())


@pytest.mark.incident(36)
def test_a_demoted_leader_exports_no_leader_gauge(registry: CollectorRegistry, metrics: Metrics) -> None:
    """I-36: a demoted leader went on exporting stale gauges."""
    every_replica = set(families(registry))
    assert not LEADER_ONLY & every_replica
    lead(metrics)
    assert set(families(registry)) == every_replica | LEADER_ONLY
    metrics.leading(leader=False)
    assert set(families(registry)) == every_replica
    assert value(registry, "leader") == 0


def test_a_new_term_tells_nothing_of_what_an_earlier_one_knew(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    lead(metrics)
    metrics.leading(leader=False)
    metrics.phase(PassKind.SWEEP, Phase.LISTING)
    metrics.drift({}, 1)
    metrics.elected(8)
    metrics.leading(leader=True)
    assert value(registry, "lease_epoch") == 8
    for name in ("drift_keys", "marks_pending", "marks_due", "hidden_objects", "storage_objects"):
        assert f"media_reconciler_{name}" not in families(registry), "not known yet is not 0"
    assert value(registry, "pass_phase", kind="sweep", phase="listing") == 0


def test_the_leader_tells_what_is_due_and_what_waits_for_a_person(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    metrics.standing_read(
        Standing(
            due=5,
            oldest_due=NOW - timedelta(minutes=2),
            due_soon={Verdict.EXPIRED: 6},
            tripped={
                PassKind.RETENTION: Undecided(pass_id=12, reason="too many", since=NOW - timedelta(days=1))
            },
            ranges_done=3,
            ranges_open=1,
            hidden=(4, 400),
        )
    )
    assert (value(registry, "marks_due"), value(registry, "marks_due_oldest_age_seconds")) == (5, 120)
    assert value(registry, "marks_due_soon", verdict="expired") == 6
    assert value(registry, "passes_tripped", kind="retention") == 1
    assert value(registry, "passes_tripped", kind="sweep") == 0
    yesterday = NOW.timestamp() - 86400
    assert value(registry, "passes_tripped_since_timestamp_seconds", kind="retention") == yesterday
    assert value(registry, "passes_tripped_since_timestamp_seconds", kind="sweep") == 0
    named = {"kind": "retention", "pass": "12", "trip_reason": "too many"}
    assert value(registry, "pass_tripped_info", **named) == 1
    assert (value(registry, "key_ranges", state="done"), value(registry, "key_ranges", state="open")) == (
        3,
        1,
    )
    assert (value(registry, "hidden_objects"), value(registry, "hidden_bytes")) == (4, 400)
    metrics.standing_read(Standing())
    assert (value(registry, "marks_due"), value(registry, "marks_due_oldest_age_seconds")) == (0, 0)
    assert families(registry)["media_reconciler_pass_tripped_info"].samples == [], "it was decided"


def test_what_an_adoption_settles_is_counted_by_what_became_of_it(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    assert all(value(registry, "adoptions_total", result=each) == 0 for each in ("adopted", *Left))
    metrics.adopted({"adopted": 3, Left.NO_OWNER: 1})
    metrics.adopted({"adopted": 2})
    assert value(registry, "adoptions_total", result="adopted") == 5
    assert value(registry, "adoptions_total", result="no_owner") == 1


def test_what_the_store_expired_is_told_as_the_last_sweep_found_it(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    for expired in (7, 0):
        tally = Tally(expired_by_store=expired)
        metrics.pass_finished(PassKind.SWEEP, Outcome.CONVERGED, 1.0, tally)
        assert value(registry, "expired_by_store_records") == expired


def test_one_phase_of_a_pass_is_under_way_at_a_time(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.leading(leader=True)

    def under_way() -> list[tuple[str, str]]:
        samples = families(registry)["media_reconciler_pass_phase"].samples
        return [(each.labels["kind"], each.labels["phase"]) for each in samples if each.value]

    assert under_way() == []
    metrics.phase(PassKind.SWEEP, Phase.PREPARING)
    metrics.phase(PassKind.SWEEP, Phase.COMPARING)
    metrics.phase(PassKind.RETENTION, Phase.RELEASING)
    assert under_way() == [("sweep", "comparing"), ("retention", "releasing")]
    metrics.phase(PassKind.SWEEP, None)
    assert under_way() == [("retention", "releasing")]


def test_storage_is_told_by_the_largest_pairs_and_the_rest_as_other(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    pairs = (
        StoragePart(names=("video", "acme"), objects=2, bytes=200),
        StoragePart(names=("image", "unknown"), objects=9, bytes=90),
    )
    rest = StoragePart(names=("other", "other"), objects=3, bytes=5)
    metrics.storage_read(Storage(at=NOW, largest=pairs, other=rest, other_parts=2))
    told = {
        (each.labels["media_type"], each.labels["provider"]): each.value
        for each in families(registry)["media_reconciler_storage_bytes"].samples
    }
    assert told == {("video", "acme"): 200, ("image", "unknown"): 90, ("other", "other"): 5}
    assert value(registry, "storage_objects", media_type="image", provider="unknown") == 9
    assert value(registry, "storage_accounted_timestamp_seconds") == NOW.timestamp()


def test_a_provider_called_other_does_not_make_a_series_twice(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    named = StoragePart(names=("other", "other"), objects=1, bytes=10)
    metrics.storage_read(Storage(at=NOW, largest=(named,), other=named))
    assert value(registry, "storage_bytes", media_type="other", provider="other") == 20


def test_calls_to_the_database_are_counted_by_attempt_and_timed_as_a_whole(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.database_called("retried", None)
    metrics.database_called("ok", 0.2)
    metrics.database_called("failed", 5.0)
    for outcome in ("ok", "retried", "failed"):
        assert value(registry, "database_calls_total", outcome=outcome) == 1
    assert value(registry, "database_call_duration_seconds_count") == 2
    assert value(registry, "database_call_duration_seconds_bucket", le="0.25") == 1


def test_renewals_of_the_lease_are_counted_by_how_they_went(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    for outcome in ("ok", "ok", "failed", "lost"):
        metrics.renewed(outcome)
    told = [value(registry, "lease_renewals_total", outcome=each) for each in ("ok", "failed", "lost")]
    assert told == [2, 1, 1]


def test_the_hash_in_force_is_one_series(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.settings_in_force(Mode.LIVE, "aa")
    metrics.settings_in_force(Mode.LIVE, "bb")
    assert [each.labels for each in families(registry)["media_reconciler_config_info"].samples] == [
        {"hash": "bb"}
    ]


def test_a_dry_run_is_as_old_as_its_first_pass_whatever_process_ran_it(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    def since() -> float | None:
        return value(registry, "dry_run_since_timestamp_seconds")

    week = timedelta(days=7)
    metrics.settings_in_force(Mode.DRY_RUN, HASH)
    assert since() == NOW.timestamp(), "as far as this process knows"
    metrics.mode_recalled(None)
    assert since() == NOW.timestamp()
    metrics.mode_recalled(ModeSince(mode=Mode.DRY_RUN, since=NOW - week))
    assert since() == (NOW - week).timestamp()
    metrics.settings_in_force(Mode.LIVE, HASH)
    assert since() == 0
    metrics.mode_recalled(ModeSince(mode=Mode.DRY_RUN, since=NOW - week))
    assert since() == 0, "the first pass in earnest is still to come"
    metrics.mode_recalled(ModeSince(mode=Mode.LIVE, since=NOW))
    metrics.settings_in_force(Mode.DRY_RUN, HASH)
    assert since() == NOW.timestamp(), "another dry run"


def test_two_registries_do_not_share_anything(registry: CollectorRegistry, metrics: Metrics) -> None:
    other = CollectorRegistry()
    Metrics(other, version="0").page_listed(5)
    assert value(registry, "keys_listed_total") == 0
    assert value(other, "keys_listed_total") == 5


def test_a_fan_out_tells_every_observer_everything() -> None:
    told: list[tuple[int, str]] = []

    class Listening(NullObserver):
        def __init__(self, number: int) -> None:
            self.number = number

        def __getattribute__(self, name: str) -> object:
            if not name.startswith("_") and name != "number":
                told.append((self.number, name))
            return super().__getattribute__(name)

    both: Observer = CompositeObserver(Listening(1), Listening(2))
    both.page_listed(1)
    both.records_read(1)
    both.pass_started(PassKind.SWEEP)
    both.pass_finished(PassKind.SWEEP, Outcome.CONVERGED, 1.0, Tally())
    both.deleted(Mode.LIVE, Verdict.ORPHAN, "deleted", 1, 1)
    both.drift({}, 0)
    both.alive("sweep")
    both.halted(None)
    both.elected(1)
    both.leading(leader=True)
    both.renewed("ok")
    both.phase(PassKind.SWEEP, Phase.LISTING)
    both.paused(paused=True, since=None)
    both.blocked("pid 1")
    both.clocks({"the store": 1.0})
    both.hidden(1, 1)
    both.purged(1, 1)
    both.adopted({"adopted": 1})
    both.refused(1, 1)
    both.queue_read(readable=True)
    both.events_read(Reading.TAKEN, 1, None)
    both.hinted({}, HintsStanding())
    both.inventory_taken(InventoryUsed(name="a", digest="b", began_at=NOW, delivered_at=NOW))
    both.delivered("cdn", "bunny", 1, 0, away=False)
    both.resting("sweep", 1.0)
    names = [name for number, name in told if number == 1]
    assert names == [name for number, name in told if number == 2]
    assert set(names) == {name for name in dir(NullObserver) if not name.startswith("_")}


# --- health -----------------------------------------------------------------------------------------


class Elapsed:
    """A monotonic clock that a test moves."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Elapsed:
    return Elapsed()


@pytest.fixture
def health(clock: Elapsed) -> Health:
    return Health(
        always={"leadership": timedelta(seconds=10)},
        while_leading={name: timedelta(seconds=20) for name in ("sweep", "retention", "collector")},
        monotonic=clock,
    )


@pytest.mark.incident(35)
def test_a_silent_loop_is_named(health: Health, clock: Elapsed) -> None:
    """I-35: a dead task behind a green probe."""
    clock.seconds = 10
    assert not health.stuck()
    clock.seconds = 11
    assert health.stuck() == ["leadership: silent for 11 s, allowed are 10 s"]
    health.alive("leadership")
    assert not health.stuck()


def test_the_loops_of_a_leader_are_watched_only_while_it_leads(health: Health, clock: Elapsed) -> None:
    clock.seconds = 100
    health.alive("leadership")
    assert not health.stuck()
    health.leading(leader=True)
    clock.seconds = 121
    health.alive("leadership")
    assert [line.split(":")[0] for line in health.stuck()] == ["collector", "retention", "sweep"]
    health.leading(leader=False)
    assert not health.stuck()


def test_pages_rows_and_batches_are_progress(health: Health, clock: Elapsed) -> None:
    health.leading(leader=True)
    clock.seconds = 21
    health.alive("leadership")
    health.page_listed(0)
    assert [line.split(":")[0] for line in health.stuck()] == ["collector", "retention"]
    health.records_read(0)
    assert [line.split(":")[0] for line in health.stuck()] == ["collector"]
    health.deleted(Mode.LIVE, Verdict.ORPHAN, "deleted", 1, 1)
    assert not health.stuck()


def test_hearing_again_that_it_leads_is_no_progress(health: Health, clock: Elapsed) -> None:
    health.leading(leader=True)
    clock.seconds = 21
    health.leading(leader=True)
    assert "sweep" in " ".join(health.stuck())


def test_a_loop_that_nobody_watches_may_be_silent(health: Health, clock: Elapsed) -> None:
    health.alive("unheard of")
    clock.seconds = 9
    assert not health.stuck()


def test_conditions_are_met_once_and_for_all() -> None:
    health = Health(conditions=("one", "two"))
    assert health.unmet() == ("one", "two")
    health.meet("two")
    health.meet("two")
    assert health.unmet() == ("one",)
    health.meet("one")
    assert health.unmet() == ()


def test_the_leader_tells_which_inventory_its_last_sweep_took(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.leading(leader=True)
    assert value(registry, "inventory_began_timestamp_seconds") is None
    delivered = NOW + timedelta(hours=22)
    metrics.inventory_taken(InventoryUsed(name="a", digest="b", began_at=NOW, delivered_at=delivered))
    assert value(registry, "inventory_began_timestamp_seconds") == NOW.timestamp()
    assert value(registry, "inventory_delivered_timestamp_seconds") == delivered.timestamp()
