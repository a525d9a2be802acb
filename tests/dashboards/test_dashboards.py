"""The chart's dashboards and rules, asked of a real Prometheus that watches a daemon at work."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import pytest

from reconciler.embedded.client import Supervisor
from reconciler.embedded.postgres import EmbeddedPostgres
from tests.alerts.rules import Rule, plain_groups, rules_of, selectors_of
from tests.integration.site import make_site
from tests.servers import S3Server, fresh_bucket, fresh_database
from tools.dashboards.__main__ import texts
from tools.dashboards.panels import COLUMNS, SITE
from tools.dashboards.prometheus import JOB, NAMESPACE, Prometheus, open_dashboard, panels_of
from tools.dashboards.scene import Scene, objects, scene
from tools.metrics_reference import metric_labels, metric_names

DASHBOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(text) for path, text in texts().items()}
RUNBOOKS = Path(__file__).parent.parent.parent / "docs" / "runbooks"

NOTHING_TO_SHOW = {
    "What events led to": "no queue tells of the bucket",
    "Age of the inventory": "the bucket is listed",
    "Messages that wait": "nobody is told",
    "How long the first of them has waited": "nobody is told",
    "Messages sent, and failures": "nobody is told",
    "Channels that are switched off": "nobody is told of events",
    "In dry run for": "the daemon has gone live",
    "Paused for": "nobody has paused it",
    "Decision waits for": "no pass has tripped",
    "What waits for a decision, and why": "no pass has tripped",
}
"""Panels that are rightly empty here."""

NO_SERIES = {
    "MediaReconcilerInventoryOld": "the bucket is listed",
    "MediaReconcilerMessagesWaiting": "nobody is told",
    "MediaReconcilerStorageGrowth": "there is no yesterday",
    "MediaReconcilerEventQueueUnreadable": "no queue tells of the bucket",
    "MediaReconcilerReceiverSwitchedOff": "nobody is told of events",
}
"""Rules without anything to compare here."""

OF_PROMETHEUS = {"up", "ALERTS"}

PANELS = [(name, panel) for name, each in DASHBOARDS.items() for panel in panels_of(each)]
RULES = rules_of(plain_groups())

each_dashboard = pytest.mark.parametrize("name", sorted(DASHBOARDS))


# --- as written ----------------------------------------------------------------------------------------


def test_the_files_are_what_the_descriptions_say() -> None:
    for path, text in texts().items():
        assert path.read_text(encoding="utf-8") == text, "write them: python -m tools.dashboards"
    (folder,) = {path.parent for path in texts()}
    assert {*folder.iterdir()} == {*texts()}


@each_dashboard
def test_no_panel_mixes_installations_or_asks_for_what_is_not_exported(name: str) -> None:
    for panel in panels_of(DASHBOARDS[name]):
        for target in panel["targets"]:
            expr = target["expr"]
            asked = selectors_of(expr)
            assert len(asked) == expr.count("{") == expr.count("{" + SITE), expr
            assert {each.metric for each in asked} <= metric_names() | OF_PROMETHEUS, expr
            assert not (set(re.findall(r"\b(?:media_reconciler|process)_\w+", expr)) - metric_names()), expr


@each_dashboard
def test_legends_and_columns_name_labels_that_there_are(name: str) -> None:
    for panel in panels_of(DASHBOARDS[name]):
        for target in panel["targets"]:
            (metric, *_) = [each.metric for each in selectors_of(target["expr"])]
            there = {*metric_labels().get(metric, ()), "instance"}
            assert {*re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])} <= there, panel["title"]


@each_dashboard
def test_each_panel_says_what_it_shows_and_stands_alone(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[name]["panels"]:
        at = panel["gridPos"]
        columns, lines = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        cells = {(x, y) for x in columns for y in lines}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= COLUMNS
        taken |= cells
    for panel in panels_of(DASHBOARDS[name]):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for link in panel["links"]:
            assert (RUNBOOKS / link["url"].removeprefix("${runbooks}/")).is_file(), link


def test_every_alert_is_linked_from_a_panel() -> None:
    linked = {Path(link["url"]).stem for _, panel in PANELS for link in panel["links"]}
    assert linked == {rule.alert for rule in RULES}


def test_titles_tell_panels_apart() -> None:
    titles = [panel["title"] for _, panel in PANELS]
    assert len(set(titles)) == len(titles)


# --- as asked of a real Prometheus ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The time that is looked at."""

    prometheus: Prometheus
    since: float
    until: float


async def at_work(played: Scene) -> None:
    """Until there is something to show: of the dry run, of live deletions, of passes that came through."""
    await played.until_known('sum(media_reconciler_actions_total{mode="dry_run"}) > 50')
    await objects(played.site, "image/early-", range(5))  # seen to grow: what was counted before is no rate
    await played.until_known('sum(rate(media_reconciler_actions_total{mode="dry_run"}[15s])) > 0')
    for metric in ("storage_bytes", "kept_keys", "marks_due", "clock_ahead_seconds"):
        await played.until_known(f"min(count_over_time(media_reconciler_{metric}[1h])) > 5")
    await played.until_known('ALERTS{alertname="MediaReconcilerDanglingRecords"}')
    await played.go_live()
    await played.until_known('sum(media_reconciler_deleted_keys_total{mode="live"}) > 10')
    # A panel's last point lies up to a step before the end.
    await played.until_known('sum(rate(media_reconciler_actions_total{mode="live"}[15s] offset 1s)) > 0')


@pytest.fixture(scope="module")
def watched(
    supervisor: Supervisor,
    postgres: EmbeddedPostgres,
    migrated_template: str,
    moto: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watched]:
    """While it runs: what has ended leaves nothing to ask for."""
    directory = tmp_path_factory.mktemp("dashboards")
    with (
        fresh_database(postgres, migrated_template) as database,
        fresh_bucket(moto) as bucket,
        anyio.from_thread.start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(
            scene(make_site(database, bucket), supervisor, directory)
        ) as played,
    ):
        portal.call(at_work, played)
        yield Watched(prometheus=played.prometheus, since=played.since, until=time.time())


@pytest.mark.debian("prometheus")
@each_dashboard
def test_every_panel_shows_something(watched: Watched, name: str) -> None:
    dashboard = DASHBOARDS[name]
    viewer = open_dashboard(watched.prometheus, dashboard, watched.since, watched.until)
    assert viewer.variables == {"cluster": "", "namespace": NAMESPACE, "job": JOB}
    for annotation in dashboard["annotations"]["list"]:
        assert viewer.prometheus.range(viewer.filled(annotation["expr"]), viewer.since, viewer.until) == []
    empty = {
        (panel["title"], target["refId"])
        for panel in panels_of(dashboard)
        for target in panel["targets"]
        if not viewer.looks(target)
    }
    assert {title for title, _ in empty} - NOTHING_TO_SHOW.keys() == set(), "nothing returned"
    here = {panel["title"] for panel in panels_of(dashboard)}
    assert NOTHING_TO_SHOW.keys() & here <= {title for title, _ in empty}, "something returned after all"


def test_what_is_said_to_be_empty_is_there() -> None:
    assert NOTHING_TO_SHOW.keys() <= {panel["title"] for _, panel in PANELS}
    assert NO_SERIES.keys() <= {rule.alert for rule in RULES}


@pytest.mark.debian("prometheus")
def test_every_rule_has_something_to_judge(watched: Watched) -> None:
    empty = {rule.alert for rule in RULES if not watched.prometheus.instant(judged(rule), watched.until)}
    assert empty == {*NO_SERIES}


@pytest.mark.debian("prometheus")
def test_prometheus_evaluates_every_rule(watched: Watched) -> None:
    for rule in RULES:
        watched.prometheus.instant(rule.expr, watched.until)
    loaded = [rule for group in watched.prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert sorted(rule["name"] for rule in loaded) == sorted(rule.alert for rule in RULES)
    assert {rule["health"] for rule in loaded} == {"ok"}, [rule.get("lastError") for rule in loaded]


def judged(rule: Rule) -> str:
    """What a rule compares, of its first operand: the exceptions from it, and every threshold, left out.

    The scene has seconds where a subquery steps by minutes.
    """
    lines = [line.split(" # ")[0] for line in rule.expr.splitlines()]
    ends = [at for at, line in enumerate(lines) if line.split()[0] in {"and", "or", "unless"}]
    first = " ".join(lines[: ends[0] if ends else None])
    return re.sub(r" (?:==|>=|>) [\d.]+(?: \* \d+)?", "", first).replace(":1m]", ":1s]")


def test_a_rule_without_its_thresholds() -> None:
    alerts = {rule.name: judged(rule) for rule in RULES}
    site = 'job=~".*reconciler.*"'
    assert alerts["MediaReconcilerSeveralLeaders"] == (
        f"sum by (cluster, namespace, job) (media_reconciler_leader{{{site}}})"
    )
    assert not [name for name, expr in alerts.items() if re.search(r" (?:[<>]|==|unless|and|or) ", expr)]
