"""Strict schemas: of Kubernetes' own objects, and of the Prometheus operator's as far as the chart goes."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jsonschema
from referencing import Registry, Resource

from tests.chart.helm import Manifest

VERSIONS = ("1.25", "1.28", "1.31", "1.34", "1.37")
"""The oldest that the chart takes, the newest with a schema, and some between."""


def faults(manifest: Manifest, version: str) -> Sequence[str]:
    """What the version's API server would refuse in the object, unknown fields among it."""
    validator = _validator(manifest["apiVersion"], manifest["kind"], version)
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(manifest)]


@functools.cache
def _validator(api_version: str, kind: str, version: str) -> Any:
    if api_version == "monitoring.coreos.com/v1":
        return jsonschema.Draft202012Validator(OPERATOR[kind])
    group, _, revision = api_version.rpartition("/")
    name = "-".join(filter(None, (kind.lower(), group.split(".", maxsplit=1)[0], revision)))
    resource, registry = _definitions(version)
    schema = _read(version, f"{name}.json")
    registry = Resource.from_contents(schema) @ registry
    return jsonschema.Draft202012Validator(schema, registry=resource @ registry)


@functools.cache
def _definitions(version: str) -> tuple[Any, Any]:
    resource = Resource.from_contents(_read(version, "_definitions.json"))
    return resource, resource @ Registry()


def _read(version: str, name: str) -> Mapping[str, Any]:
    directory = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    read: Mapping[str, Any] = json.loads((directory / name).read_text(encoding="utf-8"))
    return read


# --- the operator's -------------------------------------------------------------------------------------


def _strict(properties: Mapping[str, Any], *required: str) -> Mapping[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
STRINGS = {"type": "object", "additionalProperties": TEXT}
RELABELLING = {
    "type": "array",
    "items": _strict(
        {
            "action": TEXT,
            "regex": TEXT,
            "sourceLabels": {"type": "array"},
            "targetLabel": TEXT,
            "replacement": TEXT,
        }
    ),
}
ENDPOINTS = {
    "type": "array",
    "minItems": 1,
    "items": _strict(
        {
            "port": TEXT,
            "path": TEXT,
            "interval": TEXT,
            "scrapeTimeout": TEXT,
            "honorLabels": {"type": "boolean"},
            "relabelings": RELABELLING,
            "metricRelabelings": RELABELLING,
        },
        "port",
    ),
}


def _monitor(endpoints: str) -> Mapping[str, Any]:
    return _object(
        _strict(
            {
                "jobLabel": TEXT,
                "namespaceSelector": _strict({"matchNames": {"type": "array", "items": TEXT}}),
                "selector": _strict({"matchLabels": STRINGS}, "matchLabels"),
                endpoints: ENDPOINTS,
            },
            "selector",
            endpoints,
        )
    )


def _object(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = _strict(
        {"name": TEXT, "namespace": TEXT, "labels": STRINGS, "annotations": STRINGS}, "name", "namespace"
    )
    return _strict({"apiVersion": TEXT, "kind": TEXT, "metadata": metadata, "spec": spec}, "metadata", "spec")


RULE = _strict(
    {"alert": TEXT, "record": TEXT, "expr": TEXT, "for": TEXT, "labels": STRINGS, "annotations": STRINGS},
    "expr",
)
GROUP = _strict({"name": TEXT, "interval": TEXT, "rules": {"type": "array", "items": RULE}}, "name", "rules")
OPERATOR: Mapping[str, Mapping[str, Any]] = {
    # https://prometheus-operator.dev/docs/api-reference/api/
    "ServiceMonitor": _monitor("endpoints"),
    "PodMonitor": _monitor("podMetricsEndpoints"),
    "PrometheusRule": _object(_strict({"groups": {"type": "array", "items": GROUP}}, "groups")),
}
