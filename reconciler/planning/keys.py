"""Keys that are never deleted, whatever else is known of them."""

from __future__ import annotations

import re

from reconciler.model import REPLACEMENT_CHARACTER, KeepReason, Policy
from reconciler.planning.ranges import is_managed

_REWRITTEN = re.compile(r"//|\\|^/|(?:^|/)\.\.?(?:/|$)")
"""What a store that keeps objects as files collapses, turns round or refuses."""


def protection(key: str, policy: Policy) -> KeepReason | None:
    """Why the key stays untouched, or None for a key that may be judged.

    Outside the managed prefixes; a folder marker (`…/`); a key that was not UTF-8; a key with NUL,
    which Postgres cannot store; a key that is not of the declared shape; a key that the store takes
    for another one, whose object may be another row's.
    """
    if not is_managed(key, policy.prefixes):
        return KeepReason.OUTSIDE_PREFIX
    if REPLACEMENT_CHARACTER in key:
        return KeepReason.REPLACEMENT_CHARACTER
    if key.endswith("/"):
        return KeepReason.FOLDER_MARKER
    if "\0" in key or (policy.key_shape is not None and not policy.key_shape.fullmatch(key)):
        return KeepReason.UNKNOWN_SHAPE
    if policy.rewrites_keys and _REWRITTEN.search(key):
        return KeepReason.UNKNOWN_SHAPE
    return None
