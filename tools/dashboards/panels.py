"""What a dashboard is made of, and how Grafana writes it down.

A description says rows of panels; where each panel stands follows from their widths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from reconciler.model import Verdict

SITE = 'cluster="$cluster",namespace="$namespace",job="$job"'
"""In every selector, so that two installations never mix. A label that Prometheus does not have is empty."""
RUNBOOKS = "docs/runbooks"
COLUMNS = 24
SCHEMA = 41

GOOD, ODD, BAD, PLAIN, UNKNOWN = "green", "orange", "red", "blue", "#808080"

COLOURS: Mapping[str, str] = {
    **{verdict.value: verdict.spec.colour for verdict in Verdict},
    "ok": "green",
    "missing": "blue",
    "throttled": "yellow",
    "refused": "orange",
    "unavailable": "red",
    "failed": "red",
    "retried": "yellow",
    "lost": "dark-red",
    "done": "green",
    "open": "blue",
    "live": "orange",
    "deleted": "orange",
    "dry run": "blue",
    "cap": "red",
    "freed by purges": "green",
}
"""What a series is called has one colour, wherever it is shown."""

Kind = Literal["stat", "timeseries", "bargauge", "table", "state-timeline"]
Steps = tuple[tuple[float | None, str], ...]


def of(metric: str, *matchers: str) -> str:
    """A selector of one of our metrics."""
    return f"media_reconciler_{metric}{{{','.join([SITE, *matchers])}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """`legend` names a series by its labels: `{{verdict}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    `says` is its description. `steps`: colours from a value on, the first without one. `words` stand
    for values: the word, and its colour. `columns` are a table's labels, in order. `alerts` link to runbooks.
    `whole`: shown without the fraction that Prometheus reckons into an increase. `signed`: may be below zero.
    """

    title: str
    says: str
    kind: Kind
    queries: tuple[Query, ...]
    width: int
    height: int = 7
    unit: str = "short"
    steps: Steps = ((None, UNKNOWN),)
    words: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    stacked: bool = False
    whole: bool = False
    signed: bool = False
    without: str = "-"

    @property
    def instant(self) -> bool:
        """Whether the latest value is all that is shown."""
        return self.kind in {"stat", "bargauge", "table"}


def tile(title: str, says: str, expr: str, **more: Any) -> Panel:
    """One value, on its colour."""
    made = {"width": 3, "height": 3, **more}
    return Panel(title=title, says=says, kind="stat", queries=(Query(expr=expr),), **made)


def graph(title: str, says: str, *queries: Query, **more: Any) -> Panel:
    """Values over time."""
    return Panel(title=title, says=says, kind="timeseries", queries=queries, **{"width": 8, **more})


def bars(title: str, says: str, *queries: Query, **more: Any) -> Panel:
    """The latest values side by side."""
    return Panel(title=title, says=says, kind="bargauge", queries=queries, **{"width": 8, **more})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels side by side under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """`uid` stays the same for good: links and bookmarks name it."""

    uid: str
    title: str
    says: str
    rows: tuple[Row, ...]
    since: str = "now-24h"


# --- as Grafana's JSON ---------------------------------------------------------------------------------

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def as_json(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.says,
        "tags": ["media-reconciler"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": dashboard.since, "to": "now"},
        "timezone": "",
        "annotations": {"list": [_changes_of_leader()]},
        "links": [_others()],
        "templating": {"list": _variables()},
        "panels": list(_placed(dashboard.rows)),
    }


def _changes_of_leader() -> dict[str, Any]:
    return {
        "name": "changes of leader",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": f"changes(max({of('lease_epoch')})[1m:]) > 0",
        "titleFormat": "another replica leads",
    }


def _others() -> dict[str, Any]:
    return {
        "title": "The other dashboards of the media reconciler",
        "type": "dashboards",
        "tags": ["media-reconciler"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "icon": "external link",
        "targetBlank": False,
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        _label("cluster", ""),
        _label("namespace", 'cluster="$cluster"'),
        _label("job", 'cluster="$cluster",namespace="$namespace"'),
        {
            "name": "runbooks",
            "label": "Runbooks",
            "description": "Where the pages of docs/runbooks are, for the panels' links",
            "type": "textbox",
            "query": RUNBOOKS,
            "current": {"text": RUNBOOKS, "value": RUNBOOKS},
        },
    ]


def _label(name: str, among: str) -> dict[str, Any]:
    """One value at a time. Where Prometheus has no such label, the variable is empty and matches that."""
    query = f"label_values(media_reconciler_build_info{{{among}}}, {name})"
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": False,
        "includeAll": False,
    }


def _placed(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    """From left to right, and on a new line where a panel does not fit."""
    number, top = 0, 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        }
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            number += 1
            at = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield {"id": number, "gridPos": at, **_panel(panel)}
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": DATASOURCE,
        "links": [
            {"title": f"Runbook: {alert}", "url": f"${{runbooks}}/{alert}.md", "targetBlank": True}
            for alert in panel.alerts
        ],
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": panel.instant,
                "range": not panel.instant,
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for number, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel),
        "transformations": _transformations(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    coloured_by_value = panel.kind in {"stat", "table", "state-timeline"}
    made: dict[str, Any] = {
        "unit": panel.unit,
        "noValue": panel.without,
        "color": {"mode": "thresholds" if coloured_by_value else "palette-classic"},
        "thresholds": {
            "mode": "absolute",
            "steps": [{"color": colour, "value": value} for value, colour in panel.steps],
        },
        "mappings": [
            {
                "type": "value",
                "options": {
                    str(value): {"text": word, "color": colour, "index": index}
                    for index, (value, (word, colour)) in enumerate(panel.words.items())
                },
            }
        ]
        if panel.words
        else [],
    }
    if panel.whole:
        made["decimals"] = 0
    if not panel.signed:
        made["min"] = 0
    if panel.kind == "timeseries":
        made["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if panel.stacked else 5,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    return made


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    if panel.kind not in {"timeseries", "bargauge"}:
        return []
    fixed = {query.legend for query in panel.queries} & COLOURS.keys()
    by_label = any(
        query.legend in {"{{verdict}}", "{{outcome}}", "{{result}}", "{{state}}"} for query in panel.queries
    )
    return [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in COLOURS.items()
        if by_label or name in fixed
    ]


def _options(panel: Panel) -> dict[str, Any]:
    latest = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match panel.kind:
        case "stat":
            return {
                "colorMode": "background",
                "graphMode": "none",
                "reduceOptions": latest,
                "textMode": "value",
            }
        case "bargauge":
            return {"displayMode": "basic", "orientation": "horizontal", "reduceOptions": latest}
        case "timeseries":
            legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        case "state-timeline":
            return {
                "showValue": "never",
                "mergeValues": True,
                "rowHeight": 0.8,
                "legend": {"showLegend": False},
            }
        case "table":
            return {"showHeader": True, "cellHeight": "sm"}


def _transformations(panel: Panel) -> list[dict[str, Any]]:
    """Of a table its labels alone, in the order asked for."""
    if panel.kind != "table":
        return []
    order = {name: index for index, name in enumerate(panel.columns)}
    return [
        {"id": "filterFieldsByName", "options": {"include": {"names": list(panel.columns)}}},
        {"id": "organize", "options": {"indexByName": order}},
    ]
