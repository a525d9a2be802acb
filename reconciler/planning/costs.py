"""What a month of sweeps costs, by how often they run and by where they learn what the bucket holds."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from reconciler.model import Costs, Prices, SweepCosts, Verdict

INTERVALS: Final = (timedelta(hours=6), timedelta(days=1), timedelta(days=7))
MONTH: Final = timedelta(days=365) / 12

PAGE: Final = 1_000
"""Objects of one LIST."""

DAILY, WEEKLY = timedelta(days=1), timedelta(days=7)
"""How often a store makes inventories."""

_MILLION: Final = 1_000_000


def costs(
    objects: int,
    size: int,
    *,
    pass_id: int | None,
    deleted: int,
    freed: int,
    drift: Mapping[Verdict, tuple[int, int]],
    prices: Prices,
) -> Costs:
    """`deleted` keys and `freed` bytes are those of the last 30 days. As many objects come as go."""
    changes = 2 * deleted
    live = prices.live * objects / _MILLION if objects > prices.live_beyond else 0.0
    metadata = live + prices.changes * changes / _MILLION
    requests = max(1, -(-objects // PAGE))
    return Costs(
        pass_id=pass_id,
        objects=objects,
        bytes=size,
        changes=changes,
        deleted=deleted,
        freed=freed,
        drift=drift,
        prices=prices,
        sweeps=[_sweeps(every, objects, requests, metadata, prices) for every in INTERVALS],
        requests=requests,
        backfill=prices.changes * objects / _MILLION,
        heads=prices.heads * deleted / _MILLION,
    )


def _sweeps(every: timedelta, objects: int, requests: int, metadata: float, prices: Prices) -> SweepCosts:
    reports = None if every < DAILY else MONTH / (WEEKLY if every >= WEEKLY else DAILY)
    return SweepCosts(
        every=every,
        lists=MONTH / every * requests * prices.lists / _MILLION,
        inventory=None if reports is None else reports * objects * prices.listed / _MILLION,
        s3_metadata=metadata,
    )
