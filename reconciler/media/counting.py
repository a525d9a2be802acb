"""Accesses to media: counted in memory, and written to their rows now and then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from reconciler.model import Access

ROW_SECONDS = 60.0
"""A row is written at most so often: what is looked at a thousand times a second must not be written so."""

STALE_SECONDS = 300.0
"""An access that could not be written for so long is given up: its row is gone, or locked all the time."""

MOST = 100_000
"""Keys that are remembered. Accesses to further ones are not counted until some are written."""


@dataclass(slots=True)
class _Seen:
    count: int
    first: float
    last: float


class Accesses:
    """What has been accessed and is not written yet. `monotonic` returns seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seen: dict[str, _Seen] = {}
        self._written: dict[str, float] = {}

    def note(self, key: str) -> None:
        """Count one access, now."""
        now = self._monotonic()
        if seen := self._seen.get(key):
            seen.count += 1
            seen.last = now
        elif len(self._seen) < MOST:
            self._seen[key] = _Seen(1, now, now)

    def due(self, *, all_of_them: bool = False, only: Sequence[str] | None = None) -> Sequence[Access]:
        """What is to be written now, by key: without rows that were written within `ROW_SECONDS`, unless all
        are wanted. `only` these keys, else any.
        """
        now = self._monotonic()
        if only is not None:
            return [
                Access(key=key, count=seen.count, seconds_ago=now - seen.last)
                for key in only
                if (seen := self._seen.get(key)) and (all_of_them or not self._lately(key, now))
            ]
        self._written = {key: at for key, at in self._written.items() if now - at < ROW_SECONDS}
        for key in [key for key, seen in self._seen.items() if now - seen.first >= STALE_SECONDS]:
            del self._seen[key]
        return [
            Access(key=key, count=seen.count, seconds_ago=now - seen.last)
            for key, seen in sorted(self._seen.items())
            if all_of_them or key not in self._written
        ]

    def _lately(self, key: str, now: float) -> bool:
        at = self._written.get(key)
        return at is not None and now - at < ROW_SECONDS

    def wrote(self, accesses: Sequence[Access], keys: Collection[str]) -> None:
        """Those of these accesses are written whose keys are named; what came meanwhile still counts."""
        now = self._monotonic()
        for access in accesses:
            if access.key not in keys:
                continue
            self._written[access.key] = now
            seen = self._seen[access.key]
            seen.count -= access.count
            seen.first = now
            if not seen.count:
                del self._seen[access.key]
