"""Accesses on their way to their rows: now and then, and at once where a deletion is intended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import anyio
import structlog

from reconciler.errors import ConfigError, Halt, Retryable
from reconciler.media.counting import Accesses
from reconciler.model import Access

log = structlog.get_logger(__name__)

AT_ONCE = 1_000
"""Rows of one statement."""

PATIENCE_SECONDS = 2.0
"""How long a medium waits until the access to it is written, where it is marked."""


class Records(Protocol):
    """Where accesses are written."""

    async def record(self, accesses: Sequence[Access]) -> Collection[str]:
        """See `catalog.media_tables.accesses`."""
        ...


class Recorder:
    """Writes accesses, one statement at a time, so that none is written twice.

    `records` is where to; None where accesses are not written. It raises as `Media.site` does.
    """

    def __init__(self, accesses: Accesses, records: Callable[[], Records | None]) -> None:
        self._accesses = accesses
        self._records = records
        self._writing = anyio.Lock()

    async def write(self, *, all_of_them: bool = False) -> None:
        """Write what is due; what cannot be written now is tried again."""
        keys = [access.key for access in self._accesses.due(all_of_them=all_of_them)]
        for start in range(0, len(keys), AT_ONCE):
            await self._write(keys[start : start + AT_ONCE], all_of_them=all_of_them)

    async def write_marked(self, key: str) -> None:
        """Write the access to a key that is marked for deletion, before its medium is sent.

        A claim goes by what its row says then. So it need not be written where it was within the minute.
        """
        if self._accesses.due(only=[key]):
            with anyio.move_on_after(PATIENCE_SECONDS):
                await self._write([key])

    async def _write(self, keys: list[str], *, all_of_them: bool = False) -> None:
        async with self._writing:
            # Again, now that nobody else writes.
            due = self._accesses.due(all_of_them=all_of_them, only=keys)
            try:
                if due and (records := self._records()) is not None:
                    self._accesses.wrote(due, await records.record(due))
            except (Retryable, ConfigError, Halt) as error:
                log.warning("accesses cannot be written, trying again", reason=str(error))
