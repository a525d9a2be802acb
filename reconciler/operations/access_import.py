"""Accesses that a CDN's logs tell of, written to the rows: what is looked at there is protected too."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from reconciler.catalog.media_tables.access_logs import AccessLogs
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Access, Imported, LogPlace, LogStep, Uncounted
from reconciler.model.keys import is_managed
from reconciler.operations.log_files import CutOff, Log, Pieces, unpacked
from reconciler.planning.access_logs import Address, LogReader, Unreadable

AT_ONCE: Final = 5_000
"""Keys of one transaction, whose rows are locked as long as it lasts."""

LONGEST_LINE: Final = 1 << 20
"""Bytes; what follows of a longer one is no request."""

Told = Callable[[str, Imported], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTerms:
    """How URLs name media, which keys are managed, and what does not count. `now` is Unix time."""

    address: Address
    prefixes: tuple[str, ...]
    uncounted: Uncounted
    now: Callable[[], float]


async def import_logs(
    to: AccessLogs, logs: AsyncIterator[Sequence[Log]], terms: ImportTerms, told: Told
) -> Imported:
    """Read each log from where it was left, and write what it says. `told` hears of each step.

    Begun again after any end, it counts no line twice. Raises NotDone where the table has no column for it,
    for a log that cannot be read, and for one that is read by another import.
    """
    if not to.possible:
        message = (
            "the media table has no column for accesses: map CATALOG__MEDIA_COLUMNS__LAST_ACCESSED_AT or"
            " CATALOG__MEDIA_COLUMNS__ACCESS_COUNT"
        )
        raise NotDone(ErrorKind.NOT_READY, "no_access_columns", message)
    total = Imported()
    async for page in logs:
        finished = await to.finished({log.name: log.version for log in page if log.version is not None})
        for log in page:
            if log.name in finished:
                total.done += 1
                continue
            await _Import(to, terms, log, total, told).run()
    await to.forget()
    return total


class _Known(Exception):
    """A log that begins like this one was read before."""


@dataclass(slots=True)
class _Import:
    """One log on its way in. `reached` is as far as it is written, and `read` counts bytes behind that."""

    to: AccessLogs
    terms: ImportTerms
    log: Log
    total: Imported
    told: Told
    head: str | None = None
    known: frozenset[LogPlace] = frozenset()
    reached: LogPlace | None = None
    seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    counts: Imported = field(default_factory=Imported)

    async def run(self) -> None:
        """Read it once; twice where lines of it were read before: then first to find out how far."""
        try:
            await self._read()
        except _Known:
            self.reached = await self._find_reached()
            self.seen, self.counts = {}, Imported()
            await self._read()

    async def _read(self) -> None:
        reader, hashed, read, ended = LogReader(), hashlib.sha256(), 0, True
        async with self.log.open() as pieces:
            blocks = _blocks(unpacked(pieces), whole=self.log.version is not None)
            try:
                async for block in blocks:
                    old = 0 if self.reached is None else min(max(self.reached.bytes - read, 0), len(block))
                    for line in block[:old].split(b"\n"):
                        if line.startswith(b"#"):
                            reader.read(line)
                    if old < len(block):
                        await self._take(reader, block[old:])
                    hashed.update(block)
                    read += len(block)
                    if len(self.seen) >= AT_ONCE:
                        await self._write(LogPlace(bytes=read, digest=hashed.hexdigest()), None)
            except CutOff:
                ended = False
                self.counts.cut_off.append(self.log.name)
        if self.head is None:
            self.total.add(self.counts)
            return
        self.counts.logs += 1
        await self._write(
            LogPlace(bytes=read, digest=hashed.hexdigest()), self.log.version if ended else None
        )

    async def _take(self, reader: LogReader, block: bytes) -> None:
        """Count the lines of a block."""
        for line in block.removesuffix(b"\n").split(b"\n"):
            line = line.removesuffix(b"\r")  # noqa: PLW2901 - the same line
            try:
                request = reader.read(line)
            except Unreadable:
                request = None
                self.counts.lines += 1
                self.counts.unreadable += 1
            if self.head is None and line and not line.startswith(b"#"):
                await self._begin(line)
            if request is None:
                continue
            self.counts.lines += 1
            if not request.had:
                self.counts.not_had += 1
            elif self.terms.uncounted.matches(request.agent):
                self.counts.uncounted += 1
            elif keys := [
                key for key in self.terms.address.keys(request) if is_managed(key, self.terms.prefixes)
            ]:
                for key in keys:
                    count, last = self.seen.get(key, (0, 0.0))
                    self.seen[key] = count + 1, max(last, request.at)
            else:
                self.counts.elsewhere += 1

    async def _begin(self, line: bytes) -> None:
        self.head = hashlib.sha256(line).hexdigest()
        self.known = await self.to.places(self.head)
        if self.known:
            raise _Known

    async def _find_reached(self) -> LogPlace | None:
        """The farthest of the known places that this log has."""
        hashed, read, found = hashlib.sha256(), 0, None
        left = sorted(self.known, key=lambda place: place.bytes)
        async with self.log.open() as pieces:
            blocks = _blocks(unpacked(pieces), whole=self.log.version is not None)
            try:
                async for block in blocks:
                    begins = read
                    while left and left[0].bytes <= begins + len(block):
                        place = left.pop(0)
                        hashed.update(block[read - begins : place.bytes - begins])
                        read = place.bytes
                        if hashed.hexdigest() == place.digest:
                            found = place
                    if not left:
                        break
                    hashed.update(block[read - begins :])
                    read = begins + len(block)
            except CutOff:
                pass
        return found

    async def _write(self, place: LogPlace, version: str | None) -> None:
        assert self.head is not None
        if place != self.reached or version is not None:
            now = self.terms.now()
            accesses = [
                Access(key=key, count=count, seconds_ago=max(0.0, now - last))
                for key, (count, last) in sorted(self.seen.items())
            ]
            step = LogStep(
                head=self.head,
                known=self.known,
                before=self.reached,
                after=place,
                name=self.log.name,
                version=version,
            )
            self.counts.add(await self.to.write(step, accesses))
            self.known = self.known - {self.reached} | {place}
            self.reached = place
        self.total.add(self.counts)
        self.seen, self.counts = {}, Imported()
        self.told(self.log.name, self.total)


async def _blocks(pieces: Pieces, *, whole: bool) -> Pieces:
    """Whole lines, a few hundred KiB at a time. A last line without an end is one where the log is `whole`,
    and is still written otherwise.
    """
    rest = b""
    async for piece in pieces:
        rest += piece
        end = rest.rfind(b"\n") + 1
        if not end and len(rest) > LONGEST_LINE:
            end = len(rest)
        if end:
            yield rest[:end]
            rest = rest[end:]
    if rest and whole:
        yield rest
