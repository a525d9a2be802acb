"""The charts of the status page, as numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.page import charts
from reconciler.api.page.charts import BYTES, KEYS, Column, chart, whole
from reconciler.model import DriftFound, PassKind, Trends, Verdict

NOW = datetime(2026, 11, 30, 20, 15, tzinfo=UTC)


@given(
    st.lists(
        st.dictionaries(st.sampled_from([str(each) for each in Verdict]), st.integers(0, 10**15), max_size=4),
        max_size=20,
    )
)
def test_parts_stand_on_each_other_within_the_picture_and_the_table_has_their_sums(
    columns: list[dict[str, int]],
) -> None:
    named = [Column(label=str(place), parts=parts) for place, parts in enumerate(columns)]
    made = chart("id", "what", named, whole)
    most = max((sum(parts.values()) for parts in columns), default=0)
    for place, (_, boxes) in enumerate(made.groups):
        floor = charts.HEIGHT
        for box in boxes:
            assert box.y + box.height == pytest.approx(floor, abs=0.01)
            assert box.x >= charts.STEP * place
            floor = box.y
        expected = sum(columns[place].values()) / most if most else 0
        assert charts.HEIGHT - floor == pytest.approx(charts.HEIGHT * expected, abs=0.01)
    sums = {row[0]: row[1] for row in made.rows}
    assert sums == {
        str(place): whole(sum(parts.values())) for place, parts in enumerate(columns) if any(parts.values())
    }
    assert all(len(row) == len(made.heads) for row in made.rows)


def test_drift_is_what_the_last_pass_of_each_kind_had_found_by_then() -> None:
    def found(kind: PassKind, hours: int, verdict: Verdict, keys: int) -> DriftFound:
        at = datetime(2026, 11, 30, 18, tzinfo=UTC) - timedelta(hours=hours)
        return DriftFound(kind=kind, at=at, found={verdict: (keys, 10 * keys)})

    trends = Trends(
        at=NOW,
        drift=[
            found(PassKind.SWEEP, 18, Verdict.ORPHAN, 5),
            found(PassKind.RETENTION, 12, Verdict.STALE, 2),
            found(PassKind.SWEEP, 6, Verdict.ORPHAN, 7),
        ],
        due={0: {Verdict.STALE: (3, 30)}, 23: {Verdict.ORPHAN: (1, 10)}},
        gone={NOW.date(): {Verdict.EXPIRED: (4, 40)}},
    )
    columns = charts.drift(trends, KEYS)
    assert len(columns) == 14 * 4
    assert columns[-1].label == "2026-11-30 18:00Z"
    assert [dict(column.parts) for column in columns[-5:]] == [
        {},
        {Verdict.ORPHAN: 5},
        {Verdict.ORPHAN: 5, Verdict.STALE: 2},
        {Verdict.ORPHAN: 7, Verdict.STALE: 2},
        {Verdict.ORPHAN: 7, Verdict.STALE: 2},
    ]
    assert charts.drift(trends, BYTES)[-1].parts == {Verdict.ORPHAN: 70, Verdict.STALE: 20}
    due = charts.due(trends, KEYS)
    assert (len(due), due[0].label, due[0].parts, due[23].parts) == (
        24,
        "now",
        {Verdict.STALE: 3},
        {Verdict.ORPHAN: 1},
    )
    gone = charts.gone(trends, KEYS)
    assert (len(gone), gone[-1]) == (14, Column(label="2026-11-30", parts={Verdict.EXPIRED: 4}))
