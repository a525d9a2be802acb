"""The number of keys in one DeleteObjects: what the probe found, and fewer once that proves too many."""

from collections.abc import Sequence
from typing import Final

import structlog

from reconciler.errors import StoreUnavailable
from reconciler.model import Deletion
from reconciler.stores.s3.faults import Refusal, TimedOut

log = structlog.get_logger(__name__)

SMALLEST: Final = 10
"""A batch below this size does not help: the store itself is too slow then."""

_TOO_MUCH: Final = frozenset({"MalformedXML", "EntityTooLarge", "MaxMessageLengthExceeded", "413"})
"""Codes with which stores refuse a batch, or its body, as too large."""


class BatchSize:
    """Keys per batch, `most` at first. The probe's keys do not exist, and deleting those may be quicker."""

    def __init__(self, most: int) -> None:
        self.now = most

    def split(self, batch: Sequence[Deletion]) -> list[Sequence[Deletion]]:
        return [batch[start : start + self.now] for start in range(0, len(batch), self.now)]

    def learn(self, sent: int, outcome: Refusal | StoreUnavailable) -> None:
        """Halve after a batch of `sent` keys was too large. Batches that were in flight then count once."""
        too_much = (
            outcome.code in _TOO_MUCH if isinstance(outcome, Refusal) else isinstance(outcome, TimedOut)
        )
        smaller = max(SMALLEST, sent // 2)
        if too_much and sent > SMALLEST and smaller < self.now:
            self.now = smaller
            log.warning("smaller batches from now on", keys=smaller, reason=str(outcome))
