"""The commands in the runbooks: the reconciler's are run, and what is asked of kubectl fits the chart.

There is no kubectl here: its verbs and flags are compared with a list written by hand, and the objects and
labels that it is asked for with what the chart renders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import anyio
import pytest
import yaml

from reconciler import cli
from tests.alerts.pages import INDEX, PAUSE, page, pages
from tests.alerts.shell import Asked, ask
from tests.chart.helm import CHART, MINIMAL, helm
from tests.integration.site import Site
from tests.servers import Bucket
from tests.support.tripped import tripped_site

HALTED = "MediaReconcilerHalted"
PASS, KEY = "{pass}", "{key}"

STATUSES: Mapping[str, set[int]] = {
    "plan": {0, 3},  # what it finds would trip
    "plan --verdict mismatch": {0, 3},
    "adopt-bucket": {1},  # something is to be settled, and needs --yes
}
"""What a command may exit with, by its arguments, where that is not 0."""

FLAGS: Mapping[str, set[str]] = {
    "exec": {"--namespace"},
    "logs": {"--namespace", "--selector", "--prefix", "--tail", "--since", "--previous"},
    "get": {"--namespace", "--selector", "--output", "--sort-by"},
    "describe": {"--namespace", "--selector"},
    "edit": {"--namespace"},
    "rollout": {"--namespace"},
}
SWITCHES = {"--prefix", "--previous"}
WORDS = {"pods", "events", "servicemonitors,podmonitors,networkpolicies", "configmap", "restart", "status"}
"""Kinds, and the two actions of `rollout`."""


@pytest.fixture
def asked(tmp_path: Path) -> list[Asked]:
    """Of every command, each once; those of the halt last, since they end what the others need."""
    halt = page(HALTED)
    first = [page(PAUSE), *(each for each in pages() if each.name not in {INDEX, PAUSE, HALTED})]
    once = dict.fromkeys(command for each in first for command in each.commands())
    return ask([*once, *halt.commands()], tmp_path, PASS=PASS, KEY=KEY)


# --- the reconciler's ------------------------------------------------------------------------------------


@pytest.fixture
def site(database: str, moto_bucket: Bucket) -> Iterator[Site]:
    with tripped_site(database, moto_bucket) as made:
        yield made


def test_each_command_does_what_it_is_there_for_on_a_site_that_needs_it(
    site: Site, asked: list[Asked], capsys: pytest.CaptureFixture[str]
) -> None:
    failed: list[str] = []
    for each in asked:
        arguments = [_filled(argument, each.pod, site) for argument in each.pod]
        if arguments == ["adopt-bucket"]:
            site.bucket.client.delete_object(Bucket=site.bucket.name, Key=".reconciler/identity.json")
        if arguments and (status := _run(arguments)) not in STATUSES.get(" ".join(arguments), {0}):
            failed.append(f"{each.command} exits {status}: {capsys.readouterr().err.splitlines()[-1:]}")
    assert failed == []


def _run(arguments: Sequence[str]) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


def _filled(argument: str, command: Sequence[str], site: Site) -> str:
    """`$PASS`: the newest that waits for a decision, else the newest. `$KEY`: marked; to undo, deleted."""
    if argument == PASS:
        passes = anyio.run(site.passes)
        return str(max([number for number, _, state in passes if state == "tripped"] or [len(passes)]))
    if argument == KEY:
        marked = anyio.run(site.sql, "SELECT storage_key FROM reconciler.marks ORDER BY 1 DESC LIMIT 1")
        return "image/gone" if command[0] == "undo" else str(marked[0][0])
    return argument


# --- kubectl's -------------------------------------------------------------------------------------------


def test_what_is_asked_of_kubectl_is_there(asked: list[Asked]) -> None:
    objects, labels = _rendered()
    calls = {call for each in asked for call in each.calls}
    assert [" ".join(call) for call in sorted(calls) if not _fits(call, objects, labels)] == []


def _fits(call: Sequence[str], objects: set[str], labels: set[str]) -> bool:
    verb, *rest = call[: call.index("--")] if "--" in call else call
    flags, words = _parsed(rest)
    selected = set(flags.get("--selector", "").split(",")) - {""}
    return (
        flags.keys() <= FLAGS.get(verb, set())
        and flags["--namespace"] == "gateway"
        and selected <= labels
        and set(words) <= WORDS | objects
    )


def _parsed(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Flags with their values, as `--flag value` or `--flag=value`, and what is no flag."""
    flags: dict[str, str] = {}
    words: list[str] = []
    rest = iter(arguments)
    for each in rest:
        name, given, value = each.partition("=")
        if not each.startswith("--"):
            words.append(each)
        else:
            flags[name] = value if given or name in SWITCHES else next(rest)
    return flags, words


def _rendered() -> tuple[set[str], set[str]]:
    """What the chart makes of the release that the index names: objects, and labels of the daemon's pods."""
    ended = helm("template", "media-reconciler", str(CHART), "--values", "-", stdin=yaml.safe_dump(MINIMAL))
    objects: set[str] = set()
    labels: set[str] = set()
    for made in filter(None, yaml.safe_load_all(ended.out)):
        name = made["metadata"]["name"]
        objects |= {f"deploy/{name}" if made["kind"] == "Deployment" else name}
        if made["kind"] == "Deployment":
            pod = made["spec"]["template"]["metadata"]["labels"]
            labels |= {f"{label}={value}" for label, value in pod.items()}
    return objects, labels
