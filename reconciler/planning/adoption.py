"""What row is made of an object that has none: whose it is, and what it says. Pure, from what HEAD shows."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.header import decode_header, make_header

from reconciler.model import (
    CONTENT_TYPE,
    Adoptable,
    AdoptionTerms,
    Described,
    Left,
    OwnerFrom,
    OwnerSource,
    Policy,
    ValueFrom,
    ValueSource,
    parse_timestamp,
)
from reconciler.planning import drift_rules

_MD5 = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)
_KINDS = frozenset({"image", "video", "audio"})
_USUAL = {CONTENT_TYPE: ValueFrom(source=ValueSource.CONTENT_TYPE)}
OTHER = "other"
"""The media type of what is neither image, video nor audio."""


def owner_of(key: str, found: Described | None, owner: OwnerFrom | None) -> str | None:
    """Whose the object is, as it is written; None where nothing says so. `found` None: by its key alone."""
    if owner is None:
        return None
    said = None
    if owner.source is OwnerSource.GIVEN:
        said = owner.name
    elif owner.source is OwnerSource.KEY:
        said = owner.in_key(key)
    elif found is not None and owner.source is OwnerSource.METADATA:
        said = _text(found.metadata.get(owner.name.lower()))
    elif found is not None:
        said = (found.tags or {}).get(owner.name)
    return (said or "").strip() or None


def row_of(
    key: str, found: Described | None, terms: AdoptionTerms, policy: Policy, now: datetime, *, owned: bool
) -> Adoptable | Left:
    """The row to make, or why none is. `owned`: the table says whose a row is."""
    if found is None:
        return Left.GONE
    if found.last_modified is None or not drift_rules.past(found.last_modified, policy, now):
        return Left.PENDING
    owner = owner_of(key, found, terms.owner)
    if owned and owner is None:
        return Left.NO_OWNER
    metadata = found.metadata
    return Adoptable(
        storage_key=key,
        owner=owner if owned else None,
        size=found.size,
        etag=found.etag,
        created_at=found.last_modified,
        expires_at=parse_timestamp(metadata.get("expires-at", "")),
        media_type=_media_type(found),
        provider=_of(metadata, "provider"),
        model=_of(metadata, "model"),
        content_hash=found.etag.lower() if _MD5.fullmatch(found.etag) else None,
        values={name: _value(found, source) for name, source in (_USUAL | dict(terms.columns)).items()},
    )


def _value(found: Described, source: ValueFrom) -> str | None:
    if source.source is ValueSource.CONTENT_TYPE:
        return _text(found.content_type)
    if source.source is ValueSource.METADATA:
        return _text(found.metadata.get(source.name.lower()))
    return None


def _media_type(found: Described) -> str:
    said = (_text(found.metadata.get("media-type")) or found.content_type.partition("/")[0]).strip().lower()
    return said if said in _KINDS else OTHER


def _of(metadata: Mapping[str, str], name: str) -> str | None:
    """The gateway puts what it knows of the making under `custom-…`."""
    return _text(metadata.get(f"custom-{name}")) or _text(metadata.get(name))


def _text(raw: str | None) -> str | None:
    """What a metadata field says; None where it is empty. What is not ASCII comes as RFC 2047 writes it."""
    if raw is None:
        return None
    text = raw
    if "=?" in raw:
        try:
            text = str(make_header(decode_header(raw)))
        except (LookupError, UnicodeError, ValueError):
            text = raw
    # A byte that is no UTF-8 comes as a surrogate, which no database takes.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "") or None
