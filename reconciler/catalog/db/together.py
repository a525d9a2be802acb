"""Questions that come at the same time are asked by one statement."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from reconciler.errors import BadValue

Q = TypeVar("Q")
A = TypeVar("A")

AT_ONCE: Final = 2
"""Statements in flight. A question that finds them all under way waits for the next."""

MOST: Final = 64
"""Questions of one statement: so few are probes of an index, however large the table is."""


class Together(Generic[Q, A]):
    """Asks `ask` for many answers, in the order of the questions.

    Nothing is kept: each question is asked by a statement that begins after it came. It begins once the event
    loop has gone round, so that all that came in one round are asked together.
    """

    def __init__(self, ask: Callable[[Sequence[Q]], Awaitable[Sequence[A]]]) -> None:
        self._ask = ask
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._about_to_begin = False

    async def __call__(self, question: Q) -> A:
        """Raises what asking raises; a value that the database cannot take is BadValue for it alone."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._waiting.append((question, answer))
        if not self._about_to_begin:
            self._about_to_begin = True
            loop.call_soon(self._begin)
        return await answer

    def _begin(self) -> None:
        self._about_to_begin = False
        while self._waiting and len(self._asking) < AT_ONCE:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            task = asyncio.ensure_future(self._answer(batch))
            self._asking.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        self._begin()

    async def _answer(self, batch: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        # Who has asked may be gone by now.
        batch = [(question, future) for question, future in batch if not future.done()]
        if not batch:
            return
        try:
            answers = await self._ask([question for question, _ in batch])
        except BadValue as error:
            if (half := len(batch) // 2) == 0:
                _fail(batch, error)
                return
            await self._answer(batch[:half])
            await self._answer(batch[half:])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for those who asked
            _fail(batch, error)
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)


def _fail(batch: Sequence[tuple[Q, asyncio.Future[A]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
