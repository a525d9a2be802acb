"""What a process of Ray's carries out: a share of a comparison, with a bucket and a folder of its own.

Nothing but plain values comes here, and no secret: credentials are those of the AWS chain where it runs.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from reconciler.ports import Exports, Files
from reconciler.sources.shares import Compare, Failed, Look, Looked, RangeCompared, Worker
from reconciler.sources.workspace import workspace
from reconciler.stores.s3 import Bucket, BucketConfig, open_bucket

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The bucket, and what a process may take; see `sources.inventories.InventoryConfig`."""

    bucket: BucketConfig
    directory: str | None
    memory: int
    disk: int


class _Reached:
    """`sources.shares.Reach` by an event loop in a thread of its own."""

    def __init__(self, portal: BlockingPortal, bucket: Bucket) -> None:
        self._portal = portal
        self._bucket = bucket

    @property
    def exports(self) -> Exports:
        return self._bucket.exports

    def files_of(self, bucket: str) -> Files:
        return self._bucket.files_of(bucket)

    def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        found: T = self._portal.call(call)
        return found


@contextmanager
def opened(place: Place) -> Iterator[Worker]:
    with (
        workspace(place.directory, None) as folder,
        start_blocking_portal(backend_options=_LOOP) as portal,
        portal.wrap_async_context_manager(open_bucket(place.bucket)) as bucket,
    ):
        yield Worker(_Reached(portal, bucket), folder, place.memory, place.disk)


# Ray makes uvloop the policy of its processes where that is installed. Its transports cannot be paced.
_LOOP: Final = {"loop_factory": asyncio.SelectorEventLoop}


@cache
def _worker(place: Place) -> Worker:
    """One for the process, until that ends. Its folder goes with the next comparison on this machine."""
    return _KEPT.enter_context(opened(place))


_KEPT = ExitStack()


def look(place: Place, share: Look) -> Looked | Failed:
    return _worker(place).look(share)


def compare(place: Place, share: Compare) -> RangeCompared | Failed:
    return _worker(place).compare(share)
