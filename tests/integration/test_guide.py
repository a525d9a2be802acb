"""The operations guide: its commands do what they are there for, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import pytest

from reconciler import cli
from tests.alerts.pages import blocks
from tests.chart.helm import helm
from tests.integration.site import Site
from tests.servers import Bucket
from tests.support.links import links, lost_links
from tests.support.tripped import tripped_site

GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"
LINES = [line for block in blocks(GUIDE.read_text(), "sh") for line in block.splitlines()]
OTHERWISE = {("plan",): {3}, ("plan", "--format", "csv"): {3}}
"""What a command exits with where that is not 0: what the plan finds would trip."""


@pytest.fixture
def site(database: str, moto_bucket: Bucket) -> Iterator[Site]:
    with tripped_site(database, moto_bucket) as made:
        yield made


def test_its_commands_work_in_the_order_of_the_guide(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [shlex.split(line)[1:] for line in LINES if line.startswith("reconciler ")]
    assert len(commands) > 15
    failed = []
    anyio.run(_refused_by_the_store, site)
    for command in commands:
        arguments = [_filled(argument, command, site) for argument in command]
        status = cli.main(arguments)
        if status not in OTHERWISE.get(tuple(arguments), {0}):
            failed.append(f"{arguments} exits {status}: {capsys.readouterr().err.splitlines()[-1:]}")
    assert failed == []


async def _refused_by_the_store(site: Site) -> None:
    """Holds as the program makes them, for the commands that lift many."""
    await site.sql(
        "INSERT INTO reconciler.holds (kind, target, author, reason, until, pass_id)"
        " VALUES ('key', 'image/locked', 'the store', 'InvalidObjectState', now() + interval '30 days', $1)",
        await site.newest_pass(),
    )


def _filled(argument: str, command: Sequence[str], site: Site) -> str:
    """`$PASS` waits for a decision, but for holds it is the newest. `$KEY` is marked, but for undo gone."""
    if argument == "$PASS":
        return str(anyio.run(site.newest_pass if command[0] == "hold" else site.tripped))
    if argument == "$KEY":
        return "image/gone" if command[0] == "undo" else "image/orphan-0"
    return argument


def test_helm_knows_what_it_is_asked() -> None:
    commands = [shlex.split(line) for line in LINES if line.startswith("helm ")]
    assert commands
    for _, verb, *arguments in commands:
        helped = helm(verb, "--help").out
        for flag in [argument for argument in arguments if argument.startswith("--")]:
            assert re.search(rf"{flag}\b", helped), (verb, flag)


def test_every_line_is_a_command_of_the_program_or_of_helm() -> None:
    assert [line for line in LINES if not line.startswith(("reconciler ", "helm "))] == []


def test_its_links_lead_somewhere() -> None:
    assert links(GUIDE)
    assert lost_links(GUIDE) == []
