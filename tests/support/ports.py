"""A way into the real program's ports: a test's own act instead of, before or after one call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from reconciler import app

Act = Callable[..., Awaitable[Any]]
"""Given the port's own method first, then what it was called with."""


class Interposed:
    """A port with some methods replaced."""

    def __init__(self, port: Any, acts: dict[str, Act]) -> None:
        self._port = port
        self._acts = acts

    def __getattr__(self, name: str) -> Any:
        call, act = getattr(self._port, name), self._acts.get(name)
        if act is None:
            return call

        async def interposed(*args: Any, **kwargs: Any) -> Any:
            return await act(call, *args, **kwargs)

        return interposed


def interpose(patch: pytest.MonkeyPatch, port: str, **acts: Act) -> None:
    """For every program that is wired from now on."""
    wire = app.wiring.wire

    def wire_interposed(*args: Any, **kwargs: Any) -> Any:
        ports = wire(*args, **kwargs)
        interposed: dict[str, Any] = {port: Interposed(getattr(ports, port), acts)}
        return replace(ports, **interposed)

    patch.setattr(app.wiring, "wire", wire_interposed)
