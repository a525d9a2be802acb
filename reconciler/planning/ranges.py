"""The key ranges into which a sweep divides a managed prefix."""

from collections.abc import Sequence

from reconciler.model import KeyRange

_MAX_KEY_BYTES = 1024
"""S3's limit for a key, and so for StartAfter; a row may name a longer one, which cannot be a bound."""


def split(prefix: str, samples: Sequence[str], count: int) -> tuple[KeyRange, ...]:
    """At most `count` ranges, ascending, disjoint, together the whole prefix.

    Bounds are drawn evenly from the samples (keys of the prefix, any order); few distinct samples
    make few ranges. A sample that a store would refuse as StartAfter is skipped.
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
