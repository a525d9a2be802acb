"""A ConfigMap as the kubelet mounts it, and the log of a program as events."""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Volume:
    """A directory with one file, `runtime.yaml`, by way of the link `..data`.

    `swap` does what the kubelet does: the new content in a directory of its own, one rename of the link, and
    the old directory is removed.
    """

    def __init__(self, at: Path, text: str) -> None:
        at.mkdir()
        self.at = at
        self.file = at / "runtime.yaml"
        self.swapped_at: list[datetime] = []
        self.swap(text)
        self.file.symlink_to("..data/runtime.yaml")

    def swap(self, text: str) -> None:
        link, link_to_be = self.at / "..data", self.at / "..data_tmp"
        before = link.resolve() if link.exists() else None
        content = Path(tempfile.mkdtemp(prefix="..2026_", dir=self.at))
        (content / "runtime.yaml").write_text(text, encoding="utf-8")
        link_to_be.symlink_to(content.name)
        self.swapped_at.append(datetime.now(UTC))
        link_to_be.rename(link)
        if before is not None:
            shutil.rmtree(before)

    def vanish(self) -> None:
        """The link is gone, and with it the file."""
        (self.at / "..data").unlink()


class Log:
    """What a daemon has logged in JSON so far."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def events(self, event: str) -> list[dict[str, Any]]:
        """The lines of that event, in order; `at` is when each was written."""
        lines = [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]
        found = [line for line in lines if line["event"] == event]
        return [{**line, "at": datetime.fromisoformat(line["timestamp"])} for line in found]
