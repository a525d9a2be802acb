"""Observers to build on: one that takes no notice, and one that tells several others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from reconciler.model import Marker, Mode, Outcome, Phase, Tally, Verdict
from reconciler.ports import Observer


class Quiet:
    """Implements `ports.Observer` by taking no notice; subclasses listen to what concerns them."""

    def page_listed(self, keys: int) -> None:
        pass

    def records_read(self, rows: int) -> None:
        pass

    def pass_started(self, marker: Marker) -> None:
        pass

    def pass_finished(self, marker: Marker, outcome: Outcome, seconds: float, tally: Tally) -> None:
        pass

    def phase(self, marker: Marker, phase: Phase | None) -> None:
        pass

    def deleted(self, mode: Mode, verdict: Verdict, result: str, keys: int, size: int) -> None:
        pass

    def drift(self, by_verdict: Mapping[Verdict, tuple[int, int, datetime | None]], waiting: int) -> None:
        pass

    def refused(self, kept: int, gone: int) -> None:
        pass

    def hidden(self, objects: int, size: int) -> None:
        pass

    def purged(self, objects: int, size: int) -> None:
        pass

    def alive(self, loop: str) -> None:
        pass

    def halted(self, reason: str | None) -> None:
        pass

    def elected(self, epoch: int) -> None:
        pass

    def leading(self, *, leader: bool) -> None:
        pass

    def renewed(self, outcome: str) -> None:
        pass

    def paused(self, *, paused: bool, since: datetime | None) -> None:
        pass

    def blocked(self, by: str | None) -> None:
        pass

    def clocks(self, ahead: Mapping[str, float]) -> None:
        pass


class Fanout:
    """Implements `ports.Observer` by telling each of `observers`, in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def page_listed(self, keys: int) -> None:
        for observer in self._observers:
            observer.page_listed(keys)

    def records_read(self, rows: int) -> None:
        for observer in self._observers:
            observer.records_read(rows)

    def pass_started(self, marker: Marker) -> None:
        for observer in self._observers:
            observer.pass_started(marker)

    def pass_finished(self, marker: Marker, outcome: Outcome, seconds: float, tally: Tally) -> None:
        for observer in self._observers:
            observer.pass_finished(marker, outcome, seconds, tally)

    def phase(self, marker: Marker, phase: Phase | None) -> None:
        for observer in self._observers:
            observer.phase(marker, phase)

    def deleted(self, mode: Mode, verdict: Verdict, result: str, keys: int, size: int) -> None:
        for observer in self._observers:
            observer.deleted(mode, verdict, result, keys, size)

    def drift(self, by_verdict: Mapping[Verdict, tuple[int, int, datetime | None]], waiting: int) -> None:
        for observer in self._observers:
            observer.drift(by_verdict, waiting)

    def refused(self, kept: int, gone: int) -> None:
        for observer in self._observers:
            observer.refused(kept, gone)

    def hidden(self, objects: int, size: int) -> None:
        for observer in self._observers:
            observer.hidden(objects, size)

    def purged(self, objects: int, size: int) -> None:
        for observer in self._observers:
            observer.purged(objects, size)

    def alive(self, loop: str) -> None:
        for observer in self._observers:
            observer.alive(loop)

    def halted(self, reason: str | None) -> None:
        for observer in self._observers:
            observer.halted(reason)

    def elected(self, epoch: int) -> None:
        for observer in self._observers:
            observer.elected(epoch)

    def renewed(self, outcome: str) -> None:
        for observer in self._observers:
            observer.renewed(outcome)

    def leading(self, *, leader: bool) -> None:
        for observer in self._observers:
            observer.leading(leader=leader)

    def paused(self, *, paused: bool, since: datetime | None) -> None:
        for observer in self._observers:
            observer.paused(paused=paused, since=since)

    def clocks(self, ahead: Mapping[str, float]) -> None:
        for observer in self._observers:
            observer.clocks(ahead)

    def blocked(self, by: str | None) -> None:
        for observer in self._observers:
            observer.blocked(by)
