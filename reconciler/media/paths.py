"""The storage key in a path, and which keys are never served."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from reconciler.model.objects import RESERVED_PREFIX

LONGEST = 1_024
"""Bytes of a key, as S3 has it."""


def storage_key(written: str) -> str | None:
    """The key that a part of a path spells, as it was sent; None for what is none.

    It is decoded once and never normalised, so each key has its path. `.` and `..` between slashes are
    refused: a store that keeps objects as files would take them for another key.
    """
    try:
        key = unquote_to_bytes(written).decode()
    except UnicodeError:
        return None
    if not key or "\0" in key or len(key.encode()) > LONGEST:
        return None
    return None if {".", ".."} & set(key.split("/")) else key


def served(key: str, prefixes: Sequence[str]) -> bool:
    """Whether a key is one of media: under a managed prefix, and not in our own corner of the bucket."""
    return not key.startswith(RESERVED_PREFIX) and key.startswith(tuple(prefixes))
