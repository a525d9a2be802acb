"""The last word on a mark, case by case of the module's table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import Cancel, KeyShape, Policy, Postpone, Record, RecordRef, Remove, Verdict
from reconciler.planning.claim_decision import decide
from reconciler.planning.drift_rules import judge_missing
from reconciler.planning.retention import judge_record
from tests.doubles.build import DAY, HOUR, NOW, mark, owner, policy, record

EXPIRED: dict[str, Any] = {"expires_at": NOW}
REVOKED = owner(enabled=False, disabled_since=NOW - 8 * DAY)
ALL_VERDICTS = tuple(Verdict)


def refs(*ids: str) -> tuple[RecordRef, ...]:
    return tuple(RecordRef(id=one, version="v1") for one in ids)


def test_an_orphan_that_no_row_names_goes() -> None:
    assert decide(mark(), [], policy(), NOW) == Remove(records=(), delete_object=True, verify_absence=False)


@pytest.mark.incident(4)
@pytest.mark.parametrize("row", [record(), record(**EXPIRED), record(deleted_at=NOW - 9 * DAY)])
def test_any_row_whatever_its_state_saves_an_orphan(row: Record) -> None:
    """I-4: the keep-set is every row."""
    assert decide(mark(), [row], policy(), NOW) == Cancel(reason="a record names it now")


def test_the_grace_period_is_asked_again_at_the_claim() -> None:
    assert isinstance(decide(mark(), [], policy(grace_period=11 * DAY), NOW), Postpone)
    assert isinstance(decide(mark(object_last_modified=None), [], policy(), NOW), Postpone)
    assert isinstance(decide(mark(), [], policy(grace_period=10 * DAY), NOW), Remove)


@pytest.mark.parametrize("verdict", ALL_VERDICTS)
@pytest.mark.parametrize(
    "under",
    [policy(prefixes=("video/",)), policy(key_shape=KeyShape("x"))],
)
def test_a_mark_whose_key_has_left_the_settings_is_cancelled(verdict: Verdict, under: Policy) -> None:
    """R-18."""
    assert isinstance(decide(mark(verdict), [record(**EXPIRED)], under, NOW), Cancel)


@pytest.mark.parametrize(
    ("verdict", "rows", "off"),
    [
        (Verdict.ORPHAN, [], "orphan_cleanup"),
        (Verdict.DANGLING, [record()], "dangling_cleanup"),
        (Verdict.EXPIRED, [record(**EXPIRED)], "auto_cleanup"),
    ],
)
def test_a_clean_up_that_was_switched_off_puts_its_marks_off(
    verdict: Verdict, rows: list[Record], off: str
) -> None:
    assert isinstance(decide(mark(verdict), rows, policy(), NOW), Remove)
    assert isinstance(decide(mark(verdict), rows, policy(**{off: False}), NOW), Postpone)


def test_a_due_row_goes_with_its_object() -> None:
    decision = decide(mark(Verdict.EXPIRED), [record(**EXPIRED)], policy(), NOW)
    assert decision == Remove(records=refs("r1"), delete_object=True, verify_absence=False)


def test_the_object_stays_while_one_row_needs_it() -> None:
    """R-19."""
    rows = [record(id="r1", **EXPIRED), record(id="r2")]
    assert decide(mark(Verdict.EXPIRED), rows, policy(), NOW) == Remove(
        records=refs("r1"), delete_object=False
    )
    both = [record(id="r1", **EXPIRED), record(id="r2", created_at=NOW - 400 * DAY)]
    assert decide(mark(Verdict.EXPIRED), both, policy(), NOW) == Remove(records=refs("r1", "r2"))


@pytest.mark.attack(45)
def test_a_row_without_an_owner_goes_on_marks_that_say_so() -> None:
    rows = [record(id="r1", **EXPIRED), record(id="r2", owner=None)]
    for verdict in (Verdict.REVOKED, Verdict.OWNERLESS):
        assert decide(mark(verdict), rows, policy(), NOW) == Remove(records=refs("r1", "r2"))
    assert decide(mark(Verdict.STALE), rows, policy(), NOW) == Remove(records=refs("r1"), delete_object=False)
    assert isinstance(decide(mark(Verdict.EXPIRED), rows[1:], policy(), NOW), Cancel)


def test_a_row_kept_by_policy_keeps_its_object() -> None:
    rows = [record(id="r1", **EXPIRED), record(id="r2", owner=REVOKED)]
    assert decide(mark(Verdict.EXPIRED), rows, policy(), NOW) == Remove(
        records=refs("r1"), delete_object=False
    )


def test_another_verdict_than_the_marked_one_will_do() -> None:
    row = record(created_at=NOW - 400 * DAY)
    assert decide(mark(Verdict.REVOKED), [row], policy(), NOW) == Remove(records=refs("r1"))


def test_a_retention_mark_without_cause_is_cancelled() -> None:
    """R-4, R-24: extended, accessed or enabled again in the meantime."""
    assert isinstance(decide(mark(Verdict.EXPIRED), [record()], policy(), NOW), Cancel)


def test_a_retention_mark_without_a_row_leaves_the_object_to_the_sweep() -> None:
    assert isinstance(decide(mark(Verdict.EXPIRED), [], policy(), NOW), Cancel)


def test_a_dangling_row_goes_once_its_object_is_proven_absent() -> None:
    decision = decide(mark(Verdict.DANGLING), [record()], policy(), NOW)
    assert decision == Remove(records=refs("r1"), delete_object=False, verify_absence=True)


def test_a_dangling_mark_takes_rows_that_are_due_by_now_but_never_an_object() -> None:
    decision = decide(mark(Verdict.DANGLING), [record(**EXPIRED)], policy(), NOW)
    assert decision == Remove(records=refs("r1"), delete_object=False, verify_absence=True)


def test_a_young_row_beside_a_dangling_one_puts_it_off() -> None:
    rows = [record(id="r1"), record(id="r2", created_at=NOW - HOUR)]
    assert isinstance(decide(mark(Verdict.DANGLING), rows, policy(), NOW), Postpone)


def test_a_dangling_mark_without_a_row_is_cancelled() -> None:
    assert isinstance(decide(mark(Verdict.DANGLING), [], policy(), NOW), Cancel)


def test_a_row_kept_by_policy_is_not_taken_as_dangling() -> None:
    rows = [record(owner=REVOKED)]
    assert isinstance(decide(mark(Verdict.DANGLING), rows, policy(), NOW), Postpone)
    rows.append(record(id="r2"))
    assert decide(mark(Verdict.DANGLING), rows, policy(), NOW) == Remove(
        records=refs("r2"), delete_object=False, verify_absence=True
    )


def test_a_mark_for_adoption_removes_nothing() -> None:
    assert isinstance(decide(mark(Verdict.ADOPT), [], policy(), NOW), Cancel)


times = st.one_of(st.none(), st.timedeltas(-400 * DAY, DAY).map(lambda age: NOW + age))
rows = st.lists(
    st.builds(
        record,
        id=st.uuids().map(str),
        owner=st.one_of(st.none(), st.builds(owner, enabled=st.booleans(), disabled_since=times)),
        created_at=times,
        expires_at=times,
        last_accessed_at=times,
    ),
    max_size=3,
)
policies = st.builds(
    policy,
    grace_period=st.timedeltas(timedelta(0), 20 * DAY),
    delete_revoked=st.booleans(),
    auto_cleanup=st.booleans(),
    orphan_cleanup=st.booleans(),
    dangling_cleanup=st.booleans(),
)


@given(verdict=st.sampled_from(ALL_VERDICTS), rows=rows, under=policies, modified=times)
def test_no_object_goes_that_a_live_row_names(
    verdict: Verdict, rows: Sequence[Record], under: Policy, modified: Any
) -> None:
    marked = mark(verdict, object_last_modified=modified)
    decision = decide(marked, rows, under, NOW)
    assert decide(marked, rows, under, NOW) == decision
    if not isinstance(decision, Remove):
        return
    leaving = {ref.id for ref in decision.records}
    for row in rows:
        due = judge_record(row, under, NOW)
        if due is None or due.kept is not None:
            assert not decision.delete_object
            missing = judge_missing(row, under, NOW)
            assert row.id not in leaving or (decision.verify_absence and missing)
    assert not (decision.verify_absence and decision.delete_object)
    assert leaving <= {row.id for row in rows}


# --- variants ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", [Verdict.EXPIRED, Verdict.STALE, Verdict.REVOKED, Verdict.OWNERLESS])
def test_a_variant_goes_once_nothing_names_it(verdict: Verdict) -> None:
    thumbnail = mark(verdict, variant_of="image/a", object_last_modified=None)
    assert decide(thumbnail, [], policy(), NOW) == Remove()


@pytest.mark.parametrize("row", [record(), record(**EXPIRED)])
def test_a_variant_that_something_names_stays(row: Record) -> None:
    left = mark(Verdict.EXPIRED, variant_of="image/a")
    assert isinstance(decide(left, [row], policy(), NOW), Cancel)


def test_a_variant_outside_the_prefixes_stays() -> None:
    outside = mark(Verdict.EXPIRED, variant_of="image/a")
    assert isinstance(decide(outside, [], policy(prefixes=("video/",)), NOW), Cancel)
