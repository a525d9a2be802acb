"""Parameters that several endpoints take: parts of paths, cursors, filters."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeAlias
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Path, Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from reconciler.api.problems import Problem
from reconciler.model import PassKind, Verdict
from reconciler.model.enums import Word

LARGEST = 2**63 - 1
"""What the database can count to."""

PAGE = 100
"""How many are listed where no limit is given."""

NO_NUL = r"^[^\x00]*$"

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def _rfc_3339(raw: object) -> object:
    """Neither a number, nor a time without its zone: who means which is not guessed at."""
    if isinstance(raw, str) and not RFC_3339.fullmatch(raw):
        raise ValueError("must be a time with its zone, such as 2026-11-30T08:15:00Z")
    return raw if isinstance(raw, str | datetime) else str(raw)


def _in_utc(moment: datetime) -> datetime:
    """As the database holds it: what would be before the first year, or after the last, is their end."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return FIRST if moment.year == FIRST.year else LAST


Moment: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_rfc_3339), AfterValidator(_in_utc)]
"""A point in time."""

Limit: TypeAlias = Annotated[
    int | None,
    Query(ge=1, le=1_000, description="How many at most; 100 unless given, and in NDJSON all."),
]
Cursor: TypeAlias = Annotated[
    str | None,
    Query(max_length=8_192, description="Where to go on: `next_cursor` of the page before."),
]
Prefix: TypeAlias = Annotated[
    str, Query(max_length=1_024, pattern=NO_NUL, description="Only what begins with it.")
]


def _known(word: Word | None) -> Word | None:
    if word is not None and word not in {*type(word)}:
        raise ValueError(f"must be one of {', '.join(type(word))}")
    return word


KNOWN = AfterValidator(_known)
"""A word of a closed set takes what a newer program has written, but not what a caller has misspelt."""

ByVerdict: TypeAlias = Annotated[Verdict | None, KNOWN, Query(description="Only of this verdict.")]
ByKind: TypeAlias = Annotated[PassKind | None, KNOWN, Query(description="Only of this kind of pass.")]
DryRun: TypeAlias = Annotated[bool, Query(description="Say what it would be about, and do nothing.")]
Id: TypeAlias = Annotated[int, Path(ge=1, le=LARGEST, description="Its number.")]
ByPass: TypeAlias = Annotated[
    int | None,
    Query(alias="pass", ge=1, le=LARGEST, description="Only of this pass, and of those that it took in."),
]


def decoded(raw: str) -> str:
    """A part of a path, which is routed as it was sent. Raises Problem where it is no UTF-8."""
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise Problem(
            404, "no_such_key", "the path is not UTF-8, and so is no key that can be known"
        ) from None


async def _key(storage_key: Annotated[str, Path(description="The storage key, percent-encoded.")]) -> str:
    return decoded(storage_key)


async def _virtual_key(
    virtual_key_id: Annotated[str, Path(description="The virtual key's id, percent-encoded.")],
) -> str:
    return decoded(virtual_key_id)


StorageKey: TypeAlias = Annotated[str, Depends(_key)]
VirtualKeyId: TypeAlias = Annotated[str, Depends(_virtual_key)]


def cursor_at(*place: str | int) -> str:
    """The cursor that says behind which place a list goes on."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def place_of(cursor: str | None, *kinds: type) -> Sequence[object] | None:
    """The place that a cursor says, whose parts are of these kinds; None without one. Raises Problem."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        place = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        place = None
    if not isinstance(place, list) or [type(part) for part in place] != list(kinds) or not _storable(place):
        raise no_such_cursor()
    return place


def no_such_cursor() -> Problem:
    return Problem(404, "no_such_cursor", "there is no such cursor in this list")


def _storable(place: Sequence[object]) -> bool:
    """Whether the database can hold the texts and numbers: a cursor of ours has no others."""
    for part in place:
        if isinstance(part, int) and not -LARGEST <= part <= LARGEST:
            return False
        if isinstance(part, str) and ("\0" in part or _lone(part)):
            return False
    return True


def _lone(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
