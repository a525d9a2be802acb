"""The unfinished multipart uploads of a bucket in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

from reconciler.model import DeletionResult, ObjectResult, Upload
from tests.doubles.contents import Contents
from tests.doubles.observing import Surroundings, port


class MemoryUploads:
    """Begun, and neither completed nor ended. What is ended is told to `on_abort` before it goes."""

    def __init__(self, bucket: Contents) -> None:
        self._bucket = bucket
        self._numbers = 0
        self.begun: list[Upload] = []
        self.on_abort: Callable[[Upload], None] = lambda _: None

    @property
    def around(self) -> Surroundings:
        return self._bucket.around

    def begin(self, key: str, age: timedelta = timedelta(0)) -> Upload:
        self._numbers += 1
        upload = Upload(key=key, id=f"u{self._numbers:06}", begun_at=self.around.now - age)
        self.begun.append(upload)
        return upload

    def complete(self, key: str) -> None:
        """The oldest one to the key becomes its object."""
        upload = next(each for each in self.begun if each.key == key)
        self.begun.remove(upload)
        self._bucket.upload(key)

    # --- Uploads ---

    async def pages(self, prefix: str) -> AsyncIterator[Sequence[Upload]]:
        await self.around.step()
        self._bucket.answer()
        yield [each for each in self.begun if each.key.startswith(prefix) and not self._bucket.foreign]

    @port
    async def abort(self, batch: Sequence[Upload]) -> Sequence[DeletionResult]:
        self._bucket.answer()
        return [DeletionResult(key=each.key, result=self._abort(each)) for each in batch]

    def _abort(self, upload: Upload) -> ObjectResult:
        if self._bucket.foreign or upload not in self.begun:
            return ObjectResult.MISSING
        self.on_abort(upload)
        self.begun.remove(upload)
        return ObjectResult.DELETED
