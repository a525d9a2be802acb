"""`python -m tests.attacks.unguarded COMMAND…`: the program without its second look and its wait.

With the triggers removed as well nothing stands between a writer and the collector: what the stress
test has to find.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from reconciler import cli
from reconciler.catalog.marks.marks import PostgresMarks


async def _guarded(_self: Any) -> bool:
    return True


async def _look_again(_self: Any, *_: Any, **__: Any) -> Mapping[str, str]:
    return {}


def main() -> int:
    guards: dict[str, Any] = {"guarded": _guarded, "look_again": _look_again}
    for name, missing in guards.items():
        setattr(PostgresMarks, name, missing)
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
