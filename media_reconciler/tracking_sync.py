"""`media_reconciler.tracking` for code without an event loop: the same calls, which block.

::

    with open_tracker() as tracker:
        reserved = tracker.reserve("image/2026/11/30/cat.png", owner="42", size=len(body))
        bucket.put_object(Key=reserved.key, Body=body)
        tracker.record(reserved, size=len(body), content_type="image/png")
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from anyio.from_thread import BlockingPortal, start_blocking_portal

from media_reconciler import tracking
from media_reconciler.tracking import HOUR, NotDone, Reservation

__all__ = ["NotDone", "Reservation", "Tracker", "open_tracker"]


class Tracker:
    """As `tracking.Tracker`; any thread may use it."""

    def __init__(self, portal: BlockingPortal, tracker: tracking.Tracker) -> None:
        self._portal = portal
        self._tracker = tracker

    def reserve(
        self,
        key: str,
        *,
        owner: str,
        size: int | None = None,
        content_type: str = "",
        lasts: timedelta = HOUR,
    ) -> Reservation:
        call = self._tracker.reserve
        told = partial(call, key, owner=owner, size=size, content_type=content_type, lasts=lasts)
        return self._portal.call(told)

    def record(
        self,
        reservation: Reservation,
        *,
        size: int,
        content_type: str = "",
        content_hash: str | None = None,
        columns: Mapping[str, str | None] | None = None,
    ) -> None:
        self._portal.call(
            partial(
                self._tracker.record,
                reservation,
                size=size,
                content_type=content_type,
                content_hash=content_hash,
                columns=columns,
            )
        )

    def release(self, reservation: Reservation) -> None:
        self._portal.call(self._tracker.release, reservation)


@contextmanager
def open_tracker(environ: Mapping[str, str] | None = None) -> Iterator[Tracker]:
    """As `tracking.open_tracker`, with a thread of its own for the event loop."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(tracking.open_tracker(environ)) as opened,
    ):
        yield Tracker(portal, opened)
