"""Counters of what was read and deleted. Every replica has them, and only the leader moves them."""

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry

from reconciler.model import GONE, VERDICTS, Left, LookResult, Mode, ObjectResult, Reading, Verdict
from reconciler.ports import Channel
from reconciler.telemetry.names import counter
from reconciler.telemetry.observers import NullObserver

ACTIONS: Mapping[str, tuple[str, ...]] = {
    "delete_object": tuple(ObjectResult),
    "delete_record": ("deleted", "lost"),
}
"""Actions and their results. A `lost` record became live after its object had been deleted."""

RECORD_RESULTS = {"record": "deleted", "lost": "lost"}

WENT = GONE | {ObjectResult.UNTOUCHED}
"""Results after which nothing is left to do for the mark."""


class WorkMetrics(NullObserver):
    """Pages, rows, actions and bytes. One call counts a page or a batch, never a key."""

    def _make_work(self, registry: CollectorRegistry) -> None:
        self._pages = counter(registry, "pages_listed", "Pages that the bucket listed.")
        self._keys = counter(registry, "keys_listed", "Keys that the bucket listed.")
        self._rows = counter(registry, "records_read", "Rows of the media table that were compared.")
        self._actions = counter(
            registry,
            "actions",
            "Storage keys and rows acted on, by result; in dry run those that would be acted on.",
            "action",
            "result",
            "mode",
        )
        self._deleted_keys = counter(
            registry,
            "deleted_keys",
            "Storage keys whose object or rows were deleted, by verdict; in dry run those that would be.",
            "verdict",
            "mode",
        )
        self._deleted_bytes = counter(
            registry,
            "deleted_bytes",
            "Bytes of the objects known to be deleted; in dry run of those that would be.",
            "verdict",
            "mode",
        )
        self._purged_objects = counter(
            registry, "purged_objects", "Deleted objects that can no longer be brought back."
        )
        self._freed_bytes = counter(registry, "freed_bytes", "Bytes that purges gave back to the store.")
        self._adoptions = counter(
            registry,
            "adoptions",
            "Objects without a row that sweeps' adoptions settled: adopted, or why they were left.",
            "result",
        )
        self._events = counter(
            registry,
            "events_read",
            "Events of the store's queue, by what was made of them.",
            "reading",
        )
        self._looks = counter(
            registry, "hint_looks", "Looks at keys that events named, by what they came to.", "result"
        )
        self._messages = counter(
            registry,
            "messages",
            "Messages that a receiver was sent, by what became of them; refused ones are sent again.",
            "channel",
            "receiver",
            "result",
        )
        self._rests = counter(
            registry,
            "receiver_failures",
            "Times that a receiver took nothing at all: unreachable, throttling, or refusing our token.",
            "channel",
            "receiver",
        )
        self._make_children()

    def _make_children(self) -> None:
        for mode in Mode:
            for verdict in VERDICTS:
                self._deleted_keys.labels(verdict, mode)
                self._deleted_bytes.labels(verdict, mode)
            for action, results in ACTIONS.items():
                for result in results:
                    self._actions.labels(action, result, mode)
        for adoption in ("adopted", *Left):
            self._adoptions.labels(adoption)
        for reading in Reading:
            self._events.labels(reading)
        for result in LookResult:
            self._looks.labels(result)

    def page_listed(self, keys: int) -> None:
        self._pages.inc()
        self._keys.inc(keys)

    def records_read(self, rows: int) -> None:
        self._rows.inc(rows)

    def deleted(self, mode: Mode, verdict: Verdict, result: str, keys: int, size: int) -> None:
        if result in RECORD_RESULTS:
            self._actions.labels("delete_record", RECORD_RESULTS[result], mode).inc(keys)
            return
        self._actions.labels("delete_object", result, mode).inc(keys)
        self._deleted_bytes.labels(verdict, mode).inc(size)
        if result in WENT:
            self._deleted_keys.labels(verdict, mode).inc(keys)

    def channels_opened(self, channels: Sequence[Channel]) -> None:
        """Take the channels of this replica's settings, so that each has its figures from the start."""
        for each in channels:
            self.delivered(each.subscription.channel, each.receiver, 0, 0, away=False)

    def delivered(self, channel: str, receiver: str, arrived: int, refused: int, *, away: bool) -> None:
        self._messages.labels(channel, receiver, "arrived").inc(arrived)
        self._messages.labels(channel, receiver, "refused").inc(refused)
        self._rests.labels(channel, receiver).inc(away)

    def adopted(self, results: Mapping[str, int]) -> None:
        for result, objects in results.items():
            self._adoptions.labels(result).inc(objects)

    def purged(self, objects: int, size: int) -> None:
        self._purged_objects.inc(objects)
        self._freed_bytes.inc(size)

    def _count_events(self, reading: Reading, events: int) -> None:
        self._events.labels(reading).inc(events)

    def _count_looks(self, looks: Mapping[LookResult, int]) -> None:
        for result, number in looks.items():
            self._looks.labels(result).inc(number)
