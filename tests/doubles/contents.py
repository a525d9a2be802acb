"""What the parts of a bucket in memory see of the whole."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from reconciler.model import StoredObject
from tests.doubles.observing import Surroundings


class Contents(Protocol):
    """See `MemoryBucket`, which is one."""

    around: Surroundings
    objects: dict[str, StoredObject]
    foreign: bool
    refusing: set[str]

    def answer(self) -> None: ...

    def upload(self, key: str, size: int = 10, age: timedelta = timedelta(0)) -> None: ...
