"""What a store charges for knowing what it holds, and for keeping it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from reconciler.model.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """In US dollars: of a million requests, listed objects or changes, and of a GiB a month.

    Those of Amazon S3, Standard, in us-east-1 (https://aws.amazon.com/s3/pricing/), which change. DELETE
    is free. A live inventory costs by its objects only where there are more than
    `live_beyond`.
    """

    lists: float = 5.0
    heads: float = 0.40
    listed: float = 0.0025
    changes: float = 0.30
    live: float = 0.10
    live_beyond: int = 1_000_000_000
    gib: float = 0.023


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCosts:
    """What sweeps that often cost a month, by their source. None: the source is not new that often."""

    every: timedelta
    lists: float
    inventory: float | None
    s3_metadata: float

    @property
    def cheapest(self) -> str:
        """The source of the least of them; of equal ones the one that needs the least set up."""
        named = {"list": self.lists, "inventory": self.inventory, "s3_metadata": self.s3_metadata}
        known = {name: cost for name, cost in named.items() if cost is not None}
        return min(known, key=lambda name: known[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Of a bucket with so many objects and bytes, a month.

    `pass_id` is the sweep that counted them, None where they are supposed; `changes` are uploads and
    deletions. `backfill` is paid once for S3 Metadata, `heads` for those that come before deletions. `drift`
    is what is marked, keys and bytes, and `freed` what was freed in the last 30 days, in bytes.
    """

    pass_id: int | None
    objects: int
    bytes: int
    changes: int
    deleted: int
    freed: int
    drift: Mapping[Verdict, tuple[int, int]]
    prices: Prices
    sweeps: Sequence[SweepCosts]
    requests: int
    backfill: float
    heads: float

    def stored(self, size: int) -> float:
        """What so many bytes cost a month."""
        return size / 2**30 * self.prices.gib
