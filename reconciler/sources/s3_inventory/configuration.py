"""The configuration of an inventory: the manifest names neither its filter nor its schedule."""

from typing import Final

from reconciler.model import InventoryConfiguration

FORMATS: Final = ("Parquet", "CSV", "ORC")
REQUIRED: Final = frozenset({"Size", "LastModifiedDate", "ETag"})
"""Optional fields without which nothing may be nominated: a HEAD has to equal them."""


def fault(found: InventoryConfiguration | None, wanted: str) -> str | None:
    """Why no inventory of that configuration may be used, in one line, or None."""
    if found is None:
        return f"the bucket has no inventory configuration {wanted!r} (RECONCILER_INVENTORY__ID)"
    return _unusable(found, wanted) or _unreadable(found, wanted)


def _unusable(found: InventoryConfiguration, wanted: str) -> str | None:
    name = f"inventory configuration {wanted!r}"
    if not found.enabled:
        return f"{name} is disabled: enable it, and wait for its next report"
    if found.filters:
        return (
            f"{name} is filtered by {found.filters!r}: what it leaves out would look missing; configure one"
            " without a filter"
        )
    if lacking := sorted(REQUIRED - found.fields):
        return f"{name} lacks the optional fields {', '.join(lacking)}: add them"
    return None


def _unreadable(found: InventoryConfiguration, wanted: str) -> str | None:
    name = f"inventory configuration {wanted!r}"
    if found.format not in FORMATS:
        return f"{name} has format {found.format!r}: only {', '.join(FORMATS)} can be read"
    if not found.destination:
        return f"{name} names no destination bucket"
    return None
