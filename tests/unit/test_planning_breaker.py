"""What trips, what does not, and in which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import Backlog, BreakerLimits, PassKind, Tally, Trip, Verdict
from reconciler.planning.breaker import at_claim, check, with_findings
from tests.doubles.build import LIMITS

NOTHING = Backlog(pending={}, gone={})
MEANT = replace(LIMITS, max_fraction=1.0)


def sweep(
    *,
    objects: int = 1000,
    records: int = 1000,
    alone: int = 0,
    orphans: int = 0,
    orphans_gone: int = 0,
    dangling: int = 0,
    dangling_gone: int = 0,
    missing: int | None = None,
    previous: Tally | None = None,
    limits: BreakerLimits = LIMITS,
) -> Trip | None:
    missing = dangling if missing is None else missing
    tally = Tally(objects=objects, records=records, alone=alone, missing=missing)
    backlog = Backlog(
        pending={Verdict.ORPHAN: orphans, Verdict.DANGLING: dangling},
        gone={Verdict.ORPHAN: orphans_gone, Verdict.DANGLING: dangling_gone},
    )
    return check(PassKind.SWEEP, tally, backlog, previous, limits)


def retention(
    pending: dict[Verdict, int], gone: dict[Verdict, int] | None = None, **changes: Any
) -> Trip | None:
    backlog = Backlog(pending=pending, gone=gone or {})
    tally = Tally(records=changes.pop("records", 1000))
    values = {"previous": None, "limits": LIMITS, **changes}
    return check(PassKind.RETENTION, tally, backlog, **values)


def test_a_quiet_pass_is_released() -> None:
    assert sweep() is None
    assert retention({}) is None
    assert check(PassKind.SWEEP, Tally(), NOTHING, None, LIMITS) is None


def test_the_fraction_trips_strictly_above_and_says_so_in_plain_words() -> None:
    assert sweep(orphans=100) is None
    trip = sweep(orphans=101)
    assert trip == Trip(
        reason="101 orphans, 10.1 % of 1,000 objects; the limit is 10 % (RECONCILER_BREAKER__MAX_FRACTION)",
        both_sides=False,
    )


def test_the_fraction_is_the_decimal_that_was_written() -> None:
    limits = replace(LIMITS, max_fraction=0.3)
    assert sweep(objects=1000, orphans=300, limits=limits) is None
    assert sweep(objects=1000, orphans=301, limits=limits) is not None


@pytest.mark.attack(13)
def test_below_the_least_count_the_fraction_is_not_asked() -> None:
    """R-13: one orphan among five objects must not latch for ever."""
    assert sweep(objects=19, orphans=19) is None
    assert sweep(objects=20, orphans=20) is not None


@pytest.mark.attack(13)
def test_slices_within_the_limit_trip_over_a_day() -> None:
    """R-13: 10 % every few minutes empties a bucket."""
    assert sweep(objects=900, orphans=90, orphans_gone=100) is not None
    trip = sweep(objects=900, orphans=11, orphans_gone=90)
    assert trip is not None
    assert trip.reason.startswith(
        "11 new orphans + 90 deleted in the last 24 h (not counting what was approved) = 101, 10.2 % of 990"
        " objects; the limit is 10 %"
    )


def test_deletion_does_not_by_itself_raise_the_fraction() -> None:
    """Exactly a tenth, half of it gone: the same tenth still."""
    assert sweep(objects=950, orphans=50, orphans_gone=50) is None


def test_what_went_does_not_trip_a_pass_that_has_nothing_to_release() -> None:
    assert sweep(objects=100, orphans_gone=900, dangling_gone=900) is None
    assert retention({}, {Verdict.EXPIRED: 900}, records=100) is None


def test_the_count_trips_however_large_the_whole() -> None:
    limits = replace(LIMITS, max_count=50)
    assert sweep(objects=10**6, orphans=30, orphans_gone=20, limits=limits) is None
    trip = sweep(objects=10**6, orphans=31, orphans_gone=20, limits=limits)
    assert trip is not None
    assert "the limit is 50 (RECONCILER_BREAKER__MAX_COUNT)" in trip.reason


def test_more_marks_than_objects_trip_even_where_nothing_is_listed() -> None:
    assert sweep(objects=0, orphans=30) is not None
    assert sweep(objects=0, orphans=30, limits=MEANT) is None


@pytest.mark.incident(16)
def test_the_dangling_cap_takes_in_what_went() -> None:
    assert sweep(records=10**6, dangling=60, dangling_gone=40) is None
    trip = sweep(records=10**6, dangling=61, dangling_gone=40)
    assert trip is not None
    assert trip.reason.startswith(
        "61 records without an object + 40 removed in the last 24 h (not counting what was approved) = 101;"
        " the limit is 100 "
    )
    assert "the limit is 100 (RECONCILER_BREAKER__MAX_DANGLING)" in trip.reason


@pytest.mark.incident(16)
def test_missing_objects_count_against_the_cap_whatever_the_rows_verdict() -> None:
    assert sweep(records=10**6, dangling=0, missing=101) is not None
    assert sweep(records=10**6, dangling=0, missing=100) is None


def test_older_dangling_marks_count_where_the_pass_saw_fewer() -> None:
    assert sweep(records=10**6, dangling=101, missing=1) is not None


def test_dangling_records_trip_by_the_fraction_as_well() -> None:
    assert sweep(records=300, dangling=31) is not None
    assert sweep(records=300, dangling=30) is None


@pytest.mark.incident(27)
def test_both_sides_at_once_mean_that_the_join_is_wrong() -> None:
    """I-27."""
    trip = sweep(orphans=500, dangling=500)
    assert trip is not None
    assert trip.both_sides
    assert trip.reason.startswith("objects without records and records without objects are both above")
    one = sweep(orphans=500, dangling=5)
    assert one is not None
    assert not one.both_sides


@pytest.mark.parametrize(("objects", "records"), [(0, 1000), (1000, 0), (0, 0)])
@pytest.mark.incident(1)
@pytest.mark.incident(30)
def test_a_side_that_is_empty_and_was_not_trips(objects: int, records: int) -> None:
    """I-30: an error is not an empty answer, and an empty answer is suspicious."""
    before = Tally(objects=5, records=5)
    trip = sweep(objects=objects, records=records, previous=before)
    assert trip is not None
    assert ("no objects at all, where the last released pass saw 5" in trip.reason) == (objects == 0)
    assert ("no rows at all, where the last released pass saw 5" in trip.reason) == (records == 0)
    assert sweep(objects=objects, records=records, previous=before, limits=MEANT) is None
    assert sweep(objects=objects, records=records, previous=Tally()) is None


def test_a_side_that_our_own_deletions_emptied_does_not_trip() -> None:
    assert sweep(objects=0, orphans_gone=5, previous=Tally(objects=5)) is None
    assert sweep(objects=0, orphans_gone=4, previous=Tally(objects=5)) is not None
    assert sweep(records=0, dangling_gone=5, previous=Tally(records=5)) is None
    assert sweep(records=0, orphans_gone=5, previous=Tally(records=5)) is not None


# --- however few the findings ------------------------------------------------------------------


@pytest.mark.attack(68)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objects": 3, "records": 0, "orphans": 1}, "not one row in the managed prefixes, and 3 objects"),
        ({"objects": 0, "records": 1, "dangling": 1}, "not one object in the managed prefixes, and 1 row"),
        (
            {"objects": 2, "records": 5, "alone": 2, "orphans": 1},
            "none of 2 objects is named by any of 5 rows",
        ),
        ({"objects": 2, "records": 5, "alone": 2, "dangling": 1}, "none of 2 objects is named"),
    ],
)
def test_an_empty_or_foreign_side_trips_however_few_the_findings(changes: Any, words: str) -> None:
    trip = sweep(**changes)
    assert trip is not None
    assert words in trip.reason
    assert not trip.both_sides
    assert sweep(**changes, limits=MEANT) is None
    waiting = {**changes, "orphans": 0, "dangling": 0}
    assert sweep(**waiting) is None, "nothing waits to be released"


@pytest.mark.attack(68)
@pytest.mark.attack(13)
@pytest.mark.parametrize(
    "changes",
    [
        {"objects": 5, "records": 4, "alone": 1, "orphans": 1},
        {"objects": 1, "records": 2, "dangling": 1},
        {"objects": 0, "records": 0, "orphans": 1, "dangling": 1},
        {"objects": 3, "records": 0, "alone": 3},
    ],
)
def test_a_small_site_is_not_pestered(changes: Any) -> None:
    """R-13: one orphan among five must not latch for ever; a new site has uploads without rows."""
    assert sweep(**changes) is None


@pytest.mark.attack(68)
def test_a_prefix_without_a_row_trips_beside_a_full_one() -> None:
    parts = {"a/": Tally(objects=500, records=500), "b/": Tally(objects=3, alone=3)}
    waiting = Backlog(pending={Verdict.ORPHAN: 1}, gone={})
    backlog = replace(waiting, by_prefix={"b/": waiting})
    whole = Tally(objects=503, records=500, alone=3, by_prefix=parts)
    trip = check(PassKind.SWEEP, whole, backlog, None, LIMITS)
    assert trip is not None
    assert "not one row under 'b/', and 3 objects" in trip.reason
    elsewhere = replace(waiting, by_prefix={"a/": waiting})
    assert check(PassKind.SWEEP, whole, elsewhere, None, LIMITS) is None


@pytest.mark.attack(68)
def test_further_columns_count_for_a_prefix_that_they_name_half_of_and_never_for_the_whole() -> None:
    waiting = Backlog(pending={Verdict.ORPHAN: 1}, gone={})
    backlog = replace(waiting, by_prefix={"b/": waiting})

    def judged(named: int) -> Trip | None:
        parts = {"a/": Tally(objects=500, records=500), "b/": Tally(objects=10, named=named)}
        whole = Tally(objects=510, records=500, alone=10 - named, named=named, by_prefix=parts)
        return check(PassKind.SWEEP, whole, backlog, None, LIMITS)

    assert judged(5) is None
    few = judged(4)
    assert few is not None
    assert "not one row under 'b/', and 10 objects, of which further columns name 4: are" in few.reason
    alone = Tally(objects=10, named=9, alone=1, by_prefix={"b/": Tally(objects=10, named=9)})
    all_of_it = check(PassKind.SWEEP, alone, backlog, None, LIMITS)
    assert all_of_it is not None
    assert "not one row in the managed prefixes, and 10 objects: are" in all_of_it.reason


@pytest.mark.attack(68)
def test_a_side_that_shrank_by_more_than_the_fraction_trips() -> None:
    before = Tally(objects=10, records=10)
    assert sweep(objects=10, records=9, orphans=1, previous=before) is None
    trip = sweep(objects=10, records=8, orphans=1, previous=before)
    assert trip is not None
    assert "8 rows, where the last released pass saw 10: more than" in trip.reason
    trip = sweep(objects=8, records=10, dangling=1, previous=before)
    assert trip is not None
    assert "8 objects, where the last released pass saw 10" in trip.reason
    assert sweep(objects=8, records=8, previous=before) is None, "nothing waits"
    assert sweep(objects=8, records=10, orphans=1, previous=before) is None, "fewer objects harm no row"
    assert sweep(objects=10, records=8, orphans=1, previous=before, limits=MEANT) is None


@pytest.mark.attack(68)
def test_what_shrank_by_our_hand_since_that_pass_does_not_trip_and_what_went_before_hides_nothing() -> None:
    before, now = Tally(objects=10, records=10), Tally(objects=10, records=8)
    went = Backlog(pending={Verdict.ORPHAN: 1}, gone={Verdict.EXPIRED: 9}, since={Verdict.EXPIRED: 2})
    assert check(PassKind.SWEEP, now, went, before, LIMITS) is None
    earlier = replace(went, since={})
    trip = check(PassKind.SWEEP, now, earlier, before, LIMITS)
    assert trip is not None
    assert "8 rows" in trip.reason
    less = replace(now, records=4)
    trip = check(PassKind.SWEEP, less, went, before, LIMITS)
    assert trip is not None
    assert "saw 10 and 2 deleted by us since" in trip.reason
    assert with_findings(went, {}).since == went.since


@pytest.mark.attack(68)
def test_a_prefix_that_shrank_trips_within_a_large_table() -> None:
    seen = {"a/": Tally(objects=900, records=900), "b/": Tally(objects=9, records=6)}
    was = {"a/": Tally(objects=900, records=900), "b/": Tally(objects=9, records=9)}
    waiting = Backlog(pending={Verdict.ORPHAN: 3}, gone={})
    backlog = replace(waiting, by_prefix={"b/": waiting})
    trip = check(
        PassKind.SWEEP,
        Tally(objects=909, records=906, alone=3, by_prefix=seen),
        backlog,
        Tally(objects=909, records=909, by_prefix=was),
        LIMITS,
    )
    assert trip is not None
    assert "6 rows under 'b/', where the last released pass saw 9" in trip.reason
    elsewhere = replace(waiting, by_prefix={"a/": waiting})
    now = Tally(objects=909, records=906, alone=3, by_prefix=seen)
    assert (
        check(PassKind.SWEEP, now, elsewhere, Tally(objects=909, records=909, by_prefix=was), LIMITS) is None
    )


@pytest.mark.attack(68)
def test_a_plan_knows_what_went_where_it_finds_nothing() -> None:
    part = Backlog(pending={}, gone={}, since={Verdict.ORPHAN: 31})
    planned = with_findings(
        replace(part, by_prefix={"a/": part}), {Verdict.ORPHAN: 1}, {"b/": {Verdict.ORPHAN: 1}}
    )
    assert planned.by_prefix["a/"].since == {Verdict.ORPHAN: 31}
    assert planned.by_prefix["b/"].pending == {Verdict.ORPHAN: 1}


def test_an_empty_table_trips_a_retention_pass() -> None:
    assert retention({}, records=0, previous=Tally(records=5)) is not None
    assert retention({}, {Verdict.STALE: 5}, records=0, previous=Tally(records=5)) is None


def test_retention_verdicts_count_together_over_the_rows() -> None:
    kinds = (Verdict.EXPIRED, Verdict.STALE, Verdict.REVOKED, Verdict.OWNERLESS)
    assert retention(dict.fromkeys(kinds, 25)) is None
    trip = retention({**dict.fromkeys(kinds, 25), Verdict.STALE: 26})
    assert trip is not None
    assert trip.reason.startswith("101 records past retention (")


def test_each_marker_answers_for_its_own_verdicts() -> None:
    assert retention({Verdict.ORPHAN: 900, Verdict.DANGLING: 900}) is None
    backlog = Backlog(pending={Verdict.EXPIRED: 900}, gone={})
    assert check(PassKind.SWEEP, Tally(objects=1000, records=1000), backlog, None, LIMITS) is None


def test_a_plan_counts_its_findings_as_if_they_were_marked() -> None:
    backlog = Backlog(pending={Verdict.ORPHAN: 5, Verdict.STALE: 2}, gone={Verdict.ORPHAN: 1})
    planned = with_findings(backlog, {Verdict.ORPHAN: 7, Verdict.EXPIRED: 3, Verdict.STALE: 1})
    assert planned.pending == {Verdict.ORPHAN: 7, Verdict.EXPIRED: 3, Verdict.STALE: 2}
    assert planned.gone == backlog.gone


def test_a_plan_leaves_out_what_was_approved_and_is_not_yet_gone() -> None:
    backlog = Backlog(
        pending={},
        gone={},
        approved={Verdict.ORPHAN: 5},
        by_prefix={"image/": Backlog(pending={}, gone={Verdict.ORPHAN: 1}, approved={Verdict.ORPHAN: 4})},
    )
    found = {"image/": {Verdict.ORPHAN: 6}, "video/": {Verdict.ORPHAN: 1}}
    planned = with_findings(backlog, {Verdict.ORPHAN: 7}, found)
    assert planned.pending == {Verdict.ORPHAN: 2}
    assert planned.by_prefix["image/"].pending == {Verdict.ORPHAN: 2}
    assert planned.by_prefix["image/"].gone == {Verdict.ORPHAN: 1}
    assert planned.by_prefix["video/"].pending == {Verdict.ORPHAN: 1}


# --- by prefix -------------------------------------------------------------------------------------


def by_prefix(
    kind: PassKind, verdict: Verdict, *parts: tuple[int, int, int], limits: BreakerLimits = LIMITS
) -> Trip | None:
    """One prefix for each part: what is there, what is to go, what has gone."""
    seen = {f"p{n}/": Tally(objects=whole, records=whole) for n, (whole, _, _) in enumerate(parts)}
    waiting = {
        f"p{n}/": Backlog(pending={verdict: pending}, gone={verdict: gone})
        for n, (_, pending, gone) in enumerate(parts)
    }
    whole = sum(part[0] for part in parts)
    backlog = Backlog(
        pending={verdict: sum(part[1] for part in parts)},
        gone={verdict: sum(part[2] for part in parts)},
        by_prefix=waiting,
    )
    return check(kind, Tally(objects=whole, records=whole, by_prefix=seen), backlog, None, limits)


@pytest.mark.incident(27)
@pytest.mark.parametrize(
    ("kind", "verdict", "noun"),
    [
        (PassKind.SWEEP, Verdict.ORPHAN, "25 orphans under 'p1/', 25.0 % of 100 objects"),
        (PassKind.SWEEP, Verdict.DANGLING, "25 dangling records under 'p1/', 25.0 % of 100 rows"),
        (
            PassKind.RETENTION,
            Verdict.STALE,
            "25 records past retention (25 stale) under 'p1/', 25.0 % of 100 rows",
        ),
    ],
)
def test_a_small_prefix_does_not_vanish_within_a_large_bucket(
    kind: PassKind, verdict: Verdict, noun: str
) -> None:
    trip = by_prefix(kind, verdict, (10_000, 0, 0), (100, 25, 0))
    assert trip == Trip(reason=f"{noun}; the limit is 10 % (RECONCILER_BREAKER__MAX_FRACTION)")
    assert by_prefix(kind, verdict, (10_000, 0, 0), (250, 25, 0)) is None
    assert by_prefix(kind, verdict, (10_000, 0, 0), (10, 10, 0)) is None, "below the least count"


def test_each_prefix_above_its_limit_is_named_unless_the_whole_is() -> None:
    trip = by_prefix(PassKind.SWEEP, Verdict.ORPHAN, (10_000, 0, 0), (100, 25, 0), (100, 30, 0))
    assert trip is not None
    assert "under 'p1/'" in trip.reason
    assert "under 'p2/'" in trip.reason
    whole = by_prefix(PassKind.SWEEP, Verdict.ORPHAN, (100, 25, 0), (100, 0, 0))
    assert whole is not None
    assert "under" not in whole.reason


@pytest.mark.attack(13)
def test_slices_of_a_prefix_add_up_over_a_day() -> None:
    assert by_prefix(PassKind.SWEEP, Verdict.ORPHAN, (10_000, 0, 0), (900, 90, 10)) is not None
    assert by_prefix(PassKind.SWEEP, Verdict.ORPHAN, (10_000, 0, 0), (900, 80, 10)) is None


@pytest.mark.incident(27)
def test_both_sides_of_different_prefixes_say_that_the_join_is_wrong() -> None:
    seen = {"a/": Tally(objects=100, records=100), "b/": Tally(objects=100, records=100)}
    waiting = {
        "a/": Backlog(pending={Verdict.ORPHAN: 30}, gone={}),
        "b/": Backlog(pending={Verdict.DANGLING: 30}, gone={}),
    }
    backlog = Backlog(pending={Verdict.ORPHAN: 30, Verdict.DANGLING: 30}, gone={}, by_prefix=waiting)
    tally = Tally(objects=10_000, records=10_000, missing=30, by_prefix=seen)
    trip = check(PassKind.SWEEP, tally, backlog, None, LIMITS)
    assert trip is not None
    assert trip.both_sides


# --- what was approved, and which prefixes there were ----------------------------------------------


def test_rows_without_an_object_that_were_approved_do_not_count_again() -> None:
    tally = Tally(objects=10**6, records=10**6, missing=150)
    approved = Backlog(pending={}, gone={}, approved={Verdict.DANGLING: 150}, approved_missing=150)
    assert check(PassKind.SWEEP, tally, approved, None, LIMITS) is None
    more = replace(tally, missing=251)
    assert check(PassKind.SWEEP, more, approved, None, LIMITS) is not None


def test_a_side_that_an_approved_deletion_emptied_does_not_trip() -> None:
    backlog = Backlog(pending={}, gone={}, approved_gone={Verdict.ORPHAN: 5})
    before = Tally(objects=5, records=0)
    assert check(PassKind.SWEEP, Tally(), backlog, before, LIMITS) is None
    assert check(PassKind.SWEEP, Tally(), NOTHING, before, LIMITS) is not None


@pytest.mark.incident(1)
@pytest.mark.incident(30)
def test_a_prefix_that_was_added_does_not_hide_that_the_others_are_empty() -> None:
    one = Tally(objects=5, records=5)
    before = one + Tally(by_prefix={"a/": one})
    now = one + Tally(by_prefix={"a/": Tally(records=5), "b/": Tally(objects=5)})
    trip = check(PassKind.SWEEP, now, NOTHING, before, LIMITS)
    assert trip is not None
    assert "no objects at all, where the last released pass saw 5" in trip.reason
    went = Backlog(pending={}, gone={}, by_prefix={"a/": Backlog(pending={}, gone={Verdict.ORPHAN: 5})})
    assert check(PassKind.SWEEP, now, went, before, LIMITS) is None


def test_a_prefix_that_was_taken_out_is_not_missed() -> None:
    one = Tally(objects=5, records=5)
    before = one + Tally(by_prefix={"a/": one, "b/": Tally()})
    now = Tally(by_prefix={"b/": Tally(), "c/": Tally()})
    assert check(PassKind.SWEEP, now, NOTHING, before, LIMITS) is None
    assert check(PassKind.SWEEP, Tally(), NOTHING, before, LIMITS) is not None, "not told apart by prefix"


# --- records that left the table -------------------------------------------------------------------


def departure(
    departed: int, *, stay: int, waiting: int | None = None, limits: BreakerLimits = LIMITS
) -> Trip | None:
    """So many records left, and so many are still there; `waiting` are marked, all of them by default."""
    tally = Tally(records=stay + departed, found={Verdict.DEPARTED: departed})
    backlog = Backlog(pending={Verdict.DEPARTED: departed if waiting is None else waiting}, gone={})
    return check(PassKind.DEPARTURE, tally, backlog, None, limits)


def test_a_table_that_every_record_left_trips_however_few_they_were() -> None:
    assert departure(1, stay=0) == Trip(
        reason="1 record left the table, and not one is left in the managed prefixes"
    )
    assert departure(3, stay=1) is None
    assert departure(3, stay=0, limits=MEANT) is None


def test_a_table_that_every_record_left_trips_the_next_pass_as_well() -> None:
    trip = departure(0, stay=0, waiting=3)
    assert trip == Trip(reason="3 records left the table, and not one is left in the managed prefixes")
    assert departure(0, stay=1, waiting=3) is None
    assert departure(0, stay=0) is None, "nothing waits"
    assert departure(3, stay=0, waiting=0) is None, "what left was approved"


def test_departed_records_trip_by_the_fraction() -> None:
    assert departure(100, stay=900) is None
    assert departure(101, stay=899) == Trip(
        reason="101 departed records, 10.1 % of 1,000 rows; "
        "the limit is 10 % (RECONCILER_BREAKER__MAX_FRACTION)"
    )


def test_a_large_table_that_every_record_left_is_told_in_both_ways() -> None:
    trip = departure(100, stay=0)
    assert trip is not None
    assert trip.reason.startswith(
        "100 records left the table, and not one is left in the managed prefixes; and"
    )
    assert "100 departed records, 100.0 % of 100 rows" in trip.reason


# --- at the claim ----------------------------------------------------------------------------------


def claim(
    verdict: Verdict, batch: int, claimed: int, *, whole: int = 1000, limits: BreakerLimits = LIMITS
) -> str | None:
    kind = verdict.spec.found_by
    assert kind is not None
    seen = Tally(objects=whole, records=whole)
    backlog = Backlog(pending={verdict: batch}, gone={verdict: claimed})
    return at_claim(kind, seen, backlog, limits)


@pytest.mark.incident(33)
@pytest.mark.attack(13)
def test_the_caps_are_asked_of_each_batch() -> None:
    few = replace(LIMITS, max_count=50)
    for verdict in (Verdict.ORPHAN, Verdict.STALE, Verdict.DEPARTED):
        assert claim(verdict, 20, 30, limits=few) is None
        assert "the limit is 50 (RECONCILER_BREAKER__MAX_COUNT)" in (claim(verdict, 21, 30, limits=few) or "")
        assert "MAX_FRACTION" in (claim(verdict, 60, 60) or "")
        assert claim(verdict, 19, 0, whole=20) is None
    wide = replace(LIMITS, max_fraction=1.0)
    assert claim(Verdict.DANGLING, 60, 40, limits=wide) is None
    assert "the limit is 100 (RECONCILER_BREAKER__MAX_DANGLING)" in (
        claim(Verdict.DANGLING, 61, 40, limits=wide) or ""
    )
    assert "MAX_FRACTION" in (claim(Verdict.DANGLING, 61, 39, whole=800) or "")


@given(
    objects=st.integers(0, 400),
    released=st.integers(0, 300),
    claimed_before=st.integers(0, 300),
    verdict=st.sampled_from([Verdict.ORPHAN, Verdict.DANGLING, Verdict.EXPIRED]),
    fraction=st.sampled_from([0.0, 0.05, 0.1, 0.5, 1.0]),
    part=st.integers(1, 300),
)
def test_what_was_released_can_be_claimed_in_batches_of_any_size(
    objects: int, released: int, claimed_before: int, verdict: Verdict, fraction: float, part: int
) -> None:
    """The cap at the claim is a second look at the same, and holds up nothing that passed the first."""
    limits = replace(LIMITS, max_fraction=fraction, max_count=200)
    kind = PassKind.RETENTION if verdict is Verdict.EXPIRED else PassKind.SWEEP
    seen = Tally(objects=objects, records=objects)
    backlog = Backlog(pending={verdict: released}, gone={verdict: claimed_before})
    if check(kind, seen, backlog, None, limits) is not None:
        return
    for start in range(0, released, part):
        size = min(part, released - start)
        batch = Backlog(pending={verdict: size}, gone={verdict: claimed_before + start})
        assert at_claim(kind, seen, batch, limits) is None


@pytest.mark.parametrize("gone", [0, 7])
@pytest.mark.parametrize("lost", [0, 1])
def test_what_the_store_expired_counts_to_all_but_the_dangling_cap(gone: int, lost: int) -> None:
    limits = replace(LIMITS, max_dangling=0)
    backlog = Backlog(
        pending={Verdict.DANGLING: 10 + lost}, gone={Verdict.DANGLING: gone}, by_store=10, by_store_gone=gone
    )
    seen = Tally(objects=1000, records=1000, missing=lost)
    trip = check(PassKind.SWEEP, seen, backlog, None, limits)
    assert (trip is not None) == (at_claim(PassKind.SWEEP, seen, backlog, limits) is not None) == bool(lost)
    assert with_findings(backlog, {}) == backlog
    few = replace(limits, max_count=9, max_dangling=lost)
    tripped = check(PassKind.SWEEP, replace(seen, missing=0), backlog, None, few)
    assert tripped is not None
    assert "RECONCILER_BREAKER__MAX_COUNT" in tripped.reason


counts = st.integers(0, 300)


@given(
    numbers=st.fixed_dictionaries(
        {
            "objects": counts,
            "records": counts,
            "orphans": counts,
            "orphans_gone": counts,
            "dangling": counts,
            "missing": counts,
        }
    ),
    growth=st.tuples(st.sampled_from(["orphans", "dangling", "missing"]), st.integers(1, 300)),
    least=st.integers(0, 50),
    fraction=st.sampled_from([0.0, 0.05, 0.1, 0.5, 1.0]),
    before=st.one_of(st.none(), st.builds(Tally, objects=counts, records=counts)),
)
def test_more_drift_never_un_trips(
    numbers: dict[str, int], growth: tuple[str, int], least: int, fraction: float, before: Tally | None
) -> None:
    grown, by = growth
    limits = replace(LIMITS, min_count=least, max_fraction=fraction, max_count=200)
    trip = sweep(**numbers, previous=before, limits=limits)
    worse = sweep(**{**numbers, grown: numbers[grown] + by}, previous=before, limits=limits)
    if trip is not None:
        assert worse is not None
        assert worse.both_sides >= trip.both_sides
