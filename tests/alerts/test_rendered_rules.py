"""The chart's PrometheusRule: the plain file for one release, with the thresholds that its values ask for."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.rules import (
    ANY_SITE,
    TESTS,
    THRESHOLD,
    helm_template,
    plain_groups,
    promtool,
    rendered,
    rules_of,
    thresholds,
)
from tests.chart.helm import CHART

DEFAULTS: dict[str, float] = yaml.safe_load((CHART / "values.yaml").read_text())["prometheusRule"][
    "thresholds"
]
OTHER = {name: index + 31 for index, name in enumerate(DEFAULTS)}
"""Each threshold another number, and none of them one that stands in the file."""


def groups_of(made: dict[str, Any]) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = made["spec"]["groups"]
    return groups


def printing(namespace: str, name: str, page: str) -> str:
    """The command that prints an alert's page."""
    place = f"--namespace {namespace} {name}-runbooks"
    return f'kubectl get configmap {place} --output jsonpath="{{.data.{page}}}"'


def test_untouched_values_render_the_plain_file_for_this_release_alone() -> None:
    expected = plain_groups()
    for group in expected:
        for rule in group["rules"]:
            rule["expr"] = rule["expr"].replace(ANY_SITE, 'namespace="media",job="media-reconciler"')
            rule["annotations"]["runbook"] = printing("media", "media-reconciler", rule["alert"])
    assert groups_of(rendered({}, release="media-reconciler")) == expected


def test_the_plain_file_has_the_defaults_of_the_values() -> None:
    found = [each for rule in rules_of(plain_groups()) for each in thresholds(rule.expr)]
    assert dict(found) == DEFAULTS
    assert len(set(found)) == len(DEFAULTS), "one number a name, wherever it stands"
    assert len(found) == sum(rule.expr.count("threshold") for rule in rules_of(plain_groups()))


def test_every_threshold_is_replaced_where_it_stands_and_nothing_else_is() -> None:
    def other(found: re.Match[str]) -> str:
        start, end = found.span("literal")
        line, begin = found[0], found.start()
        return f"{line[: start - begin]}{OTHER[found['name']]}{line[end - begin :]}"

    expected = plain_groups()
    for group in expected:
        for rule in group["rules"]:
            rule["expr"] = THRESHOLD.sub(other, rule["expr"])
            rule["annotations"]["runbook"] = printing("media", "media-media-reconciler", rule["alert"])
    assert groups_of(rendered({"thresholds": OTHER, "selector": ANY_SITE})) == expected


@pytest.mark.debian("prometheus")
def test_rules_of_two_releases_fire_each_for_its_own_and_by_its_own_thresholds(tmp_path: Path) -> None:
    tested = TESTS / "rendered"
    for release in ("strict", "lax"):
        values = yaml.safe_load((tested / f"{release}.values.yaml").read_text())
        made = rendered(values["prometheusRule"], release=f"{release}-media-reconciler")
        (tmp_path / f"{release}.yaml").write_text(yaml.safe_dump(made["spec"]))
        ended = promtool("check", "rules", "--lint=all", "--lint-fatal", tmp_path / f"{release}.yaml")
        assert ended.returncode == 0, ended.stdout + ended.stderr
    shutil.copy(tested / "rules.test.yaml", tmp_path)
    ended = promtool("test", "rules", tmp_path / "rules.test.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_an_alert_can_be_left_out_waited_for_and_rated_by_its_name() -> None:
    made = rendered(
        {
            "disabled": ["MediaReconcilerPassStale", "MediaReconcilerDryRun"],
            "for": {"MediaReconcilerAbsent": "90s", "MediaReconcilerRecordLost": "1m"},
            "severities": {"MediaReconcilerAbsent": "page"},
            "ruleLabels": {"team": "storage"},
            "runbookBaseUrl": "https://wiki.example/runbooks/",
        }
    )
    rules = {rule["alert"]: rule for group in groups_of(made) for rule in group["rules"]}
    everything = {rule.alert for rule in rules_of(plain_groups())}
    assert everything - rules.keys() == {"MediaReconcilerPassStale", "MediaReconcilerDryRun"}
    absent = rules["MediaReconcilerAbsent"]
    assert (absent["for"], rules["MediaReconcilerRecordLost"]["for"]) == ("90s", "1m")
    assert absent["labels"] == {"severity": "page", "team": "storage"}
    assert absent["annotations"]["runbook_url"] == "https://wiki.example/runbooks/MediaReconcilerAbsent.md"
    assert "runbook" not in absent["annotations"]
    assert rules["MediaReconcilerHalted"]["labels"] == {"severity": "critical", "team": "storage"}


def test_a_group_without_alerts_is_left_out() -> None:
    drift = [rule["alert"] for rule in plain_groups()[-1]["rules"]]
    made = groups_of(rendered({"disabled": drift}))
    assert [group["name"] for group in made] == ["media-reconciler-health", "media-reconciler-work"]


@pytest.mark.parametrize(
    ("values", "job"),
    [
        ({}, 'namespace="prod",job="east-media-reconciler"'),
        (
            {"serviceMonitor": {"enabled": False}, "podMonitor": {"enabled": True}},
            'namespace="prod",job="prod/east-media-reconciler"',
        ),
        (
            {"serviceMonitor": {"enabled": False}, "podMonitor": {"enabled": True, "namespace": "watch"}},
            'namespace="prod",job="watch/east-media-reconciler"',
        ),
        ({"namespaceOverride": "media", "fullnameOverride": "m"}, 'namespace="media",job="m"'),
    ],
)
def test_alerts_select_the_job_that_the_monitor_makes(values: dict[str, Any], job: str) -> None:
    made = rendered({}, release="east", namespace="prod", **values)
    for rule in rules_of(groups_of(made)):
        assert rule.expr.count(job) == rule.expr.count("{")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"disabled": ["MediaReconcilerBored"]}, "MediaReconcilerBored"),
        ({"for": {"MediaReconcilerBored": "1m"}}, "MediaReconcilerBored"),
        ({"severities": {"MediaReconcilerBored": "info"}}, "MediaReconcilerBored"),
        ({"for": {"MediaReconcilerAbsent": "soon"}}, "for.MediaReconcilerAbsent"),
        ({"thresholds": {"boredom": 1}}, "boredom"),
        ({"thresholds": {"orphanObjects": "many"}}, "orphanObjects"),
        ({"thresholds": {"backlogHours": 1.5}}, "backlogHours"),
        ({"selector": "job=media"}, "selector"),
        ({"runbookBaseUrl": "wiki"}, "runbookBaseUrl"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(values: dict[str, Any], told: str) -> None:
    ended = helm_template({"prometheusRule": {"enabled": True, **values}})
    assert ended.status != 0
    assert told in ended.err


@pytest.mark.parametrize("where", ["disabled", "for", "severities", "thresholds"])
def test_the_template_refuses_unknown_names_without_the_schema_too(where: str) -> None:
    unknown: Any = ["Bored"] if where == "disabled" else {"Bored": "1m"}
    values = {"prometheusRule": {"enabled": True, where: unknown}}
    ended = helm_template(values, "--skip-schema-validation")
    assert ended.status != 0
    assert "Bored" in ended.err
