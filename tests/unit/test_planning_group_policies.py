"""Conduit's policies as rules: what their tables say, and that whatever is in doubt is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.catalog.passes.rows import policy_from, policy_text
from reconciler.model import BALANCES, FOREVER, DeleteMode, GroupPolicy, Record, Verdict, VirtualKey
from reconciler.planning import approval_gate
from reconciler.planning.group_policies import DEFAULT, doubts, standing, under
from reconciler.planning.retention import judge_record
from tests.doubles.build import policy

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SETTINGS = replace(policy(), media_retention=FOREVER, soft_delete_grace=FOREVER)
DAYS: Mapping[str, int | None] = {"positive": 60, "zero": 14, "negative": 3}


def conduits(**changes: Any) -> GroupPolicy:
    values: dict[str, Any] = {
        "id": "1",
        "name": "Standard",
        "days": DAYS,
        "respects_access": True,
        "access_days": 7,
        "soft_delete_days": 5,
        "is_default": True,
        "is_active": True,
    }
    return GroupPolicy(**{**values, **changes})


def row(group: str | None, age: timedelta, **changes: Any) -> Record:
    owner = VirtualKey(id="k", enabled=True, expires_at=None, group=group)
    values: dict[str, Any] = {
        "id": "r",
        "storage_key": "image/a",
        "virtual_key_id": "k",
        "owner": owner,
        "size_bytes": 1,
        "created_at": NOW - age,
        "expires_at": None,
        "last_accessed_at": None,
        "deleted_at": None,
        "version": "v",
    }
    return Record(**{**values, **changes})


def goes(found: Record, *policies: GroupPolicy) -> bool:
    return judge_record(found, under(policies, SETTINGS), NOW) is not None


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("of", ["1", DEFAULT])
def test_days_count_by_the_balance_and_the_finding_names_the_policy(balance: str, of: str) -> None:
    days = DAYS[balance]
    assert days is not None
    late = judge_record(row(standing(of, balance), days * DAY), under([conduits()], SETTINGS), NOW)
    assert late is not None
    assert (late.verdict, late.kept) == (Verdict.STALE, None)
    assert late.reason.endswith(f"; rule Standard (policy 1), {balance} balance")
    assert not goes(row(standing(of, balance), days * DAY - timedelta(seconds=1)), conduits())


def test_an_access_protects_where_the_policy_respects_it() -> None:
    read = row("1:zero", 20 * DAY, last_accessed_at=NOW - 6 * DAY)
    assert not goes(read, conduits())
    assert goes(read, conduits(access_days=6))
    assert goes(read, conduits(respects_access=False, access_days=None))


def test_a_soft_deleted_row_stays_as_long_as_the_policy_says() -> None:
    assert not goes(row("1:positive", DAY, deleted_at=NOW - 4 * DAY), conduits())
    assert goes(row("1:positive", DAY, deleted_at=NOW - 5 * DAY), conduits())
    assert not goes(row("1:positive", DAY, deleted_at=NOW - 400 * DAY), conduits(soft_delete_days=None))
    assert not goes(row(None, DAY, deleted_at=NOW - 400 * DAY), conduits()), "no policy, no end"


OLD = 4000 * DAY

DOUBTFUL: Mapping[str, tuple[list[GroupPolicy], str]] = {
    "no policy at all": ([], "1:negative"),
    "another policy": ([conduits()], "2:negative"),
    "no group, or its balance is NULL": ([conduits()], ""),
    "inactive": ([conduits(is_active=False)], "1:negative"),
    "activity NULL": ([conduits(is_active=None)], "1:negative"),
    "days NULL": ([conduits(days={**DAYS, "negative": None})], "1:negative"),
    "days zero": ([conduits(days={**DAYS, "negative": 0})], "1:negative"),
    "days negative": ([conduits(days={**DAYS, "negative": -3})], "1:negative"),
    "days beyond a century": ([conduits(days={**DAYS, "negative": 2**31 - 1})], "1:negative"),
    "no column of days": ([conduits(days={})], "1:negative"),
    "access unsaid": ([conduits(respects_access=None)], "1:negative"),
    "access respected for no time": ([conduits(access_days=None)], "1:negative"),
    "access respected for less": ([conduits(access_days=0)], "1:negative"),
    "two defaults": ([conduits(), conduits(id="2", name="Other")], "default:negative"),
    "two defaults, one inactive": ([conduits(), conduits(id="2", is_active=False)], "default:negative"),
    "no default": ([conduits(is_default=False)], "default:negative"),
    "default NULL": ([conduits(is_default=None)], "default:negative"),
    "default inactive": ([conduits(is_active=False), conduits(id="2", is_default=False)], "default:zero"),
}


@pytest.mark.parametrize("doubt", DOUBTFUL)
def test_what_is_in_doubt_is_kept(doubt: str) -> None:
    policies, group = DOUBTFUL[doubt]
    assert not goes(row(group or None, OLD), *policies)
    if group != "2:negative" and group:
        assert doubts(policies), "and it is said"


def test_nothing_is_said_where_nothing_is_in_doubt() -> None:
    assert doubts([conduits(), conduits(id="2", is_default=False)]) == []


NUMBERS = st.one_of(st.none(), st.integers(-3, 120))
MAYBE = st.one_of(st.none(), st.booleans())
POLICIES = st.lists(
    st.builds(
        conduits,
        id=st.sampled_from("123"),
        days=st.fixed_dictionaries(dict.fromkeys(BALANCES, NUMBERS)),
        respects_access=MAYBE,
        access_days=NUMBERS,
        soft_delete_days=NUMBERS,
        is_default=MAYBE,
        is_active=MAYBE,
    ),
    max_size=3,
    unique_by=lambda each: each.id,
)


@given(POLICIES, st.sampled_from(["1", "2", "3", DEFAULT]), st.sampled_from(BALANCES), st.integers(0, 200))
def test_nothing_goes_sooner_than_the_policy_of_its_group_says(
    policies: list[GroupPolicy], of: str, balance: str, age: int
) -> None:
    """Against the table itself, read by hand."""
    mine = [each for each in policies if (each.is_default if of == DEFAULT else each.id == of)]
    if not goes(row(standing(of, balance), age * DAY), *policies):
        return
    (one,) = mine
    days = one.days[balance]
    assert one.is_active
    assert days is not None
    assert 1 <= days <= age


@given(POLICIES)
def test_a_pass_keeps_the_rules_by_which_it_judged(policies: list[GroupPolicy]) -> None:
    judged = under(policies, SETTINGS)
    assert policy_from(policy_text(judged)) == replace(judged, delete_mode=DeleteMode.DIRECT)


def test_a_policy_that_lets_more_go_is_new_to_the_pass_and_a_balance_is_not() -> None:
    before, after = (under([conduits(days={**DAYS, "zero": days})], SETTINGS) for days in (14, 10))
    found = row("1:zero", 12 * DAY)
    assert approval_gate.is_newly_outlived(found, before, NOW)
    assert not approval_gate.is_newly_outlived(row("1:negative", 12 * DAY), after, NOW)


def test_a_policy_without_days_after_a_soft_delete_is_told() -> None:
    (said,) = doubts([conduits(soft_delete_days=None)])
    assert said.endswith("sets no days after a soft delete: such rows are kept; set them")
