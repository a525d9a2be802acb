"""The headers of an answer. What a writer stored is never repeated as it is: it could be a page, or more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import format_datetime
from urllib.parse import quote

from reconciler.media.access import HEADERS as KEY_HEADERS
from reconciler.media.access import Grant
from reconciler.model import StoredMedium, cache_tag

SHOWN = re.compile(r"(image|video|audio)/([a-z0-9][a-z0-9!#$&^_.+-]{0,100})", re.IGNORECASE)
"""Types that a browser may show; whatever is not of them is saved."""

RUN = re.compile(r"svg|xml|html|script", re.IGNORECASE)
"""What in a type makes it one that a browser may run."""

ENCODINGS = frozenset({"gzip", "br", "deflate", "zstd"})

PLAIN = re.compile(r"[^A-Za-z0-9._ -]")

BYTES = "application/octet-stream"

POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
"""A browser makes a page of its own of a medium, with its style; beyond that there is nothing to load."""

ALWAYS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise. A medium may stand in any page, and nothing in it may run."""

VARY = ", ".join(("Authorization", *KEY_HEADERS))


def content_type(stored: str) -> str:
    """The type under which an object is sent: its own where that can only be shown, else bytes."""
    named = stored.partition(";")[0].strip()
    found = SHOWN.fullmatch(named)
    return BYTES if found is None or RUN.search(named) else named.lower()


def disposition(kind: str, key: str) -> str:
    """Shown, or saved; under the last part of its key."""
    name = key.rpartition("/")[2] or "medium"
    plain = PLAIN.sub("_", name)
    how = "attachment" if kind == BYTES else "inline"
    exact = f"; filename*=UTF-8''{quote(name, safe='')}" if plain != name else ""
    return f'{how}; filename="{plain}"{exact}'


def cache_control(grant: Grant, cache_for: float) -> str:
    """Never longer than the link, and the medium, last."""
    seconds = int(cache_for if grant.seconds_left is None else min(cache_for, grant.seconds_left))
    if seconds < 1:
        return "no-store"
    return f"{'public' if grant.shared else 'private'}, max-age={seconds}"


def of_grant(grant: Grant, cache_for: float) -> dict[str, str]:
    """What a cache is to know. The tag is what a CDN is told to forget when a virtual key ends."""
    told = {"Cache-Control": cache_control(grant, cache_for)}
    if grant.owner.id is not None:
        told["Cache-Tag"] = cache_tag(grant.owner.id)
    if not grant.shared:
        told["Vary"] = VARY
    return told


def of_medium(medium: StoredMedium, key: str) -> dict[str, str]:
    kind = content_type(medium.content_type)
    told = {
        "Content-Type": kind,
        "Content-Disposition": disposition(kind, key),
        "Accept-Ranges": "bytes",
    }
    if medium.etag:
        told["ETag"] = medium.etag
    if medium.modified is not None:
        told["Last-Modified"] = format_datetime(medium.modified, usegmt=True)
    if medium.content_encoding in ENCODINGS:
        told["Content-Encoding"] = medium.content_encoding
    return told
