"""The values, their schema, their reference and the notes say the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, template, with_values
from tools import chart_readme as readme

VALUES: Mapping[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA: Mapping[str, Any] = json.loads((CHART / "files" / "values.schema.json").read_text(encoding="utf-8"))
FREE = {"global"}
"""Objects in which somebody else's names are welcome."""


def test_the_readme_has_the_reference_of_these_values() -> None:
    assert readme.README.read_text(encoding="utf-8") == readme.current(), "run python -m tools.chart_readme"


def test_every_value_is_described() -> None:
    told = {value.path for value in readme.documented()}
    missing = [".".join(path) for path in _leaves(VALUES) if not any(path[: len(t)] == t for t in told)]
    assert missing == []


def _leaves(tree: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*at, name))
        else:
            yield (*at, name)


def test_the_schema_knows_every_value_and_each_property_is_a_value() -> None:
    assert {*_properties(SCHEMA, VALUES)} == {("enabled",)}


def _properties(
    schema: Mapping[str, Any], values: Any, at: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """What only one of the two has."""
    schema = _resolved(schema)
    if (
        "properties" not in schema
        or not isinstance(values, dict)
        or at in {("livenessProbe",), ("readinessProbe",)}
    ):
        return
    for name in {*schema["properties"]} ^ {*values}:
        yield (*at, name)
    for name in {*schema["properties"]} & {*values}:
        yield from _properties(schema["properties"][name], values[name], (*at, name))


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        found: Mapping[str, Any] = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]]
        return found
    return schema


def test_the_schema_is_strict_wherever_it_names_properties() -> None:
    open_ended = [path for path in _open(SCHEMA, "") if path not in FREE]
    assert open_ended == []


def _open(schema: Any, at: str) -> Iterator[str]:
    if isinstance(schema, dict):
        if (
            schema.get("type") == "object"
            and "properties" in schema
            and schema.get("additionalProperties") is not False
        ):
            yield at.rsplit(".", 1)[-1]
        for name, value in schema.items():
            yield from _open(value, f"{at}.{name}")


# --- notes ----------------------------------------------------------------------------------------------


def notes(directory: Path, **changes: object) -> str:
    """NOTES.txt as helm renders it, in an object: helm itself shows it only where there is a cluster."""
    chart = directory / "chart"
    shutil.copytree(CHART, chart)
    text = (chart / "templates" / "NOTES.txt").read_text(encoding="utf-8")
    defined = f'{{{{ define "notes" }}}}{text}{{{{ end }}}}'
    (chart / "templates" / "noted.yaml").write_text(
        defined + 'notes: {{ include "notes" . | toJson }}', encoding="utf-8"
    )
    ended = template(with_values(**changes), "--show-only", "templates/noted.yaml", chart=chart)
    assert ended.status == 0, ended.err
    told: str = yaml.safe_load(ended.out)["notes"]
    return told


@pytest.mark.parametrize(
    ("dry_run", "steps"),
    [
        (True, ["helm test media", "-- reconciler plan", "--set dryRun=false"]),
        (False, ["helm test media", "-- reconciler passes", "-- reconciler pause"]),
    ],
)
def test_the_notes_tell_the_next_three_commands(dry_run: bool, steps: list[str], tmp_path: Path) -> None:
    told = notes(tmp_path, dryRun=dry_run)
    commands = [line.strip() for line in told.splitlines() if line.startswith("     ")]
    assert len(commands) == len(steps)
    for command, step in zip(commands, steps, strict=True):
        assert step in command
        assert "--namespace gateway" in command
    assert 'manages "image/", "video/" in the bucket "media"' in told


def test_the_notes_say_what_is_switched_off(tmp_path: Path) -> None:
    told = notes(tmp_path, mediaManagement__enableOwnershipTracking=False, migrations__enabled=False)
    assert "enableOwnershipTracking is false" in told
    assert "run `reconciler migrate` yourself" in told


def test_the_notes_say_how_to_open_the_status_page_where_it_is_served(tmp_path: Path) -> None:
    command = "kubectl port-forward --namespace gateway svc/media-media-reconciler-admin 8081"
    assert command in notes(tmp_path / "with", admin__tokens__existingSecret="tokens")
    assert "port-forward" not in notes(tmp_path / "without")
