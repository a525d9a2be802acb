"""A site at which nobody ever asked for an erasure with proof."""

from __future__ import annotations

from typing import Any

from reconciler.operations.notary import FileNotary


class NoErasures:
    """Nothing is open, and nothing certified: all that a round asks then."""

    async def open(self) -> tuple[()]:
        return ()

    async def uncopied(self) -> tuple[()]:
        return ()

    async def digests(self) -> set[str]:
        return set()

    async def names(self) -> tuple[()]:
        return ()


def no_erasures() -> dict[str, Any]:
    """The ports of erasures."""
    return {"erasures": NoErasures(), "certificates": NoErasures(), "notary": FileNotary(None, None)}
