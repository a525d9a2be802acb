"""What the JSON of all results is made of."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from reconciler.planning.formatting import timestamp

Json = dict[str, object]


def fields(of: object, *names: str) -> Json:
    """Those of its attributes that are called the same in JSON."""
    return {name: field(of, name) for name in names}


def field(of: object, name: str) -> object:
    return plain(getattr(of, name))


def plain(value: object) -> object:
    """A value of an attribute, as JSON has it."""
    if isinstance(value, datetime):
        return timestamp(value)
    return str(value) if isinstance(value, UUID) else value
