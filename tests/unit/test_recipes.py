"""CONTRIBUTING's recipes, followed in a copy of the tree for a verdict and a setting that are made up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = (
    "reconciler",
    "media_reconciler",
    "migrations",
    "tests",
    "tools",
    "helm",
    "docs",
    "README.md",
    "pyproject.toml",
)

SPEC = """\
    OVERSIZED = (
        "oversized",
        VerdictSpec(
            found_by=PassKind.RETENTION,
            says="too large for a key that has ended",
            switches=("auto_cleanup",),
            reads=("size_bytes", "virtual_key_id"),
            owner=OwnerRead.STATE,
            colour="brown",
        ),
    )
    ADOPT ="""
RULE = """\
def _oversized(record: Record, policy: Policy, terms: Terms, now: datetime) -> str:
    ended = record.owner is not None and not record.owner.enabled
    return "too large" if ended and (record.size_bytes or 0) > 10**9 else ""


RULES: """
NOMINATION = """\
    async def _oversized(self, policy: Policy, now: datetime) -> list[Branch]:
        return [Branch(condition=f"{self._gateway.size} > 1000000000", values=())]

    async def _missing_owners("""
CASE = """\
async def test_an_oversized_one_goes(site: Site) -> None:
    report = await site.once()
    assert report.found[Verdict.OVERSIZED] == 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Text of a file that is replaced, once; at its end where `old` is ""."""

    path: str
    old: str = ""
    new: str


A_VERDICT = (
    Edit(path="reconciler/model/verdicts.py", old="    ADOPT =", new=SPEC),
    Edit(path="reconciler/planning/retention.py", old="RULES: ", new=RULE),
    Edit(
        path="reconciler/planning/retention.py",
        old="    Verdict.STALE: _stale,\n",
        new="    Verdict.STALE: _stale,\n    Verdict.OVERSIZED: _oversized,\n",
    ),
    Edit(
        path="reconciler/catalog/media_tables/nomination.py",
        old="    async def _missing_owners(",
        new=NOMINATION,
    ),
    Edit(
        path="reconciler/catalog/media_tables/nomination.py",
        old="    Verdict.STALE: Nominator._stale,",
        new="    Verdict.OVERSIZED: Nominator._oversized,\n    Verdict.STALE: Nominator._stale,",
    ),
    Edit(
        path="reconciler/demo/scene.py",
        old="KINDS = (\n",
        new='KINDS = (\n    Kind(name="too large", share=0.02, goes="oversized", row=Row()),\n',
    ),
    *(
        Edit(path=path, new="*oversized*: too large for a key that has ended\n")
        for path in ("README.md", "docs/how-it-works.md", "docs/glossary.md")
    ),
    Edit(path="tests/integration/test_verdicts.py", new=CASE),
)

WHAT_LACKS_ALL_BUT_THE_FIRST = {
    "test_each_verdict_of_retention_has_a_rule_and_a_nomination",
    "test_the_demo_has_a_case_of_it",
    "test_the_documentation_tells_what_it_is",
    "test_it_is_shown_on_real_servers",
}


def test_a_made_up_verdict_is_known_everywhere_once_its_recipe_was_followed(tmp_path: Path) -> None:
    tree = copy(tmp_path)
    follow(tree, A_VERDICT[:1])
    assert failing(tree, "tests/unit/test_verdicts.py") == WHAT_LACKS_ALL_BUT_THE_FIRST
    follow(tree, A_VERDICT[1:])
    assert failing(tree, "tests/unit/test_verdicts.py") == set()


A_SETTING = (
    Edit(
        path="reconciler/settings/schema.py",
        old="    upload_window: Duration",
        new='    linger: Duration = timedelta(minutes=3)\n    """How long."""\n    upload_window: Duration',
    ),
    Edit(
        path="reconciler/engine/runtime/context.py",
        old="    hold_for: timedelta\n",
        new="    hold_for: timedelta\n    linger: timedelta\n",
    ),
    Edit(
        path="helm/values.yaml",
        old="holdFor: 30d\n",
        new="holdFor: 30d\n# -- How long.\nlinger: 3m\n",
    ),
    Edit(
        path="helm/files/values.schema.json",
        old='    "holdFor": {',
        new='    "linger": {"$ref": "#/definitions/duration"},\n    "holdFor": {',
    ),
    Edit(
        path="helm/templates/_settings.tpl",
        old="hold_for: {{",
        new="linger: {{ toJson $v.linger }}\nhold_for: {{",
    ),
    Edit(
        path="tests/chart/test_settings.py",
        old='    "hold_for": (',
        new='    "linger": ("linger", "5m", timedelta(minutes=5)),\n    "hold_for": (',
    ),
)
WHERE_IT_HAS_TO_BE = (
    "tests/unit/test_settings_reference.py",
    "tests/chart/test_values.py::test_the_readme_has_the_reference_of_these_values",
    "tests/chart/test_values.py::test_every_value_is_described",
    "tests/chart/test_values.py::test_the_schema_knows_every_value_and_each_property_is_a_value",
    "tests/chart/test_settings.py::test_every_setting_of_the_program_has_a_value_or_a_reason_for_none",
    "tests/chart/test_settings.py::test_each_value_reaches_its_setting",
    "tests/chart/test_settings.py::test_the_charts_defaults_are_the_programs",
    "tests/chart/test_settings.py::test_runtime_settings_are_in_the_runtime_file_and_nowhere_else",
)
WHAT_MISSES_A_SETTING = {
    "test_the_reference_is_up_to_date",
    "test_every_setting_of_the_program_has_a_value_or_a_reason_for_none",
}
HANDED_ON = "from tests.doubles.build import runtime, settings; assert runtime().linger == settings().linger"


def test_a_made_up_setting_is_known_everywhere_once_its_recipe_was_followed(tmp_path: Path) -> None:
    tree = copy(tmp_path)
    follow(tree, A_SETTING[:1])
    assert failing(tree, *WHERE_IT_HAS_TO_BE) == WHAT_MISSES_A_SETTING
    follow(tree, A_SETTING[1:])
    for writer in ("tools.settings_reference", "tools.chart_readme"):
        assert python(tree, "-m", writer).returncode == 0
    assert failing(tree, *WHERE_IT_HAS_TO_BE) == set()
    assert python(tree, "-c", HANDED_ON).returncode == 0


@pytest.mark.parametrize(("recipe", "edits"), [("verdict", A_VERDICT), ("setting", A_SETTING)])
def test_contributing_names_each_file_that_the_recipe_touches(recipe: str, edits: Sequence[Edit]) -> None:
    told = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    text = told.partition(f"**… a {recipe}.**")[2].partition("**…")[0]
    assert [edit.path for edit in edits if f"`{edit.path.removeprefix('reconciler/')}`" not in text] == []


def copy(root: Path) -> Path:
    """The tree, without what its runs have left behind."""
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    return root


def follow(tree: Path, edits: Sequence[Edit]) -> None:
    for edit in edits:
        text = (tree / edit.path).read_text(encoding="utf-8")
        assert not edit.old or text.count(edit.old) == 1, edit
        changed = text.replace(edit.old, edit.new) if edit.old else f"{text}\n{edit.new}"
        (tree / edit.path).write_text(changed, encoding="utf-8")


def failing(tree: Path, *tests: str) -> set[str]:
    """The names of those of the copy's tests that fail."""
    told = ("-p", "no:cacheprovider", "-q", "-rfE", "--tb=no", "--assert=plain")
    ended = python(tree, "-m", "pytest", "--numprocesses=0", *told, *tests)
    assert ended.returncode in {0, 1}, ended.stdout + ended.stderr
    return set(re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)", ended.stdout, re.MULTILINE))


def python(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Not measured: it is not this tree."""
    others = ("PYTEST_", "COVERAGE_")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    environ = {**ours, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True, check=False)
