"""What requests may hold."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from reconciler.api.parameters import KNOWN, LARGEST, Moment
from reconciler.api.schemas import Shape
from reconciler.model import HoldKind, Verdict
from reconciler.settings.values import KEY_BYTES, duration

KEYS = 1_000
"""Keys of one request."""

PLANNED = 10_000
"""Findings of a plan with which a pass is approved; more are for the command."""

LASTING = re.compile(r"[1-9][0-9]{0,3}[hd]")


def _lasting(raw: object) -> timedelta:
    if not isinstance(raw, str) or not LASTING.fullmatch(raw):
        raise ValueError("must be hours or days, such as 36h or 30d")
    return duration(raw)


def _short(key: str) -> str:
    if len(key.encode()) > KEY_BYTES:
        message = f"must have at most {KEY_BYTES} bytes"
        raise ValueError(message)
    return key


Text: TypeAlias = Annotated[
    str,
    Field(min_length=1, max_length=2_000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$", examples=["case 2026-17"]),
]
"""Words for others to read."""

Key: TypeAlias = Annotated[
    str,
    Field(min_length=1, max_length=KEY_BYTES, pattern=r"^[^\x00]+$", examples=["image/2026/cat.png"]),
    AfterValidator(_short),
]
"""A storage key, or the beginning of some, or a virtual key's id."""

Lasting: TypeAlias = Annotated[
    timedelta,
    BeforeValidator(_lasting),
    WithJsonSchema({"type": "string", "pattern": f"^{LASTING.pattern}$", "examples": ["30d"]}),
]
"""How long, in hours or days."""

Kept: TypeAlias = Annotated[
    Lasting | None, Field(description="How long what comes back is on hold; else HOLD_FOR.")
]


class Reason(Shape):
    """Why, for those who find it."""

    reason: Text


class NewHold(Shape):
    """A hold to set: on one target, with a reason, until a time or until it is lifted."""

    kind: Annotated[HoldKind, KNOWN]
    target: Key
    reason: Text
    until: Moment | None = None


class NewHoldFor(Shape):
    """The same for so long."""

    kind: Annotated[HoldKind, KNOWN]
    target: Key
    reason: Text
    lasts: Lasting


class NewSweep(Shape):
    """A sweep to run soon. With a `prefix`, what one would find under it, without a pass or a mark."""

    kind: Literal["sweep"]
    prefix: Key | None = None


class NewRetention(Shape):
    """A retention pass to run soon."""

    kind: Literal["retention"]


class Planned(Shape):
    """A finding that may go, as `reconciler plan --format jsonl` names it."""

    storage_key: Key
    verdict: Annotated[Verdict, KNOWN, Field(examples=list(Verdict))]


class Approval(Shape):
    """An approval. `understood` is needed where both sides were above their limits. With a `plan`, only what
    it lists is released, and the rest is withdrawn.
    """

    understood: bool = False
    plan: Annotated[list[Planned], Field(min_length=1, max_length=PLANNED)] | None = None


class Keys(Shape):
    """Storage keys."""

    keys: Annotated[list[Key], Field(min_length=1, max_length=KEYS)]


class EraseOwner(Shape):
    """All that is this virtual key's, live or not, with proof. `reason` stands in the certificate."""

    virtual_key_id: Key
    reason: Text | None = None


class EraseMedia(Shape):
    """These storage keys, whosever they are, live or not, with proof."""

    media: Annotated[list[Key], Field(min_length=1, max_length=KEYS)]
    reason: Text | None = None


class UndoKeys(Keys):
    """These keys are to come back."""

    hold_for: Kept = None


class UndoPass(Shape):
    """What a pass deleted is to come back, and what those deleted that were approved with it."""

    pass_id: Annotated[int, Field(ge=1, le=LARGEST, examples=[1204])]
    hold_for: Kept = None


class UndoSpan(Shape):
    """What was deleted from `since` on, before `until`, is to come back."""

    since: Moment
    until: Moment | None = None
    hold_for: Kept = None
