"""Keys that are never deleted, whatever else is known of them."""

import re

from reconciler.model import REPLACEMENT_CHARACTER, KeepReason, Policy
from reconciler.model.keys import LONGEST_KEY, is_managed

_REWRITTEN = re.compile(r"//|\\|^/|(?:^|/)\.\.?(?:/|$)")
"""What a store that keeps objects as files collapses, turns round or refuses."""


def protection(key: str, policy: Policy) -> KeepReason | None:
    """Why the key stays untouched, or None for a key that may be judged.

    It is outside the managed prefixes; a folder marker (`…/`); not UTF-8; impossible to mark; not of the
    declared shape; or a key that the store takes for another one, whose object may be another row's.
    """
    if not is_managed(key, policy.prefixes):
        return KeepReason.OUTSIDE_PREFIX
    if REPLACEMENT_CHARACTER in key:
        return KeepReason.REPLACEMENT_CHARACTER
    if key.endswith("/"):
        return KeepReason.FOLDER_MARKER
    if not _markable(key) or (policy.key_shape is not None and not policy.key_shape.fullmatch(key)):
        return KeepReason.UNKNOWN_SHAPE
    if policy.rewrites_keys and _may_be_rewritten(key) and _REWRITTEN.search(key):
        return KeepReason.UNKNOWN_SHAPE
    return None


def _may_be_rewritten(key: str) -> bool:
    """False for nearly every key, in a fifth of the time that the pattern takes."""
    return key.startswith(("/", ".")) or "//" in key or "/." in key or "\\" in key


def rewritten(key: str) -> str:
    """What a store that keeps objects as files makes of the key; the catalog's SQL does the same."""
    return re.sub(r"[/\\]+", "/", key).lstrip("/")


def _markable(key: str) -> bool:
    """Whether the table of marks, and its index, can hold the key. One that cannot would end every pass."""
    if key.isascii():
        return "\0" not in key and len(key) <= LONGEST_KEY
    return "\0" not in key and len(key.encode(errors="surrogatepass")) <= LONGEST_KEY
