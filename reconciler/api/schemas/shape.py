"""What the shapes of answers are made of."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from reconciler.model import Verdict


class Shape(BaseModel):
    """An object with these members and no others."""

    model_config = ConfigDict(extra="forbid")


Word: TypeAlias = str
"""One of a set of words, which a newer replica may know more of."""


Key: TypeAlias = Annotated[str, Field(examples=["image/2026/cat.png"])]


Counted: TypeAlias = Annotated[dict[str, int], Field(examples=[dict.fromkeys(Verdict, 0)])]


Time: TypeAlias = Annotated[datetime, Field(examples=["2026-11-30T08:15:00Z"])]


PassId: TypeAlias = Annotated[int, Field(examples=[1204])]


Person: TypeAlias = Annotated[str, Field(examples=["ada@ops"])]


class Problem(Shape):
    """A failure, as RFC 9457 has it. `code` names the reason for programs, `hint` says what to do."""

    type: Annotated[str, Field(examples=["urn:media-reconciler:problem:no_such_pass"])]
    title: Annotated[str, Field(examples=["Not Found"])]
    status: Annotated[int, Field(examples=[404])]
    code: Annotated[str, Field(examples=["no_such_pass"])]
    detail: Annotated[str, Field(examples=["there is no pass 12"])]
    hint: Annotated[str | None, Field(examples=["GET /api/v1/passes lists them."])]
    fields: Annotated[dict[str, Any], Field(examples=[{"pass_id": 12}])]


NextCursor: TypeAlias = Annotated[
    str | None, Field(description="Behind which the list goes on; null at its end.", examples=["WyJhIl0"])
]
