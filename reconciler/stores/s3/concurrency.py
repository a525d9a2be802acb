"""Run a few calls concurrently and return their results in order."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

T = TypeVar("T")


async def side_by_side(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Return the results in the order of the calls. All are awaited; then the first error is raised as is.

    A task group alone would wrap it in an exception group, and cancel requests whose outcome matters.
    """
    results: dict[int, T] = {}
    faults: list[Exception] = []

    async def run(number: int, call: Callable[[], Awaitable[T]]) -> None:
        try:
            results[number] = await call()
        except Exception as fault:  # noqa: BLE001 - raised below, out of the group
            faults.append(fault)

    async with anyio.create_task_group() as group:
        for number, call in enumerate(calls):
            group.start_soon(run, number, call)
    if faults:
        raise faults[0]
    return [results[number] for number in range(len(calls))]
