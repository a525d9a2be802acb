"""What a comparison that is killed leaves to the next one: the rows' export, and each range compared with it.

Ranges count with the very export that they were compared with, and that for an hour, since rows move on. Each
file is compared with the MD5 that was noted when it was whole. All of it only nominates, as it does anyway.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from reconciler.sources.comparing import Found
from reconciler.sources.fetching import md5_of
from reconciler.sources.ranges import Span
from reconciler.sources.workspace import LISTED, LOCK

FOR: Final = timedelta(hours=1)
"""How long after its snapshot an export is used again."""

_EXPORT: Final = "export.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The rows as files, and when their snapshot was taken. `number` is of this export alone."""

    number: str
    read_at: datetime
    files: Sequence[Path]


class Kept:
    """The folder of one inventory, in which only what counts is left. Blocking."""

    def __init__(self, folder: Path, terms: Mapping[str, str]) -> None:
        """`terms`: what an export depends on, besides rows and inventory; with others none is used again."""
        self._folder = folder
        self._terms = dict(terms)

    def export(self, now: datetime) -> Export | None:
        """The export of a process that was killed; None, and it is removed, where it does not count."""
        try:
            noted = json.loads((self._folder / _EXPORT).read_bytes())
            found = Export(
                number=noted["number"],
                read_at=datetime.fromisoformat(noted["read_at"]),
                files=self._files(noted["files"]),
            )
            if noted["terms"] == self._terms and timedelta(0) <= now - found.read_at <= FOR:
                return found
        except (OSError, ValueError, KeyError, TypeError):
            pass
        for path in self._folder.iterdir():
            if path.is_file() and path.name != LOCK and not path.name.startswith(LISTED):
                path.unlink()
        return None

    def keep(self, read_at: datetime, files: Sequence[Path]) -> Export:
        """Note an export that is whole, once all of its files are."""
        made = Export(number=uuid4().hex, read_at=read_at, files=files)
        noted = {
            "number": made.number,
            "read_at": read_at.isoformat(),
            "terms": self._terms,
            "files": _noted(files),
        }
        begun = self._folder / f"{_EXPORT}.begun"
        begun.write_text(json.dumps(noted))
        begun.replace(self._folder / _EXPORT)
        return made

    def remembering(self, export: Export, compare: Callable[[Span], Found]) -> Callable[[Span], Found]:
        """`compare`, which answers from what is noted where that range was compared with this export."""
        journal = self._folder / f"ranges-{export.number}"
        known = self._ranges(journal)

        def remember(span: Span) -> Found:
            if (found := known.get(span)) is None:
                found = compare(span)
                with journal.open("a") as file:
                    file.write(json.dumps(_as_json(found)) + "\n")
            return found

        return remember

    def _ranges(self, journal: Path) -> dict[Span, Found]:
        """The ranges whose lines are whole, and whose files are."""
        found: dict[Span, Found] = {}
        for line in journal.read_text().splitlines() if journal.exists() else ():
            try:
                noted = json.loads(line)
                span = Span(**noted.pop("span"))
                orphans, missing = (
                    self._files(noted.pop("orphan_files")),
                    self._files(noted.pop("missing_files")),
                )
                found[span] = Found(span=span, orphan_files=orphans, missing_files=missing, **noted)
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return found

    def _files(self, noted: Mapping[str, str]) -> list[Path]:
        """Raises ValueError where one is not what it was."""
        paths = [self._folder / name for name in noted]
        for path in paths:
            if md5_of(path) != noted[path.name]:
                raise ValueError(f"{path.name} has changed")
        return paths


def _noted(files: Sequence[Path]) -> dict[str, str]:
    return {path.name: md5_of(path) for path in files}


def _as_json(found: Found) -> dict[str, Any]:
    span = found.span
    return {
        "span": {"prefix": span.prefix, "low": span.low, "high": span.high},
        "objects": found.objects,
        "bytes": found.bytes,
        "rows": found.rows,
        "recent": found.recent,
        "unripe": found.unripe,
        "orphans": found.orphans,
        "missing": found.missing,
        "orphan_files": _noted(found.orphan_files),
        "missing_files": _noted(found.missing_files),
    }
