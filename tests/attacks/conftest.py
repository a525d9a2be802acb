"""Scenes, with the triggers installed and without."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.attacks.scene import Scene, open_scene


@pytest.fixture(autouse=True)
def not_probed(known_abilities: None) -> None:
    """The shared servers: what they can do is known."""


@pytest.fixture
async def scene(database: str) -> AsyncIterator[Scene]:
    """With the triggers."""
    async with open_scene(database) as opened:
        yield opened


@pytest.fixture
async def bare(database: str) -> AsyncIterator[Scene]:
    """Without the triggers."""
    async with open_scene(database, guarded=False) as opened:
        yield opened
