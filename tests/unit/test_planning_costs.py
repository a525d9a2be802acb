"""What sweeps cost a month, by where they learn what the bucket holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import Costs, Prices, Verdict
from reconciler.planning.costs import costs


def of(objects: int, deleted: int = 0) -> Costs:
    return costs(
        objects,
        2**30,
        pass_id=1,
        deleted=deleted,
        freed=0,
        drift={Verdict.ORPHAN: (1, 2**29)},
        prices=Prices(),
    )


@pytest.mark.parametrize(
    ("objects", "deleted", "money", "cheapest"),
    [
        # A LIST is $0.05 for 10 million keys, 121.67 times a month; an inventory half of it.
        (
            10_000_000,
            0,
            [(6.08, None, 0), (1.52, 0.76, 0), (0.22, 0.11, 0)],
            ["s3_metadata", "s3_metadata", "s3_metadata"],
        ),
        # Three million changes a month, at $0.30 a million.
        (
            10_000_000,
            1_500_000,
            [(6.08, None, 0.9), (1.52, 0.76, 0.9), (0.22, 0.11, 0.9)],
            ["s3_metadata", "inventory", "inventory"],
        ),
        # A billion itself has no monthly fee, one more object has it for all of them.
        (
            1_000_000_000,
            1_500_000,
            [(608.33, None, 0.9), (152.08, 76.04, 0.9), (21.73, 10.86, 0.9)],
            ["s3_metadata", "s3_metadata", "s3_metadata"],
        ),
        (
            1_000_000_001,
            1_500_000,
            [(608.33, None, 100.9), (152.08, 76.04, 100.9), (21.73, 10.86, 100.9)],
            ["s3_metadata", "inventory", "inventory"],
        ),
    ],
)
def test_a_month_of_sweeps(
    objects: int, deleted: int, money: list[tuple[float, float | None, float]], cheapest: list[str]
) -> None:
    found = of(objects, deleted)
    for each, (lists, inventory, metadata) in zip(found.sweeps, money, strict=True):
        assert each.lists == pytest.approx(lists, abs=0.006)
        assert (each.inventory is None) == (inventory is None)
        assert each.inventory is None or each.inventory == pytest.approx(inventory, abs=0.006)
        assert each.s3_metadata == pytest.approx(metadata, abs=0.006)
    assert [each.cheapest for each in found.sweeps] == cheapest
    assert found.backfill == pytest.approx(objects * 0.3e-6)
    assert found.heads == pytest.approx(deleted * 0.4e-6)
    assert found.changes == 2 * deleted


def test_an_empty_bucket_is_listed_by_one_request_and_storage_is_paid_by_the_gib() -> None:
    found = of(0)
    assert found.requests == 1
    assert found.stored(found.bytes) == 0.023
    assert of(1_000).requests == 1
    assert of(1_001).requests == 2


@given(st.integers(0, 10**12), st.integers(0, 10**10))
def test_no_source_is_cheaper_than_the_cheapest(objects: int, deleted: int) -> None:
    for each in of(objects, deleted).sweeps:
        money = {"list": each.lists, "inventory": each.inventory, "s3_metadata": each.s3_metadata}
        least = min(cost for cost in money.values() if cost is not None)
        assert money[each.cheapest] == least
