"""The runbooks that travel with the chart: printed by the command that each alert names."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.alerts.pages import INDEX, blocks, page, pages
from tests.chart.helm import Manifest, named, of_kind, render, with_values
from tools import chart_runbooks

MADE = with_values(prometheusRule__enabled=True)


def test_the_charts_copies_are_of_these_pages() -> None:
    assert chart_runbooks.written() == chart_runbooks.current(), "run python -m tools.chart_runbooks"


def test_no_link_is_left_where_nothing_can_be_clicked() -> None:
    names = {each.name for each in pages()} - {INDEX}
    for text in chart_runbooks.current().values():
        assert "](" not in text
        for found in text.split("(page ")[1:]:
            assert found.partition(")")[0] in names
        for found in text.split("(docs/")[1:]:
            assert (Path(__file__).parent.parent.parent / "docs" / found.partition(")")[0]).is_file()


def alerts(manifests: list[Manifest]) -> list[dict[str, Any]]:
    (rule,) = of_kind(manifests, "PrometheusRule")
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


def test_the_command_of_each_alert_prints_its_page() -> None:
    manifests = list(render(MADE))
    data = named(manifests, "ConfigMap", "-runbooks")["data"]
    for alert in alerts(manifests):
        assert "runbook_url" not in alert["annotations"]
        words = shlex.split(alert["annotations"]["runbook"])
        assert words[:3] == ["kubectl", "get", "configmap"]
        assert words[3:6] == ["--namespace", "gateway", "media-media-reconciler-runbooks"]
        assert words[6:] == ["--output", f"jsonpath={{.data.{alert['alert']}}}"]
        assert f"\n# {alert['alert']}\n" in data[alert["alert"]]
    assert data.keys() == {each.name for each in pages()} - {INDEX}


def test_prometheus_finds_nothing_to_expand_in_the_command() -> None:
    assert not [a for a in alerts(list(render(MADE))) if "{{" in a["annotations"]["runbook"]]


@pytest.mark.parametrize("call", ["reconciler passes", "logs 1h", "page pause"])
def test_the_lines_at_its_head_name_this_release(call: str, tmp_path: Path) -> None:
    text = named(render(MADE), "ConfigMap", "-runbooks")["data"]["MediaReconcilerPaused"]
    lines = blocks(text, "sh")[0]
    assert lines.startswith("export NAMESPACE=gateway RELEASE=media DEPLOYMENT=media-media-reconciler\n")
    assert set(page(INDEX).blocks("sh")[0].splitlines()[1:]) < set(lines.splitlines())
    kubectl = 'kubectl() { printf "%s\\n" "$@"; }'
    ended = subprocess.run(
        ["bash", "-euc", f"{kubectl}\n{lines}\n{call}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    told = ended.stdout.splitlines()
    assert told[1 + told.index("--namespace")] == "gateway"
    assert {
        "reconciler passes": "deploy/media-media-reconciler",
        "logs 1h": "app.kubernetes.io/instance=media,app.kubernetes.io/component=daemon",
        "page pause": "jsonpath={.data.pause}",
    }[call] in told


def test_with_an_address_of_ones_own_alerts_link_there_and_nothing_travels() -> None:
    values = with_values(
        prometheusRule={"enabled": True, "runbookBaseUrl": "https://wiki.example/runbooks/"},
    )
    manifests = list(render(values))
    for alert in alerts(manifests):
        assert alert["annotations"]["runbook_url"] == f"https://wiki.example/runbooks/{alert['alert']}.md"
        assert "runbook" not in alert["annotations"]
    assert not [m for m in manifests if m["metadata"]["name"].endswith("-runbooks")]
