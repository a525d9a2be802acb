"""Storage keys and managed prefixes: which keys are ours, and where a prefix ends in byte order."""

from collections.abc import Iterable, Sequence

from reconciler.model.objects import RESERVED_PREFIX, SCRATCH_FOLDER

LONGEST_KEY = 2048
"""Bytes. S3 allows 1,024, but a row may name what no store can have; Postgres indexes up to 2,704."""

_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def is_managed(key: str, prefixes: tuple[str, ...]) -> bool:
    """Whether the key lies in one of the managed prefixes. A key under our reserved prefix never does, nor
    does a scratch key.
    """
    return key.startswith(prefixes) and not key.startswith(RESERVED_PREFIX) and SCRATCH_FOLDER not in key


def prefix_end(prefix: str) -> str | None:
    """The least string in byte order after every key with that prefix; None if there is none (as for "").

    UTF-8 bytes sort as code points do, so the last code point that has a successor is raised. Surrogates are
    skipped: no key holds them, and UTF-8 cannot write them.
    """
    for index in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[index]) + 1
        if code in _SURROGATES:
            code = _SURROGATES.stop
        if code <= _LAST:
            return prefix[:index] + chr(code)
    return None


def merge_prefixes(prefixes: Iterable[str]) -> tuple[str, ...]:
    """The prefixes in byte order without those that lie inside another: no key is listed twice."""
    merged: list[str] = []
    for prefix in sorted(prefixes):
        # A prefix that starts with an earlier one lies inside it, and sorts right behind it.
        if not merged or not prefix.startswith(merged[-1]):
            merged.append(prefix)
    return tuple(merged)


def managed_parts(prefix: str, prefixes: Iterable[str]) -> tuple[str, ...]:
    """The parts of the managed prefixes whose keys begin with `prefix`; none where no key can."""
    return merge_prefixes(
        prefix if prefix.startswith(each) else each
        for each in prefixes
        if prefix.startswith(each) or each.startswith(prefix)
    )


def prefix_of(key: str, prefixes: Sequence[str]) -> str | None:
    """The prefix in which the key lies; prefixes do not lie inside one another (`merge_prefixes`)."""
    for prefix in prefixes:
        if key.startswith(prefix):
            return prefix
    return None
