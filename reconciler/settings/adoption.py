"""How it is written whose an object is, and what a row's columns get. Each parser raises ValueError."""

import json
from collections.abc import Mapping
from types import MappingProxyType

from reconciler.model import KeyShape, OwnerFrom, OwnerSource, ValueFrom, ValueSource
from reconciler.settings import identifiers

_OWNER = "must be metadata:NAME, tag:NAME or key:PATTERN with one group, such as key:users/([^/]+)/.*"
_COLUMNS = 'must be a JSON object such as {"Prompt": "metadata:prompt", "Origin": "constant:imported"}'


def owner(raw: object) -> OwnerFrom | None:
    """Where the owner is written; None: nowhere."""
    if raw is None or isinstance(raw, OwnerFrom):
        return raw
    if not isinstance(raw, str):
        raise ValueError(_OWNER)  # noqa: TRY004 - pydantic takes no TypeError
    word, _, name = raw.partition(":")
    if word not in {OwnerSource.METADATA, OwnerSource.TAG, OwnerSource.KEY} or not name.strip():
        raise ValueError(_OWNER)
    source = OwnerSource(word)
    if source is OwnerSource.KEY:
        shape = KeyShape(name)
        if shape.fault is not None:
            message = f"{_OWNER}: {shape.fault}, in RE2's syntax: without look-around and references back"
            raise ValueError(message)
        if not shape.groups:
            message = f"{_OWNER}: the pattern has no group that is the virtual key's id"
            raise ValueError(message)
    return OwnerFrom(source=source, name=name if source is OwnerSource.KEY else name.strip())


def columns(raw: object) -> Mapping[str, ValueFrom]:
    """The sources by column."""
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except json.JSONDecodeError:
            raise ValueError(_COLUMNS) from None
    if not isinstance(raw, Mapping):
        raise ValueError(_COLUMNS)  # noqa: TRY004 - as above
    return MappingProxyType({identifiers.column(name): _value(name, each) for name, each in raw.items()})


def _value(column: object, raw: object) -> ValueFrom:
    if isinstance(raw, ValueFrom):
        return raw
    word, colon, name = raw.partition(":") if isinstance(raw, str) else ("", "", "")
    if word == ValueSource.CONTENT_TYPE and not colon:
        return ValueFrom(source=ValueSource.CONTENT_TYPE)
    if word == ValueSource.CONSTANT and colon:
        return ValueFrom(source=ValueSource.CONSTANT, name=name)
    if word == ValueSource.METADATA and name.strip():
        return ValueFrom(source=ValueSource.METADATA, name=name.strip().lower())
    message = f"{column}: must be content_type, metadata:NAME or constant:TEXT"
    raise ValueError(message)
