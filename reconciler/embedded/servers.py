"""A real Postgres and a real S3 server from two wheels, on loopback, that end when this program ends.

They run in a supervisor's directory (see `guarding`), on free ports, with fresh credentials, and live as
long as the supervisor is open. The demo and the tests use them. Their contents are thrown away, so
nothing is flushed to disk, and nothing is shut down in order.
"""

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import to_thread

from reconciler.embedded.client import ServerFailed, Supervisor
from reconciler.embedded.postgres import EmbeddedPostgres, start_postgres
from reconciler.embedded.seaweedfs import EmbeddedS3, start_s3

T = TypeVar("T")


async def start_both(supervisor: Supervisor) -> tuple[EmbeddedPostgres, EmbeddedS3]:
    """Start both servers at once.

    When cancelled, or when one fails, it waits until the other has stopped starting: anything that a
    thread made in the supervisor's directory after the supervisor's end would stay.
    """
    postgres: list[EmbeddedPostgres] = []
    s3: list[EmbeddedS3] = []

    async def start(into: list[T], starter: Callable[[Supervisor], T]) -> None:
        try:
            into.append(await to_thread.run_sync(starter, supervisor))
        except ServerFailed:
            if not supervisor.given_up:
                raise
        if postgres and s3:
            group.cancel_scope.cancel()

    async def hurry() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            if not (postgres and s3):
                supervisor.give_up()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(hurry)
            group.start_soon(start, postgres, start_postgres)
            group.start_soon(start, s3, start_s3)
    except* ServerFailed as failures:
        raise failures.exceptions[0] from None
    return postgres[0], s3[0]
