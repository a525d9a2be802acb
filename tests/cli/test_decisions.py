"""`passes`, `approve` and `discard`, as a person and as a script see them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.cli import parser
from reconciler.cli import passes as shown
from reconciler.cli.output import Output
from reconciler.model import Deletions, Mode, Pass, PassDetail, PassKind, PassState, Tally, Verdict
from tests.cli.program import reconciler
from tests.doubles.build import NOW, mark
from tests.servers import Bucket, execute

SETTINGS = {
    "RECONCILER_BUCKET__PREFIXES": '["image/", "video/"]',
    "RECONCILER_GRACE_PERIOD": "0s",
    "RECONCILER_DELETE_DELAY": "0s",
    "RECONCILER_DRY_RUN": "false",
    "RECONCILER_BREAKER__MAX_FRACTION": "1",
    "RECONCILER_BREAKER__MAX_COUNT": "1",
}
"""Live, without grace or delay, and more than one orphan is too many."""


@pytest.fixture
def tripped(database: str, moto_bucket: Bucket) -> Mapping[str, str]:
    """A site whose first sweep has tripped over three orphans, one with an odd name."""
    for key in ("image/orphan", "image/odd [bold] \u202e name", "video/orphan"):
        moto_bucket.put(key)
    env = {**moto_bucket.environment(), **SETTINGS, "RECONCILER_DATABASE_URL": database}
    ran = reconciler("once", env=env)
    assert ran.status == 3
    assert "reconciler approve 1" in ran.told[-1]
    return env


def test_a_tripped_pass_is_listed_shown_approved_and_goes(
    tripped: Mapping[str, str], database: str, moto_bucket: Bucket
) -> None:
    alone = {"RECONCILER_DATABASE_URL": database}
    listed = reconciler("passes", env=alone)
    assert (listed.status, listed.told) == (0, [])
    assert listed.out.splitlines()[0].split() == [*("id", "kind", "state", "mode", "began", "found", "marks")]
    assert "to let it go: reconciler approve 1" in listed.out
    assert "3 marks wait for a decision, and no sweep pass is released until then" in listed.out
    show = reconciler("passes", "show", "1", env=alone)
    assert (show.status, show.told) == (0, [])
    assert "image/odd [bold] \\u202e name" in show.out
    rows = [line.split() for line in show.out.splitlines()]
    assert ["image/", "orphan", "2", "2", "2", "0"] in [row[:6] for row in rows]
    assert ["video/", "orphan", "1", "1", "1", "0"] in [row[:6] for row in rows]
    told = json.loads(reconciler("passes", "show", "1", "--json", env=alone).out)
    assert (told["id"], told["state"], told["both_sides"], told["marks"]) == (1, "tripped", False, 3)
    assert "3 orphans, 100.0 % of 3 objects; the limit is 1 (RECONCILER_BREAKER__MAX_COUNT)" in told["reason"]
    assert told["by_prefix"]["video/"]["found"]["orphan"] == 1
    assert ("video/", "orphan", 1) in [
        (each["prefix"], each["verdict"], each["marks"]) for each in told["marks_by_prefix"]
    ]
    assert len(told["examples"]) == 3
    approved = reconciler("approve", "1", "--by", "ada", "--json", env=alone)
    assert (approved.status, approved.told) == (0, [])
    outcome = json.loads(approved.out)
    assert (outcome["state"], outcome["decided_by"], outcome["marks"]) == ("released", "ada", 3)
    assert outcome["decided_at"].endswith("Z")
    report = reconciler("once", "--json", env=tripped)
    assert (report.status, json.loads(report.out)["deleted"]["objects"]) == (0, 3)
    left = moto_bucket.keys()
    assert all(key.startswith(".reconciler/") for key in left)
    again = reconciler("approve", "1", env=alone)
    assert (again.status, len(again.told)) == (1, 1)
    assert "pass 1 is released (decided by ada), not tripped" in again.told[0]


def test_a_discarded_pass_is_withdrawn(tripped: Mapping[str, str], database: str) -> None:
    alone = {"RECONCILER_DATABASE_URL": database}
    ran = reconciler("discard", "1", env=alone)
    assert (ran.status, ran.told) == (0, [])
    assert ran.out == "pass 1 discarded: 3 marks withdrawn; the next pass looks at everything again\n"
    told = json.loads(reconciler("passes", "show", "1", "--json", env=alone).out)
    assert "@" in told["decided_by"], "the user and the host, where nobody is named"
    none = reconciler("marks", "list", "--pass", "1", env=alone)
    assert none.out.startswith("the marks of pass 1 were withdrawn when ")
    story = reconciler("history", "image/orphan", env=alone)
    assert story.status == 0
    assert "found by sweep pass 1: orphan" in story.out
    assert "above the breaker's limits" in story.out
    assert "mark withdrawn: pass 1 was discarded by " in story.out
    assert "now: not deleted" in story.out
    raised = reconciler("once", "--json", env={**tripped, "RECONCILER_BREAKER__MAX_COUNT": "3"})
    assert json.loads(raised.out)["deleted"]["objects"] == 3


def test_a_decision_says_what_later_passes_have_added_to_it(
    tripped: Mapping[str, str], database: str, moto_bucket: Bucket
) -> None:
    """The number to type stays the same until then; one that is superseded names the one that waits."""
    alone = {"RECONCILER_DATABASE_URL": database}
    newest = reconciler("once", env=tripped)
    assert "pass 1 waits for a decision" in newest.told[-1]
    assert json.loads(reconciler("passes", "--json", env=alone).out)[0]["id"] == 1
    second = int(json.loads(reconciler("passes", "--all", "--json", env=alone).out)[0]["id"])
    assert "to let it go: reconciler approve 1" in reconciler("passes", env=alone).out
    moto_bucket.put("image/later")
    assert reconciler("once", env=tripped).status == 3
    third = int(json.loads(reconciler("passes", "--json", env=alone).out)[0]["id"])
    assert f"to let it go: reconciler approve {third}" in reconciler("passes", env=alone).out
    approved = reconciler("approve", "1", "--by", "ada", env=alone)
    assert approved.out.splitlines()[1] == (
        f"passes {second} and {third} superseded: 1 mark added since, which this was not about; the next pass"
        " judges all anew"
    )
    late = reconciler("approve", str(third), env=alone)
    assert (late.status, late.out) == (1, "")
    (line,) = late.told
    assert line == (
        f"reconciler: pass {third} is superseded by pass 1, which ada has approved, not tripped: there is"
        " nothing to approve; what it found is judged again by the next pass"
    )
    told = json.loads(reconciler("passes", "--state", "superseded", "--json", env=alone).out)
    assert [(each["id"], each["superseded_by"]) for each in told] == [(third, 1), (second, 1)]
    shown = reconciler("passes", "show", str(second), env=alone).out
    assert f"pass {second} is superseded: what it found is judged again by the sweep pass after" in shown


def test_both_sides_are_not_approved_without_saying_that_it_is_understood(
    tripped: Mapping[str, str], database: str
) -> None:
    execute(database, "UPDATE reconciler.passes SET both_sides = true WHERE id = 1")
    ran = reconciler("approve", "1", env=tripped)
    assert (ran.status, ran.out, len(ran.told)) == (1, "", 1)
    assert "reconciler approve 1 --i-understand" in ran.told[0]
    assert "reconciler approve 1 --i-understand" in reconciler("passes", "show", "1", env=tripped).out
    understood = reconciler("approve", "1", "--i-understand", env=tripped)
    assert (understood.status, understood.told) == (0, [])
    assert "approved: 3 marks released" in understood.out


def test_what_is_not_there_is_one_line(database: str) -> None:
    env = {"RECONCILER_DATABASE_URL": database}
    assert reconciler("passes", env=env).out == "There is no such pass.\n"
    assert reconciler("passes", "--json", env=env).out == "[]\n"
    for command in (("passes", "show", "9"), ("approve", "9"), ("discard", "9")):
        ran = reconciler(*command, env=env)
        assert (ran.status, ran.out) == (1, "")
        assert ran.told == ["reconciler: there is no pass 9; reconciler passes lists them"]


@pytest.mark.parametrize("wrong", ["0", "x", "-1", str(2**63), "²"])
def test_what_cannot_be_a_pass_is_wrong_usage(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["passes", "show", wrong], ["approve", wrong], ["discard", wrong]):
        with pytest.raises(SystemExit) as ended:
            parser().parse_args(command)
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


# --- what is printed --------------------------------------------------------------------------------


def detail(**changes: Any) -> PassDetail:
    found = {Verdict.ORPHAN: 3}
    values: dict[str, Any] = {
        "id": 12,
        "kind": PassKind.SWEEP,
        "cutoff": NOW,
        "config_hash": "c",
        "mode": Mode.LIVE,
        "order": None,
        "state": PassState.TRIPPED,
        "tally": Tally(objects=10, records=7, found=found),
        "finished_at": NOW + timedelta(seconds=9),
        "trip_reason": "too many\x1b[2J",
    }
    return PassDetail(
        current=Pass(**{**values, **changes}),
        marks={("", Verdict.ORPHAN): 3},
        examples=[mark(key="image/\x1bodd")],
        together=[3, 12],
    )


def printed(print_it: Any, *arguments: Any) -> str:
    out = io.StringIO()
    print_it(*arguments, Output(file=out, width=200, highlight=False))
    return out.getvalue()


def test_a_pass_is_shown_whole_even_where_its_prefixes_were_not_kept() -> None:
    text = printed(shown.print_pass, detail())
    assert "\x1b" not in text
    assert "takes in the marks of pass 3, which tripped before" in text
    assert ["(all)", "orphan", "3", "3", "10", "7"] in [line.split()[:6] for line in text.splitlines()]
    assert "image/\\x1bodd" in text


def test_who_decided_is_shown() -> None:
    approved = detail(state=PassState.RELEASED, decided_by="ada", decided_at=NOW, trip_reason=None)
    text = printed(shown.print_pass, approved)
    assert "approved by ada, 2026-06-01 12:00:00Z" in text
    assert "reconciler approve" not in text
    discarded = replace(approved, current=replace(approved.current, state=PassState.DISCARDED), examples=())
    assert "discarded by ada" in printed(shown.print_pass, discarded)
    running = detail(state=PassState.RUNNING, finished_at=None, trip_reason=None)
    assert "ended" not in printed(shown.print_pass, running)


def test_a_pass_whose_findings_were_marked_before_says_where_they_count() -> None:
    """A live pass that finds again what a dry run had marked: it has no mark, and undo knows none of it."""
    again = replace(detail(state=PassState.RELEASED, trip_reason=None), marks={}, examples=(), earlier={})
    told = "pass 12 has no mark of its own left: a key counts for the pass that found it first"
    nothing = printed(shown.print_pass, again)
    assert f"{told}, and nothing that an earlier one found has gone since" in nothing
    assert told not in printed(shown.print_pass, detail())
    named = shown.elsewhere(replace(again, earlier={number: (number, 1) for number in range(1, 8)}))
    assert "1 object and 1 record under pass 1 " not in named
    assert named.endswith("; 7 objects and 1 record under pass 7 (reconciler undo --pass 7); and 2 more")


def test_a_pass_found_in_dry_run_says_that_what_went_of_it_went_later() -> None:
    went = Deletions(what="object", verdict="orphan", result="deleted", keys=3, bytes=9, examples=("a",))
    dry = replace(detail(state=PassState.RELEASED, mode=Mode.DRY_RUN, trip_reason=None), results=(went,))
    assert "found in dry run: what went of it was deleted after that" in printed(shown.print_pass, dry)
    live = replace(dry, current=replace(dry.current, mode=Mode.LIVE))
    assert "dry run" not in printed(shown.print_pass, live)


def test_a_trip_of_which_nothing_is_left_says_what_ends_it() -> None:
    text = printed(shown.print_list, [replace(detail(), marks={}, examples=(), to_decide=3)])
    assert "nothing of it is left, but a trip stays until a person has seen it" in text
    assert "to end that: reconciler discard 3" in text
    assert "reconciler approve" not in text


def test_a_pass_without_marks_says_why() -> None:
    def why(**changes: Any) -> str:
        return shown.without_marks(detail(**changes))

    assert why(state=PassState.RUNNING) == "pass 12 is still running, and has marked nothing yet"
    assert why(state=PassState.DISCARDED, decided_by="ada").endswith("withdrawn when ada discarded it")
    assert why(tally=Tally()) == "pass 12 found nothing"
    assert why(state=PassState.RELEASED).endswith(
        "of its own left: a key counts for the pass that found it first"
    )


def test_only_a_sweep_claims_to_have_looked_at_rows() -> None:
    sweep = detail().current
    assert shown.looked_at(sweep) == "10 objects and 7 records looked at"
    others = shown.looked_at(replace(sweep, kind=PassKind.RETENTION))
    assert others == "judged as part of 7 records, as the last sweep counted them"


def test_many_passes_that_are_taken_in_are_named_in_short() -> None:
    many = replace(detail(), together=[*range(1, 10), 12])
    text = printed(shown.print_pass, many)
    assert "takes in the marks of passes 1, 2, 3, 4, 5 and 4 more, which tripped before" in text


def test_a_list_tells_what_waits_for_a_decision() -> None:
    text = printed(shown.print_list, [detail(both_sides=True), detail(id=4, state=PassState.RELEASED)])
    assert "to let it go: reconciler approve 12 --i-understand" in text
    assert "reconciler approve 4" not in text
    assert "\x1b" not in text
