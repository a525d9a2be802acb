"""The alerts: each fires and stays quiet as it should, asks for what there is, and mixes no installations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric

from tests.alerts.rules import (
    ANY_SITE,
    RULES,
    TESTS,
    Case,
    Rule,
    Selector,
    cases,
    plain_groups,
    promtool,
    rules_of,
)
from tools.metrics_reference import families

OF_PROMETHEUS = {"up"}
"""What Prometheus itself makes of each target."""

ALL = rules_of(plain_groups())
each_rule = pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)


@pytest.mark.debian("prometheus")
def test_plain_prometheus_takes_the_file_as_it_is() -> None:
    ended = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.debian("prometheus")
@pytest.mark.parametrize("name", sorted(path.name for path in TESTS.glob("*.test.yaml")))
def test_alerts_fire_and_stay_quiet(name: str) -> None:
    ended = promtool("test", "rules", TESTS / name)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.test.yaml")), ids=lambda path: path.name)
def test_no_series_is_one_hexadecimal_number(path: Path) -> None:
    """`0x40` is 64, once, to promtool; forty zeros are written `0+0x40`."""
    assert re.findall(r"^ *values:.*(?<![+-])\b0x.*$", path.read_text(), re.MULTILINE) == []


def test_every_alert_of_the_reconciler_is_there() -> None:
    assert {rule.alert.removeprefix("MediaReconciler") for rule in ALL} == {
        "Absent",
        "NoLeader",
        "SeveralLeaders",
        "Halted",
        "Paused",
        "DryRun",
        "ConfigReloadFailed",
        "PassStale",
        "InventoryOld",
        "BreakerTripped",
        "BacklogNotDraining",
        "OldestMarkTooOld",
        "DeletionsFailing",
        "RecordLost",
        "RowsRefused",
        "MessagesWaiting",
        "Mismatch",
        "DatabaseErrors",
        "StoreErrors",
        "ErasureOpen",
        "EventQueueUnreadable",
        "ReceiverSwitchedOff",
        "Orphans",
        "DanglingRecords",
        "QuotaReached",
        "StorageHigh",
        "StorageGrowth",
    }


@each_rule
def test_a_case_shows_it_firing(rule: Rule) -> None:
    assert any(_fires(rule, case) for case in cases())


@each_rule
def test_a_case_shows_it_quiet_although_there_is_something_to_judge(rule: Rule) -> None:
    """Quiet for want of series, or because its time has not come, shows nothing."""
    assert any(_quiet(rule, case) for case in cases())


def _ours(rule: Rule, firing: Mapping[str, str]) -> bool:
    return rule.labels.items() <= firing.items()


def _fires(rule: Rule, case: Case) -> bool:
    return case.alert == rule.alert and any(_ours(rule, firing) for firing in case.firing)


def _quiet(rule: Rule, case: Case) -> bool:
    """Of one of the sites that have what the rule asks for first, it is not expected to fire."""
    asked = rule.selectors()[0]
    sites = {labels["namespace"] for metric, labels in case.series if _selects(asked, metric, labels)}
    firing = {each.get("namespace", "") for each in case.firing if _ours(rule, each)}
    return case.alert == rule.alert and case.seconds >= rule.seconds and bool(sites - firing)


def _selects(asked: Selector, metric: str, labels: Mapping[str, str]) -> bool:
    return metric == asked.metric and asked.selects(labels)


@each_rule
def test_it_asks_for_what_a_daemon_exports(rule: Rule) -> None:
    """Metric, labels and their values: each selector finds at least one series of a leader's."""
    exported = _samples(families())
    for asked in rule.selectors():
        if asked.metric not in OF_PROMETHEUS:
            found = [labels for labels in exported.get(asked.metric, ()) if asked.selects(labels)]
            assert found, f"{asked} is nothing that a daemon exports"


def _samples(exported: Mapping[str, Metric]) -> Mapping[str, list[Mapping[str, str]]]:
    made: dict[str, list[Mapping[str, str]]] = {}
    for family in exported.values():
        for sample in family.samples:
            made.setdefault(sample.name, []).append(sample.labels)
    return made


@each_rule
def test_it_tells_installations_apart(rule: Rule) -> None:
    assert rule.expr.count(ANY_SITE) == len(rule.selectors()) == rule.expr.count("{")
    grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", rule.expr)
    assert grouped
    assert all(labels.startswith("cluster, namespace, job") for labels in grouped)


@each_rule
def test_it_says_how_bad_it_is_and_what_to_read(rule: Rule) -> None:
    assert rule.labels["severity"] in {"critical", "warning", "info"}
    assert rule.annotations.keys() == {"summary", "description", "runbook"}
    assert rule.annotations["runbook"] == f"docs/runbooks/{rule.alert}.md"
    assert "$labels.job" in rule.annotations["description"]
