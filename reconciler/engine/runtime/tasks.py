"""Structured concurrency that raises one error instead of a group."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup

from reconciler.errors import ConfigError, Halt, LeaseLost, Retryable

T = TypeVar("T")

PRECEDENCE: tuple[type[BaseException], ...] = (Halt, ConfigError, LeaseLost, Retryable)
"""Which error to raise when several tasks fail: bugs first, then the one that asks most of a person."""


class Waitable(Protocol):
    """An event, or anything else that can be awaited by `wait`."""

    async def wait(self) -> object: ...


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """A task group that raises only the weightiest of its tasks' errors."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise weightiest(errors) from errors


def weightiest(error: BaseException) -> BaseException:
    """The error of a group that says most about it; an error that is no group is itself."""
    leaves = list(_leaves(error))
    unexpected = [leaf for leaf in leaves if not isinstance(leaf, PRECEDENCE)]
    return min(unexpected or leaves, key=_rank)


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _rank(error: BaseException) -> int:
    kinds = (i for i, kind in enumerate(PRECEDENCE) if isinstance(error, kind))
    return next(kinds, len(PRECEDENCE))


@asynccontextmanager
async def ended_by(event: Waitable) -> AsyncIterator[None]:
    """Cancel the body, quietly, as soon as the event is set."""
    async with task_group() as group:

        async def watch() -> None:
            await event.wait()
            group.cancel_scope.cancel()

        group.start_soon(watch)
        yield
        group.cancel_scope.cancel()


async def for_each(over: Iterable[T], act: Callable[[T], Awaitable[None]], *, concurrency: int) -> None:
    """Await `act` for every element, at most `concurrency` at once."""
    elements = list(over)
    queue = iter(elements)

    async def work() -> None:
        for element in queue:
            await act(element)

    async with task_group() as group:
        for _ in range(min(concurrency, len(elements))):
            group.start_soon(work)
