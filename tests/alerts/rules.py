"""The rules file, its promtool tests, and the chart's rendering of it, as Python sees them."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.chart.helm import CHART, MINIMAL, Ended, helm

RULES = CHART / "files" / "rules" / "reconciler.yaml"
TESTS = Path(__file__).parent
ANY_SITE = 'job=~".*reconciler.*"'
THRESHOLD = re.compile(r"(?m)^.*(?:> |>= |\[|offset )(?P<literal>[0-9.]+).* # threshold: (?P<name>\w+)$")
SELECTOR = re.compile(r"\b(?P<metric>[A-Za-z_]+)\{(?P<matchers>[^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|=|!~|!=)"([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """One selector of an expression. `matchers`: label, operator and value, without those of the site."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    def selects(self, labels: Mapping[str, str]) -> bool:
        """As Prometheus does: a label that is not there is empty."""
        return all(_matches(labels.get(name, ""), operator, value) for name, operator, value in self.matchers)


def _matches(value: str, operator: str, wanted: str) -> bool:
    same = re.fullmatch(wanted, value) is not None if "~" in operator else value == wanted
    return same is not operator.startswith("!")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alerting rule, with the duration that its condition has to hold in seconds."""

    alert: str
    expr: str
    seconds: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def name(self) -> str:
        """Tells the rules of one alert apart."""
        return "-".join([self.alert, *(value for label, value in self.labels.items() if label != "severity")])

    def selectors(self) -> list[Selector]:
        """In the order of the expression: the first is what the alert is about."""
        return selectors_of(self.expr)


def selectors_of(expr: str) -> list[Selector]:
    """Of an expression or a query; only those in braces."""
    return [
        Selector(
            metric=found["metric"],
            matchers=tuple(each for each in MATCHER.findall(found["matchers"]) if each[0] != "job"),
        )
        for found in SELECTOR.finditer(expr)
    ]


def seconds_of(duration: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smhdw])", duration))


def rules_of(groups: list[dict[str, Any]]) -> list[Rule]:
    return [
        Rule(
            alert=rule["alert"],
            expr=rule["expr"],
            seconds=seconds_of(rule.get("for", "0s")),
            labels=rule["labels"],
            annotations=rule["annotations"],
        )
        for group in groups
        for rule in group["rules"]
    ]


def plain_groups() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return groups


def thresholds(expr: str) -> list[tuple[str, float]]:
    """Name and number of each threshold of an expression."""
    return [(found["name"], float(found["literal"])) for found in THRESHOLD.finditer(expr)]


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=100)


# --- the chart -----------------------------------------------------------------------------------------


def helm_template(
    values: Mapping[str, Any], *flags: str, release: str = "media", namespace: str = "media"
) -> Ended:
    """Render the PrometheusRule, with `values` over what the chart wants to be told at least."""
    return helm(
        *("template", release, str(CHART), "--namespace", namespace, *flags),
        *("--show-only", "templates/prometheusrule.yaml", "--values", "-"),
        stdin=yaml.safe_dump({**MINIMAL, "serviceMonitor": {"enabled": True}, **values}),
    )


def rendered(
    prometheus_rule: Mapping[str, Any], *, release: str = "media", namespace: str = "media", **values: Any
) -> dict[str, Any]:
    """The PrometheusRule itself."""
    wanted = {**values, "prometheusRule": {"enabled": True, **prometheus_rule}}
    ended = helm_template(wanted, release=release, namespace=namespace)
    assert ended.status == 0, ended.err
    made: dict[str, Any] = yaml.safe_load(ended.out)
    return made


# --- the promtool tests --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What one alert is expected to do at one time, with the labels of the series that there are."""

    alert: str
    seconds: int
    firing: list[Mapping[str, str]]
    series: list[tuple[str, Mapping[str, str]]]


@functools.cache
def cases() -> Sequence[Case]:
    """Of every promtool test of the plain file."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    for path in sorted(TESTS.glob("*.test.yaml")):
        for test in yaml.safe_load(path.read_text())["tests"]:
            series = [_series(each["series"]) for each in test["input_series"]]
            for case in test["alert_rule_test"]:
                yield Case(
                    alert=case["alertname"],
                    seconds=seconds_of(case["eval_time"]),
                    firing=[each["exp_labels"] for each in case["exp_alerts"]],
                    series=series,
                )


def _series(text: str) -> tuple[str, Mapping[str, str]]:
    found = SELECTOR.fullmatch(text)
    assert found, text
    return found["metric"], {name: value for name, _, value in MATCHER.findall(found["matchers"])}
