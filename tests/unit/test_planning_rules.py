"""Rules of retention: which one holds for a row, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.collect.rules import enabled
from reconciler.model import (
    FOREVER,
    RULE_COLUMNS,
    Cancel,
    KeepReason,
    Match,
    OwnerRead,
    Postpone,
    Record,
    Remove,
    Rule,
    Rules,
    Tally,
    Verdict,
    VirtualKey,
    folded,
)
from reconciler.planning import approval_gate
from reconciler.planning.claim_decision import decide
from reconciler.planning.retention import judge_record
from tests.doubles.build import DAY, NOW, mark, owner, policy, record, runtime
from tests.doubles.world import World
from tests.unit.test_planning_approval_gate import a_pass
from tests.unit.test_verdicts import Watching

INSTANT = timedelta(microseconds=1)


def rule(name: str = "r", match: Match | None = None, **terms: Any) -> Rule:
    """For images, with the global terms but for those given."""
    others = policy()
    values: dict[str, Any] = {
        "media_retention": others.media_retention,
        "recent_access": others.recent_access,
        "key_grace": others.key_grace,
        "delete_revoked": others.delete_revoked,
    }
    return Rule(name=name, match=match or Match(media_type=("image",)), **{**values, **terms})


def under(*rules: Rule, **changes: Any) -> Any:
    return policy(rules=Rules(rules), **changes)


IMAGE = record(media_type="image")

# --- which rule holds -----------------------------------------------------------------------------------

few = st.sampled_from(["a", "b", "c"])
some = st.lists(few, max_size=2, unique=True).map(tuple)
prefixes = st.lists(
    st.sampled_from(["image/", "image/x/", "video/", "image/x/y/"]), max_size=2, unique=True
).map(tuple)
matches = st.builds(
    Match, virtual_key_id=some, key_group=some, media_type=some, provider=some, model=some, prefix=prefixes
)
rule_lists = st.lists(matches, max_size=8).map(
    lambda them: [rule(f"rule-{place}", match) for place, match in enumerate(them)]
)
owners = st.none() | st.builds(
    VirtualKey, id=few, enabled=st.just(value=True), expires_at=st.none(), group=st.none() | few
)
rows = st.builds(
    record,
    st.sampled_from(["image/1", "image/x/1", "image/x/y/1", "video/1"]),
    virtual_key_id=st.none() | few,
    owner=owners,
    media_type=st.none() | few,
    provider=st.none() | few,
    model=st.none() | few,
)


def holds(each: Rule, row: Record) -> bool:
    """What a rule says, as plainly as can be."""
    match = each.match
    pairs = (
        (match.virtual_key_id, row.virtual_key_id),
        (match.key_group, row.owner.group if row.owner else None),
        (match.media_type, row.media_type),
        (match.provider, row.provider),
        (match.model, row.model),
    )
    inside = not match.prefix or any(row.storage_key.startswith(prefix) for prefix in match.prefix)
    return inside and all(not wanted or value in wanted for wanted, value in pairs)


@given(rules=rule_lists, row=rows)
def test_the_first_rule_that_matches_wins(rules: list[Rule], row: Record) -> None:
    first = next((each for each in rules if holds(each, row)), None)
    assert Rules(tuple(rules)).first_for(row) is first


@given(one=matches, other=matches, row=rows)
def test_a_rule_that_covers_another_takes_all_that_it_would(one: Match, other: Match, row: Record) -> None:
    if one.covers(other):
        assert not holds(rule(match=other), row) or holds(rule(match=one), row)


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        (Match(model=("a", "b")), Match(model=("b",)), True),
        (Match(model=("b",)), Match(model=("a", "b")), False),
        (Match(model=("b",)), Match(model=("b",), provider=("a",)), True),
        (Match(model=("b",), provider=("a",)), Match(model=("b",)), False),
        (Match(prefix=("image/",)), Match(prefix=("image/x/",)), True),
        (Match(prefix=("image/x/",)), Match(prefix=("image/",)), False),
        (Match(prefix=("image/",)), Match(prefix=("image/x/", "video/")), False),
    ],
)
def test_what_covers_what(one: Match, other: Match, *, covers: bool) -> None:
    assert one.covers(other) is covers


@given(rules=rule_lists, row=rows)
def test_what_a_rule_reads_is_watched_and_compared(rules: list[Rule], row: Record) -> None:
    read: set[str] = set()
    Rules(tuple(rules)).first_for(Watching(row, read))  # type: ignore[arg-type]  # a row that is watched
    assert read <= {*RULE_COLUMNS, "storage_key", "owner", "owner.group"}
    if "owner.group" in read:
        for verdict in (Verdict.STALE, Verdict.EXPIRED):
            assert under(*rules).owner_read(verdict) is OwnerRead.STATE, "its claim locks the virtual key"


def test_without_groups_a_verdict_reads_what_it_declares() -> None:
    assert under(rule()).owner_read(Verdict.STALE) is OwnerRead.NOTHING
    assert under(rule(match=Match(key_group=("1",)))).owner_read(Verdict.ORPHAN) is OwnerRead.NOTHING


def test_names_are_folded_as_the_catalog_folds_them() -> None:
    assert folded(" ViDeo ") == "video"
    assert folded("É K") == "É k", "no Kelvin sign becomes a letter"


times = st.none() | st.integers(-50, 2).map(lambda days: NOW + days * DAY)
durations = st.integers(0, 40).map(lambda days: days * DAY)
set_by = st.fixed_dictionaries(
    {
        "media_retention": durations | st.just(FOREVER),
        "recent_access": durations,
        "key_grace": durations,
        "delete_revoked": st.booleans(),
    }
)
dated = st.builds(
    record,
    st.sampled_from(["image/1", "video/1"]),
    virtual_key_id=st.just("a"),
    owner=st.none()
    | st.builds(
        VirtualKey, id=st.just("a"), enabled=st.booleans(), expires_at=times, disabled_since=times, group=few
    ),
    media_type=few,
    created_at=times,
    expires_at=times,
    last_accessed_at=times,
    deleted_at=times,
)


@given(
    terms=st.lists(st.tuples(matches, set_by), max_size=4),
    others=set_by,
    media=st.lists(dated, max_size=8),
    auto_cleanup=st.booleans(),
)
def test_each_row_is_judged_as_if_the_terms_of_its_rule_were_everybodys(
    terms: list[tuple[Match, dict[str, Any]]],
    others: dict[str, Any],
    media: list[Record],
    *,
    auto_cleanup: bool,
) -> None:
    rules = [rule(f"rule-{place}", match, **each) for place, (match, each) in enumerate(terms)]
    together = under(*rules, **others, auto_cleanup=auto_cleanup)
    counted = 0
    for each in (*rules, None):
        alone = policy(**(terms[rules.index(each)][1] if each else others), auto_cleanup=auto_cleanup)
        mine = [row for row in media if next((one for one in rules if holds(one, row)), None) is each]
        counted += len(mine)
        for row in mine:
            found, as_if = judge_record(row, together, NOW), judge_record(row, alone, NOW)
            assert (found is None) == (as_if is None)
            if found and as_if:
                assert replace(found, reason=as_if.reason) == as_if
                assert found.reason.startswith(as_if.reason)
    assert counted == len(media), "each row is under one rule, or under none"


# --- what a rule sets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "last", "first"),
    [
        (
            {"media_retention": 5 * DAY},
            {"created_at": NOW - 5 * DAY + INSTANT},
            {"created_at": NOW - 5 * DAY},
        ),
        (
            {"recent_access": 3 * DAY},
            {"created_at": NOW - 99 * DAY, "last_accessed_at": NOW - 3 * DAY + INSTANT},
            {"created_at": NOW - 99 * DAY, "last_accessed_at": NOW - 3 * DAY},
        ),
        (
            {"key_grace": 2 * DAY, "delete_revoked": True},
            {"owner": owner(enabled=False, disabled_since=NOW - 2 * DAY + INSTANT)},
            {"owner": owner(enabled=False, disabled_since=NOW - 2 * DAY)},
        ),
        (
            {"key_grace": 2 * DAY, "delete_revoked": True},
            {"owner": owner(expires_at=NOW - 2 * DAY + INSTANT)},
            {"owner": owner(expires_at=NOW - 2 * DAY)},
        ),
    ],
)
def test_each_duration_holds_from_its_instant_on(
    terms: dict[str, Any], last: dict[str, Any], first: dict[str, Any]
) -> None:
    by_rule = under(rule(**terms))
    assert judge_record(replace(IMAGE, **last), by_rule, NOW) is None
    found = judge_record(replace(IMAGE, **first), by_rule, NOW)
    assert found is not None
    assert found.kept is None
    assert found.reason.endswith("; rule r")
    other = judge_record(replace(IMAGE, **first, media_type="video"), by_rule, NOW)
    assert other is None, "the global settings hold for what no rule matches"


@given(days=st.integers(0, 40_000))
def test_forever_is_longer_than_any_age(days: int) -> None:
    old = replace(IMAGE, created_at=NOW - days * DAY)
    assert judge_record(old, under(rule(media_retention=FOREVER, recent_access=timedelta(0))), NOW) is None


def test_an_expiry_of_its_own_counts_for_ever_kept_media_too() -> None:
    found = judge_record(replace(IMAGE, expires_at=NOW), under(rule(media_retention=FOREVER)), NOW)
    assert found is not None
    assert (found.verdict, found.reason) == (Verdict.EXPIRED, "expired at 2026-06-01 12:00:00Z; rule r")


def test_the_reason_says_that_no_rule_holds() -> None:
    video = record(media_type="video", expires_at=NOW)
    found = judge_record(video, under(rule()), NOW)
    assert found is not None
    assert found.reason == "expired at 2026-06-01 12:00:00Z; no rule, global settings"


@pytest.mark.parametrize("delete", [True, False])
def test_a_rule_says_whether_media_of_an_ended_key_goes(*, delete: bool) -> None:
    row = replace(IMAGE, owner=owner(enabled=False, disabled_since=NOW - 99 * DAY))
    by_rule = under(rule(delete_revoked=delete), delete_revoked=not delete)
    found = judge_record(row, by_rule, NOW)
    other = judge_record(replace(row, media_type="video"), by_rule, NOW)
    assert found is not None
    assert other is not None
    kept = (None, KeepReason.DISABLED)
    assert (found.kept, other.kept) == (kept if delete else kept[::-1])
    assert Verdict.REVOKED in enabled(runtime(policy=by_rule)), "its marks may be claimed"


# --- at the claim ---------------------------------------------------------------------------------------


def test_a_claim_decides_by_the_rule_of_that_moment() -> None:
    row = replace(IMAGE, created_at=NOW - 99 * DAY)
    stale = mark(Verdict.STALE)
    assert isinstance(decide(stale, [row], under(rule(media_retention=FOREVER)), NOW), Cancel)
    assert isinstance(decide(stale, [row], under(rule(media_retention=DAY)), NOW), Remove)
    shared = [row, replace(row, id="r2", media_type="video", created_at=NOW)]
    some_go = decide(stale, shared, under(rule(media_retention=DAY)), NOW)
    assert isinstance(some_go, Remove)
    assert (len(some_go.records), some_go.delete_object) == (1, False), "the other row needs the object"


def test_a_mark_that_its_rule_keeps_is_withdrawn_and_not_tried_again_and_again() -> None:
    row = replace(IMAGE, owner=owner(enabled=False, disabled_since=NOW - 99 * DAY))
    revoked = mark(Verdict.REVOKED)
    by_rule = under(rule(delete_revoked=False), delete_revoked=True)
    assert decide(revoked, [row], by_rule, NOW) == Cancel(reason="its rule keeps its record now")
    assert isinstance(decide(revoked, [row], policy(), NOW), Postpone), "that kind is off altogether"


# --- a change that lets more go ---------------------------------------------------------------------------


def test_a_rule_that_keeps_less_is_a_change_and_one_that_keeps_more_is_none() -> None:
    row = replace(IMAGE, created_at=NOW - 50 * DAY)
    before, after = under(rule(media_retention=60 * DAY)), under(rule(media_retention=40 * DAY))
    found = judge_record(row, after, NOW)
    assert found is not None
    assert approval_gate.split_new(found, row, before, NOW).newly
    assert judge_record(row, before, NOW) is None


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ([], [rule("a")], "rule a added"),
        ([rule("a", media_retention=FOREVER)], [], "rule a removed"),
        (
            [rule("a", media_retention=FOREVER)],
            [rule("a", media_retention=30 * DAY)],
            "rule a: media_retention forever -> 30d",
        ),
        (
            [rule("a")],
            [rule("a", match=Match(media_type=("image", "video"), model=("x",)))],
            "rule a: match media_type 'image' -> media_type 'image', 'video'; model 'x'",
        ),
        (
            [rule("a"), rule("b", match=Match(model=("x",)))],
            [rule("b", match=Match(model=("x",))), rule("a")],
            "the rules' order",
        ),
    ],
)
def test_the_trip_says_what_became_of_the_rules(before: list[Rule], after: list[Rule], told: str) -> None:
    tally = Tally(newly={Verdict.STALE: 5})
    trip = approval_gate.widened(tally, under(*after), a_pass(policy=under(*before)))
    assert trip is not None
    assert trip.reason.endswith(f"changed since: {told}")


@pytest.mark.anyio
async def test_a_key_that_has_ended_is_noticed_when_the_first_of_all_graces_is_over() -> None:
    world = World(under=under(rule(key_grace=DAY, delete_revoked=True)))
    world.database.add_key("k1", expires_at=world.database.now + timedelta(hours=1))
    cycle = world.cycle()
    assert not await cycle.keys_ended()
    world.around.tick(timedelta(hours=1) + DAY)
    assert await cycle.keys_ended(), "the rule's, though the global settings keep such media"
    world.around.tick(30 * DAY)
    assert not await cycle.keys_ended(), "and the global grace is nobody's"
