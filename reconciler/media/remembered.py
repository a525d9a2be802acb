"""The types of objects, remembered for a moment: a redirect needs nothing else of the store."""

from __future__ import annotations

from collections.abc import Callable

SECONDS = 60.0
"""An object that is replaced by one of another type is sent under its former type for so long at most."""

MOST = 10_000


class Types:
    """Types by storage key. `monotonic` returns seconds. Whether there still is such an object, the store
    says to whoever is sent to it.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._kept: dict[str, tuple[float, str]] = {}

    def get(self, key: str) -> str | None:
        at, kind = self._kept.get(key, (0.0, ""))
        return kind if at + SECONDS > self._monotonic() else None

    def put(self, key: str, kind: str) -> None:
        self._kept.pop(key, None)
        while len(self._kept) >= MOST:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (self._monotonic(), kind)
