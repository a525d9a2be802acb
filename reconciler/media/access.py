"""Who may have a medium: pure, of what the tables say and what the request shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reconciler.model import LiveRow, Looked, Owner, QuotaOwner

HEADERS = ("x-api-key", "api-key", "x-virtual-key")
"""Where a virtual key stands besides `Authorization: Bearer`."""

LONGEST = 512
"""Characters of what is taken for a virtual key at all."""


class Access(StrEnum):
    """Who gets media, from the fewest to all."""

    OWNER = "owner"
    SIGNED = "signed"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A row that lets the caller have its medium. `shared`: so may whoever sends the same request, so that a
    cache may answer them. `seconds_left` until that ends, None for never. `marked`: it is to be deleted,
    unless the claim decides otherwise.
    """

    owner: Owner
    shared: bool
    seconds_left: float | None
    marked: bool = False


def presented(headers: Mapping[str, str]) -> str | None:
    """The SHA-256 of the virtual key that a request presents, in hexadecimal digits; None without one.

    Where it stands in several headers, the first counts: they are the same, or somebody tries something.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else ""
    for name in HEADERS:
        given = given or headers.get(name, "").strip()
    if not given or len(given) > LONGEST:
        return None
    return hashlib.sha256(given.encode("latin-1", "replace")).hexdigest()


def decide(
    access: Access, looked: Looked, link: Callable[[LiveRow], float | None], by: QuotaOwner
) -> Grant | None:
    """What lets the caller have the medium, the widest first; None where nothing does.

    `link` is how long the link of the request is still good for the medium of that row, None where it is not.
    """
    for row in looked.rows:
        if access is Access.PUBLIC:
            return _grant(row, shared=True, seconds_left=row.seconds_left)
        if access is Access.SIGNED and row.owner_valid and (seconds := link(row)) is not None:
            return _grant(row, shared=True, seconds_left=_sooner(seconds, row.seconds_left))
    mine = own(looked.rows, looked.caller, by)
    return None if mine is None else _grant(mine, shared=False, seconds_left=mine.seconds_left)


def _grant(row: LiveRow, *, shared: bool, seconds_left: float | None) -> Grant:
    return Grant(owner=row.owner, shared=shared, seconds_left=seconds_left, marked=row.marked)


def own(rows: Sequence[LiveRow], caller: Owner | None, by: QuotaOwner) -> LiveRow | None:
    """The first row that belongs to the caller; None where none does."""
    if caller is None or caller.id is None:
        return None
    for row in rows:
        if row.owner.id == caller.id:
            return row
        if by is QuotaOwner.KEY_GROUP and caller.group is not None and row.owner.group == caller.group:
            return row
    return None


def _sooner(one: float, other: float | None) -> float:
    return one if other is None else min(one, other)
