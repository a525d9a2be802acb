"""Managed prefixes and the key ranges that a sweep divides them into."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from reconciler.model import RESERVED_PREFIX, SCRATCH_FOLDER, KeyRange

_LAST_BEFORE_SURROGATES = 0xD7FF
_FIRST_AFTER_SURROGATES = 0xE000
_MAX_KEY_BYTES = 1024
"""S3's limit for a key, and so for StartAfter; a row may name a longer one, which cannot be a bound."""


def is_managed(key: str, prefixes: tuple[str, ...]) -> bool:
    """Whether the key lies in one of the managed prefixes. Our own corner of the bucket never does, nor
    does a scratch key.
    """
    return key.startswith(prefixes) and not key.startswith(RESERVED_PREFIX) and SCRATCH_FOLDER not in key


def prefix_end(prefix: str) -> str | None:
    """The least string after every key with that prefix; None where there is none (as for "").

    Skips the surrogates: no key holds them, and UTF-8 cannot write them.
    """
    stem = prefix.rstrip(chr(sys.maxunicode))
    if not stem:
        return None
    last = ord(stem[-1])
    following = _FIRST_AFTER_SURROGATES if last == _LAST_BEFORE_SURROGATES else last + 1
    return stem[:-1] + chr(following)


def merge_prefixes(prefixes: Iterable[str]) -> tuple[str, ...]:
    """The prefixes in byte order without those that lie inside another: no key is listed twice."""
    merged: list[str] = []
    for prefix in sorted(prefixes):
        if not merged or not prefix.startswith(merged[-1]):
            merged.append(prefix)
    return tuple(merged)


def prefix_of(key: str, prefixes: Sequence[str]) -> str | None:
    """Which of the prefixes the key lies in; they do not lie inside one another (`merge_prefixes`)."""
    return next((prefix for prefix in prefixes if key.startswith(prefix)), None)


def split(prefix: str, samples: Sequence[str], count: int) -> tuple[KeyRange, ...]:
    """At most `count` ranges, ascending, disjoint, together the whole prefix.

    Bounds are drawn evenly from the samples (keys of the prefix, any order); few distinct samples
    make few ranges. A sample that a store would refuse as StartAfter is passed over.
    """
    usable = sorted({key for key in samples if _can_bound(key, prefix)})
    picked = {usable[step * len(usable) // count] for step in range(1, count)} if usable else set()
    bounds = ("", *sorted(picked))
    return tuple(
        KeyRange(prefix=prefix, after=after, upto=upto)
        for after, upto in zip(bounds, (*bounds[1:], None), strict=True)
    )


def _can_bound(key: str, prefix: str) -> bool:
    return len(key) > len(prefix) and key.startswith(prefix) and len(key.encode()) <= _MAX_KEY_BYTES
