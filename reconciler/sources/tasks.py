"""A few tasks at once, and one error where some of them fail."""

import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

from reconciler.errors import InventoryRefused, ReconcilerError

T = TypeVar("T")


async def each(over: Iterable[T], act: Callable[[T], Awaitable[None]], *, at_once: int) -> None:
    """Await `act` for every element; the first error ends the others and is raised alone."""
    queue = iter(list(over))

    async def work() -> None:
        for element in queue:
            await act(element)

    await together(*[work] * at_once)


async def together(*acts: Callable[[], Coroutine[object, object, None]]) -> None:
    """Await all of them. Of several errors the one is raised that is not the consequence of another."""
    try:
        async with anyio.create_task_group() as group:
            for act in acts:
                group.start_soon(act)
    except BaseExceptionGroup as errors:
        raise min(_leaves(errors), key=_rank) from errors


async def in_thread(work: Callable[[Callable[[], None]], None], alive: Callable[[], None]) -> None:
    """Run blocking work in a thread. It calls what it is given at every step, which tells that it is alive,
    and ends it where this is cancelled: until then the cancellation waits.
    """
    ended, stopped = anyio.Event(), threading.Event()

    def step() -> None:
        if stopped.is_set():
            raise InventoryRefused("the comparison with the inventory was broken off")
        anyio.from_thread.run_sync(alive)

    async def run() -> None:
        try:
            await anyio.to_thread.run_sync(work, step)
        except InventoryRefused:
            # Where this is cancelled, that is what it ended for.
            await anyio.lowlevel.checkpoint()
            raise
        finally:
            ended.set()

    async def watch() -> None:
        try:
            await ended.wait()
        finally:
            stopped.set()

    await together(run, watch)


def _rank(error: BaseException) -> int:
    if isinstance(error, InventoryRefused):
        return 1
    return 2 if isinstance(error, ReconcilerError) else 0


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
