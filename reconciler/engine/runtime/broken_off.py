"""Requests cut off by an error: a round has sent them, and nothing waits for their answers any more."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from math import inf

from reconciler.ports import Clock


class BrokenOff:
    """Cut-off requests of one kind of round in this process. Another process is known by its term."""

    def __init__(self, clock: Clock, longest_call: timedelta) -> None:
        self._clock = clock
        self._longest_call = longest_call.total_seconds()
        self._since = -inf

    @contextmanager
    def noticed(self) -> Iterator[None]:
        """Wrap the code that sends. An error that leaves it has cancelled requests that were under way."""
        try:
            yield
        except BaseException:
            self._since = self._clock.monotonic()
            raise

    @property
    def ended(self) -> bool:
        """Whether nothing that was broken off can still be on its way."""
        return self._clock.monotonic() >= self._since + self._longest_call
