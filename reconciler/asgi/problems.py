"""An answer that is no success, as RFC 9457 wants it: a status, words, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar

from starlette.responses import JSONResponse

from reconciler.operations.as_json import plain

MEDIA_TYPE = "application/problem+json"

RETRY_SECONDS = 5
"""When to ask again where database or store are away."""


class Problem(Exception):
    """An answer that is no success. `fields` are further members, and values of the detail.

    `hints`, of each application, say what to do about a problem, by its code.
    """

    hints: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.headers = headers or {}
        self.fields = fields or {}

    def answer(self) -> JSONResponse:
        body = {
            "type": f"urn:media-reconciler:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": str(self),
            "hint": self.hints.get(self.code),
            "fields": {name: plain(value) for name, value in self.fields.items()},
        }
        return JSONResponse(body, self.status, headers=dict(self.headers), media_type=MEDIA_TYPE)
