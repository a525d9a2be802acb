"""The example values: rendered, and the commands at their head make what the pods read."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import schemas
from tests.chart.helm import CHART, EXAMPLES, OPERATOR, Manifest, helm, of_kind, pods

each_example = pytest.mark.parametrize("file", [*EXAMPLES, OPERATOR], ids=lambda file: file.stem)


def commands(file: Path) -> Iterator[list[str]]:
    """Those that the comment at the head says, each as its words."""
    lines = file.read_text(encoding="utf-8").splitlines()
    told = "\n".join(line.removeprefix("#").strip() for line in lines if line.startswith("#   "))
    for line in told.replace("\\\n", " ").splitlines():
        yield shlex.split(line)


def installed(file: Path) -> Sequence[Manifest]:
    """What the `helm install` of an example makes."""
    (install,) = (words for words in commands(file) if words[0] == "helm")
    assert install[:4] == ["helm", "install", "media-reconciler", "./helm"]
    ended = helm("template", install[2], str(CHART), *(_here(word) for word in install[4:]))
    assert ended.status == 0, ended.err
    return [document for document in yaml.safe_load_all(ended.out) if document]


def _here(word: str) -> str:
    return str(CHART / word.removeprefix("helm/")) if word.startswith("helm/") else word


@each_example
def test_what_its_command_installs_is_what_each_version_of_kubernetes_allows(file: Path) -> None:
    manifests = installed(file)
    assert of_kind(manifests, "Deployment")
    assert [f for m in manifests for version in schemas.VERSIONS for f in schemas.faults(m, version)] == []


@each_example
def test_it_says_nothing_that_the_defaults_say(file: Path) -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert [*_repeated(yaml.safe_load(file.read_text(encoding="utf-8")), defaults)] == []


def _repeated(values: Mapping[str, Any], defaults: Mapping[str, Any], at: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _repeated(value, defaults.get(name, {}), f"{at}{name}.")
        elif name in defaults and value == defaults[name]:
            yield at + name


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_its_commands_make_every_secret_and_config_map_that_the_pods_read(file: Path) -> None:
    manifests = installed(file)
    ours = {manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == "ConfigMap"}
    read = {entry for pod in pods(manifests).values() for entry in _read(pod) if entry[1] not in ours}
    made = {entry for words in commands(file) if words[:2] == ["kubectl", "create"] for entry in _made(words)}
    assert read == made


def _read(pod: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Kind, name and entry. Of a whole volume, the entries are those that a variable names below its path."""
    (container,) = pod["containers"]
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    for volume in pod["volumes"]:
        if source := volume.get("secret"):
            for item in source["items"]:
                yield "secret", source["secretName"], item["key"]
        if source := volume.get("configMap"):
            for variable in container["env"]:
                directory, _, entry = variable.get("value", "").rpartition("/")
                if directory == paths.get(volume["name"]):
                    yield "configmap", source["name"], entry
    for variable in container["env"]:
        if source := variable.get("valueFrom", {}).get("secretKeyRef"):
            yield "secret", source["name"], source["key"]


def _made(words: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    kind = words[2]
    name = words[4] if kind == "secret" else words[3]
    for word in words:
        option, _, said = word.partition("=")
        if option in {"--from-literal", "--from-file"}:
            yield kind, name, said.partition("=")[0]


def test_the_operators_example_makes_monitor_alerts_pages_and_dashboards_over_any_store() -> None:
    for store in EXAMPLES:
        files = [option for file in (store, OPERATOR) for option in ("--values", str(file))]
        ended = helm("template", "media-reconciler", str(CHART), *files)
        assert ended.status == 0, ended.err
        made = [(doc["kind"], doc["metadata"]["name"]) for doc in yaml.safe_load_all(ended.out) if doc]
        assert {kind for kind, _ in made} >= {"ServiceMonitor", "PrometheusRule"}
        names = {name.removeprefix("media-reconciler") for kind, name in made if kind == "ConfigMap"}
        assert names == {"", "-runtime", "-migrate", "-runbooks", "-overview", "-internals"}


def test_each_stores_example_is_linked_from_the_readme() -> None:
    text = (CHART / "README.md").read_text(encoding="utf-8")
    assert [file.name for file in (*EXAMPLES, OPERATOR) if f"(examples/{file.name})" not in text] == []
