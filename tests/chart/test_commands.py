"""Every helm command and every `--set` that the pages, the notes, the values and the refusals say is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from tests.alerts.pages import blocks
from tests.chart.helm import CHART, Manifest, helm, of_kind

ROOT = CHART.parent
PAGES = (ROOT / "README.md", CHART / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
SOURCES = (
    *PAGES,
    CHART / "values.yaml",
    *sorted((CHART / "templates").rglob("*.t*")),
    CHART / "files" / "values.schema.json",
)
NAMES: Mapping[str, str] = {"$RELEASE": "media-reconciler", "$NAMESPACE": "gateway"}
SAID = re.compile(r"--set(?:-string)? (?:'[^']*'|[\w.\\]+=[^\s\"`,;:)]+)")
INSTALLED = (
    *("--set", "bucket.name=media", "--set", "bucket.prefixes={image/,video/}"),
    *("--set", "database.existingSecret=reconciler-database"),
)
"""What an installation said before, which an upgrade with `--reset-then-reuse-values` brings along."""


def commands() -> Iterator[tuple[Path, list[str]]]:
    """Each `helm install` and `helm upgrade` of the pages, as its words."""
    for path in PAGES:
        for block in blocks(path.read_text(encoding="utf-8"), "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = [NAMES.get(word, word) for word in shlex.split(line, comments=True)]
                if words[:1] == ["helm"] and words[1] in {"install", "upgrade"}:
                    yield path, words


def made(*options: str) -> list[Manifest]:
    ended = helm("template", "media-reconciler", str(CHART), "--namespace", "gateway", *options)
    assert ended.status == 0, ended.err
    return [document for document in yaml.safe_load_all(ended.out) if document]


COMMANDS = [*commands()]


@pytest.mark.parametrize("words", [words for _, words in COMMANDS], ids=lambda words: " ".join(words[:3]))
def test_a_pages_command_is_taken_by_the_chart(words: list[str]) -> None:
    _, verb, release, chart, *options = words
    assert (release, chart) == ("media-reconciler", "./helm")
    before = INSTALLED if verb == "upgrade" else ()
    assert ("--reset-then-reuse-values" in options) == (verb == "upgrade")
    (daemon,) = of_kind(
        made(*before, *(o for o in options if o != "--reset-then-reuse-values")), "Deployment"
    )
    assert daemon["metadata"]["namespace"] == "gateway"


def test_the_pages_install_and_upgrade() -> None:
    assert {words[1] for path, words in COMMANDS if path == CHART / "README.md"} == {"install", "upgrade"}


def test_every_set_that_is_said_anywhere_is_taken() -> None:
    said = {
        found: path.name
        for path in SOURCES
        for found in SAID.findall(path.read_text(encoding="utf-8").replace('\\"', '"').replace("\\\n", " "))
    }
    assert {*said.values()} >= {
        "README.md",
        "NOTES.txt",
        "_validate.tpl",
        "values.schema.json",
        "values.yaml",
    }
    refused = {}
    for found, where in said.items():
        ended = helm(
            "template", "media-reconciler", str(CHART), *INSTALLED, *shlex.split(found), *ALSO.get(found, ())
        )
        if ended.status:
            refused[found, where] = ended.err
    assert refused == {}


ALSO: Mapping[str, tuple[str, ...]] = {
    "--set 'bucket.prefixes={}'": ("--set", "bucket.wholeBucket=true"),
}
"""What else has to be said for one of them."""


def test_the_readmes_role_is_the_annotation_that_eks_reads() -> None:
    (said,) = re.findall(r"`(--set 'serviceAccount[^`]*)`", (CHART / "README.md").read_text(encoding="utf-8"))
    account = named_account(*shlex.split(said))
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/media-reconciler"
    }


def named_account(*options: str) -> Manifest:
    (account,) = of_kind(made(*INSTALLED, *options), "ServiceAccount")
    return account


def test_the_image_that_the_readme_builds_is_the_one_that_its_installation_runs() -> None:
    text = (CHART / "README.md").read_text(encoding="utf-8")
    (built,) = re.findall(r"^docker build --tag (\S+) \.$", text, re.MULTILINE)
    (pushed,) = re.findall(r"^docker push (\S+)$", text, re.MULTILINE)
    (install,) = (words for path, words in COMMANDS if path == CHART / "README.md" and words[1] == "install")
    (daemon,) = of_kind(made(*install[4:]), "Deployment")
    (container,) = daemon["spec"]["template"]["spec"]["containers"]
    assert {built, pushed} == {container["image"]}


def test_the_objects_that_the_readmes_commands_name_are_made() -> None:
    text = (CHART / "README.md").read_text(encoding="utf-8")
    names = {*re.findall(r"(?:configmap --namespace gateway |deploy/)(media-reconciler[a-z-]*)", text)}
    objects = {m["metadata"]["name"] for m in made(*INSTALLED, "--set", "prometheusRule.enabled=true")}
    assert {"media-reconciler-runtime", "media-reconciler-runbooks"} <= names
    assert names <= objects
