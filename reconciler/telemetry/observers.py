"""Observers to build on: one that ignores every event, and one that passes each on to several others."""

from collections.abc import Callable

from reconciler.ports import Observer


class NullObserver(Observer):
    """Ignores every event; subclasses override the methods they need."""


class CompositeObserver(NullObserver):
    """Passes every event on to each of `observers`, in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers


def _forward(event: str) -> Callable[..., None]:
    def tell(fanout: CompositeObserver, *args: object, **named: object) -> None:
        for observer in fanout._observers:  # noqa: SLF001 - its own
            getattr(observer, event)(*args, **named)

    return tell


for _event in vars(Observer):
    if not _event.startswith("_"):
        setattr(CompositeObserver, _event, _forward(_event))
