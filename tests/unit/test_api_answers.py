"""Answers that are given again belong to the request that they were found for."""

from __future__ import annotations

import pytest
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response

from reconciler.api.answers import Answers

pytestmark = pytest.mark.anyio


def asked(path: str, query: str = "") -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "server": ("replica", 8081),
            "path": path,
            "query_string": query.encode(),
            "headers": [],
        }
    )


async def test_a_question_mark_in_a_key_is_not_taken_for_the_beginning_of_a_query() -> None:
    answers, found = Answers(lambda: 1.0), list[str]()

    async def find(request: Request) -> Response:
        found.append(request.url.path)
        return JSONResponse({"path": request.scope["path"], "query": request.url.query})

    key, filtered = asked("/marks/a?state=due"), asked("/marks/a", "state=due?")
    told = [(await answers.look(find, request)).body for request in (key, filtered, key)]
    assert told[0] == told[2] != told[1]
    assert len(found) == 2
