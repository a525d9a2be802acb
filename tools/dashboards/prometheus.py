"""A real Prometheus on loopback, and the dashboards' questions put as Grafana would put them."""

from __future__ import annotations

import json
import math
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import yaml

from reconciler.embedded.client import HOST, Supervisor, free_ports

RULES = Path(__file__).parent.parent.parent / "helm" / "files" / "rules" / "reconciler.yaml"
JOB, NAMESPACE = "media-reconciler", "media"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """`points` are Unix time and value, in order and without those that are no number; at least one."""

    labels: Mapping[str, str]
    points: list[tuple[float, float]]

    @property
    def latest(self) -> float:
        return self.points[-1][1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """One that runs; it scrapes every second, and evaluates the rules file as it is."""

    port: int

    def ask(self, path: str, **parameters: object) -> Any:
        """The answer's `data`; raises ValueError with what Prometheus says where it refuses."""
        address = f"http://{HOST}:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]
        except HTTPError as refused:
            with refused:
                raise ValueError(refused.read().decode()) from None

    def instant(self, expr: str, at: float | None = None) -> list[Series]:
        found = self.ask("query", query=expr, **({} if at is None else {"time": at}))
        return list(_series((each["metric"], [each["value"]]) for each in found["result"]))

    def range(self, expr: str, since: float, until: float, step: float = 1) -> list[Series]:
        found = self.ask("query_range", query=expr, start=since, end=until, step=step)
        return list(_series((each["metric"], each["values"]) for each in found["result"]))

    def answers(self) -> bool:
        with suppress(OSError, ValueError):
            self.ask("status/buildinfo")
            return True
        return False


def _series(found: Iterator[tuple[Mapping[str, str], list[Any]]]) -> Iterator[Series]:
    for labels, points in found:
        numbers = [(float(at), float(value)) for at, value in points]
        kept = [(at, value) for at, value in numbers if not math.isnan(value)]
        if kept:
            yield Series(labels=labels, points=kept)


@contextmanager
def prometheus(
    supervisor: Supervisor, target: int | None = None, *, samples: Path | None = None
) -> Iterator[Prometheus]:
    """Scrapes the daemon on that port, if any; it has those samples, in OpenMetrics, from the start."""
    port = free_ports(1)
    home = supervisor.directory / f"prometheus-{port}"
    home.mkdir()
    targets = [f"{HOST}:{target}"] if target else []
    static = {"targets": targets, "labels": {"namespace": NAMESPACE}}
    settings = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "2s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": JOB, "static_configs": [static]}],
    }
    if samples is not None:
        backfill = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(samples), str(home / "tsdb")]
        subprocess.run(backfill, check=True, stdout=subprocess.DEVNULL)
    file = home / "prometheus.yml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    supervisor.start(
        home.name,
        [
            "/usr/bin/prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={home / 'tsdb'}",
            f"--web.listen-address={HOST}:{port}",
            "--log.level=warn",
        ],
    )
    try:
        running = Prometheus(port=port)
        supervisor.wait_for(home.name, running.answers, "Prometheus")
        yield running
    finally:
        supervisor.stop(home.name)


# --- as Grafana ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """A dashboard's reader, who looks at the time between two moments."""

    prometheus: Prometheus
    since: float
    until: float
    scrape: float
    variables: Mapping[str, str]

    def filled(self, expr: str) -> str:
        """With the variables' values, the dashboard's own and those that Grafana reckons out."""
        interval = f"{max(15, 4 * self.scrape):.0f}s"
        shown = {**self.variables, "__rate_interval": interval, "__range": f"{self.until - self.since:.0f}s"}
        for name, value in shown.items():
            expr = expr.replace(f"${name}", value)
        return expr

    def looks(self, target: Mapping[str, Any]) -> list[Series]:
        """What a panel's query returns; the latest value alone where the panel shows no more."""
        expr = self.filled(target["expr"])
        if target["instant"]:
            return self.prometheus.instant(expr, self.until)
        return self.prometheus.range(expr, self.since, self.until, self.scrape)


def open_dashboard(
    asked: Prometheus, dashboard: Mapping[str, Any], since: float, until: float, *, scrape: float = 1
) -> Viewer:
    """The variables take the first value that their query finds, and are empty where it finds none. `scrape`:
    seconds between two samples.
    """
    values: dict[str, str] = {}
    viewer = Viewer(prometheus=asked, since=since, until=until, scrape=scrape, variables=values)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        selector, label = variable["definition"].removeprefix("label_values(").removesuffix(")").split("}, ")
        match = viewer.filled(selector + "}")
        found = asked.ask(f"label/{label}/values", **{"match[]": match, "start": since, "end": until})
        values[variable["name"]] = min(found, default="")
    return viewer


def panels_of(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that ask for something, in order."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]
