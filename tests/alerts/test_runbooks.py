"""The runbooks: a whole page for each alert, and every query and statement in them tried."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest
import yaml

from tests.alerts.pages import (
    ACT,
    INDEX,
    LANGUAGES,
    LOOK,
    MEANING,
    OVER,
    PAUSE,
    RUNBOOKS,
    Page,
    blocks,
    languages,
    page,
    pages,
    queries,
)
from tests.alerts.rules import Rule, plain_groups, promtool, rules_of, selectors_of, thresholds
from tests.support.links import lost_links
from tools.metrics_reference import families, metric_names

ALL = rules_of(plain_groups())
PAGES = [each for each in pages() if each.name not in {INDEX, PAUSE}]
each_page = pytest.mark.parametrize("page_", PAGES, ids=lambda each: each.name)
of_alert = pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)


# --- their form -----------------------------------------------------------------------------------------


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {each.name for each in PAGES} == {rule.alert for rule in ALL}
    named = re.findall(r"\[(\w+)\]\((\w+)\.md\)", page(INDEX).text)
    assert {text for text, _ in named if text.startswith("Media")} == {rule.alert for rule in ALL}


@of_alert
def test_a_page_tells_its_alerts_severity_and_thresholds(rule: Rule) -> None:
    head = page(rule.alert).text.split("## ")[0]
    assert rule.labels["severity"] in head
    row = next(line for line in page(INDEX).text.splitlines() if f"({rule.alert}.md)" in line)
    assert rule.labels["severity"] in row
    for name, _ in thresholds(rule.expr):
        assert f"`{name}`" in head


@each_page
def test_a_page_says_what_it_means_how_to_look_what_to_do_and_when_it_is_over(page_: Page) -> None:
    assert page_.text.startswith(f"# {page_.name}\n")
    assert list(page_.sections) == [MEANING, LOOK, ACT, OVER]
    for section in (LOOK, OVER):
        assert blocks(page_.sections[section], "promql")
        assert section == LOOK or blocks(page_.sections[section], "sh")
    assert languages(page_.text) <= LANGUAGES


@pytest.mark.parametrize("each", pages(), ids=lambda each: each.name)
def test_links_lead_somewhere(each: Page) -> None:
    assert lost_links(RUNBOOKS / f"{each.name}.md") == []


@pytest.mark.parametrize(
    "name",
    ["BreakerTripped", "DanglingRecords", "Orphans", "PassStale", "StorageHigh", "StorageGrowth", "DryRun"],
)
def test_where_a_waiting_pass_may_be_the_cause_the_page_leads_to_it(name: str) -> None:
    assert "reconciler passes" in page(f"MediaReconciler{name}").text


# --- queries ---------------------------------------------------------------------------------------------


@pytest.mark.debian("prometheus")
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"runbook:query:{number}", "expr": query} for number, (_, query) in enumerate(queries())
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}))
    ended = promtool("check", "rules", file)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(("name", "query"), sorted(set(queries())))
def test_a_query_asks_for_what_a_daemon_exports(name: str, query: str) -> None:
    assert set(re.findall(r"\bmedia_reconciler_\w+", query)) <= metric_names()
    exported = [(sample.name, sample.labels) for family in families().values() for sample in family.samples]
    for asked in selectors_of(query):
        if asked.metric != "up":
            assert any(metric == asked.metric and asked.selects(labels) for metric, labels in exported), asked


# --- statements ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_every_statement_runs_and_writes_nothing(database: str) -> None:
    statements = {statement for each in pages() for statement in each.blocks("sql")}
    connection = await asyncpg.connect(database)
    try:
        for statement in sorted(statements):
            async with connection.transaction(readonly=True):
                await connection.fetch(statement)
    finally:
        await connection.close()
    assert len(statements) >= 4
