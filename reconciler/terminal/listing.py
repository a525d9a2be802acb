"""What lists have in common: how much of one is shown, and every one of it as a line of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

PAGE = 1_000
LISTED = 50
"""Rows of a table; in jsonl all are printed."""
TARGET_WIDTH = 60


async def print_lines(
    pages: AsyncIterator[Sequence[T]], as_dict: Callable[[T], Mapping[str, object]], limit: int | None
) -> None:
    """One line each, the first `limit` of them; None for every one."""
    left = limit
    async for page in pages:
        sys.stdout.writelines(json.dumps(as_dict(each)) + "\n" for each in page[:left])
        left = None if left is None else left - len(page)
        if left is not None and left <= 0:
            return
