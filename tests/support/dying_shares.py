"""Sweeps on Ray of which a process dies: `python -m tests.support.dying_shares HOW COMMAND …`.

`never`: nobody does. `FILE`: the first to compare a range, once it has written what it found; that is told by
the file.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from reconciler import app, cli
from reconciler.app import shares
from reconciler.sources.shares import Compare, Failed, RangeCompared


def compare_and_die(file: str, place: shares.Place, share: Compare) -> RangeCompared | Failed:
    found = shares.compare(place, share)
    if isinstance(found, RangeCompared) and found.orphans:
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return found
        Path(file).write_text(found.orphans[0].key, encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)
    return found


def main() -> int:
    how, *command = sys.argv[1:]
    wiring: Any = app.wiring
    made = wiring.shared_of

    def deadly(settings: Any, bucket: Any) -> Any:
        found = made(settings, bucket)
        (place,) = found.compare_range.args
        return replace(found, compare_range=partial(compare_and_die, how, place))

    if how != "never":
        wiring.shared_of = deadly
    return cli.main(command)


if __name__ == "__main__":
    sys.exit(main())
