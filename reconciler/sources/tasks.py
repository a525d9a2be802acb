"""A few tasks at once, and one error where some of them fail."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TypeVar

import anyio

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
