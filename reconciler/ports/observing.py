"""A clock, and the observers of the engine."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, TypeAlias

from reconciler.model import (
    HintsStanding,
    InventoryUsed,
    LookResult,
    Mode,
    Outcome,
    PassKind,
    Phase,
    Reading,
    Tally,
    Verdict,
)

Attribute: TypeAlias = str | int | float | bool


class Tracer(Protocol):
    """Times the steps of the work. Never awaits, never raises, never delays."""

    def span(self, name: str, attributes: Mapping[str, Attribute]) -> AbstractContextManager[str | None]:
        """A step, as long as the context lasts, inside the one it begins in; gives the trace's id."""
        ...

    def note(self, **attributes: Attribute) -> None:
        """Add attributes to the current step."""
        ...


class Clock(Protocol):
    """Monotonic time, in seconds; this machine's clock; sleeping that a cancellation ends at once."""

    def monotonic(self) -> float: ...

    def wall_clock(self) -> datetime: ...

    async def sleep(self, seconds: float) -> None: ...


class Observer:
    """What the engine reports to metrics and progress bars. Listeners override the methods they need.

    Never awaits, never raises.
    """

    def page_listed(self, keys: int) -> None: ...

    def records_read(self, rows: int) -> None: ...

    def pass_started(self, kind: PassKind) -> None: ...

    def pass_finished(self, kind: PassKind, outcome: Outcome, seconds: float, tally: Tally) -> None: ...

    def phase(self, kind: PassKind, phase: Phase | None) -> None:
        """What the running pass is doing from now on; None at its end."""

    def deleted(self, mode: Mode, verdict: Verdict, result: str, keys: int, size: int) -> None:
        """`result` is an ObjectResult, "record" for removed rows, or "lost" for rows that lost theirs."""

    def drift(self, by_verdict: Mapping[Verdict, tuple[int, int, datetime | None]], waiting: int) -> None: ...

    def refused(self, kept: int, gone: int) -> None:
        """Marks whose rows the database does not let go, by whether their objects are still there."""

    def hidden(self, objects: int, size: int) -> None:
        """What is deleted and not freed, in objects and bytes."""

    def adopted(self, results: Mapping[str, int]) -> None:
        """Objects that an adoption has just settled: "adopted", or by the `Left` for which each stays."""

    def purged(self, objects: int, size: int) -> None:
        """What was freed just now."""

    def delivered(self, channel: str, receiver: str, arrived: int, refused: int, *, away: bool) -> None:
        """Messages that a channel has sent just now; `away`: its receiver takes nothing at the moment."""

    def alive(self, loop: str) -> None:
        """A supervised loop's progress stamp."""

    def resting(self, loop: str, seconds: float) -> None:
        """A supervised loop acts again after that long, unless something wakes it before."""

    def halted(self, reason: str | None) -> None: ...

    def elected(self, epoch: int) -> None:
        """A term begins: everything reported from now on belongs to it. `leading` follows."""

    def leading(self, *, leader: bool) -> None: ...

    def renewed(self, outcome: str) -> None:
        """An attempt to renew the lease: "ok", "failed" and tried again, or "lost"."""

    def paused(self, *, paused: bool, since: datetime | None) -> None: ...

    def blocked(self, by: str | None) -> None:
        """The transaction that holds deletions back, in words; None if there is none."""

    def clocks(self, ahead: Mapping[str, float]) -> None:
        """Seconds by which other clocks are ahead of this machine's, by name."""

    def queue_read(self, *, readable: bool) -> None:
        """The queue of the store's events was read, or could not be."""

    def events_read(self, reading: Reading, events: int, seconds: float | None) -> None:
        """So many events were read, the newest that many seconds after it happened, if that is known."""

    def inventory_taken(self, used: InventoryUsed) -> None:
        """A sweep compares the rows with this inventory."""

    def hinted(self, looks: Mapping[LookResult, int], standing: HintsStanding) -> None:
        """What the looks just made came to, and how the hints stand now."""
