"""Fixtures of the contract tests."""

from __future__ import annotations

import pytest

from reconciler.bucket import retries


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """For stores of the tests' own, which check none; and short pauses between retries."""
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")


@pytest.fixture(params=["memory", "postgres"])
def backing_database(request: pytest.FixtureRequest) -> str | None:
    """The address of a real database, or None for one in memory."""
    return None if request.param == "memory" else request.getfixturevalue("database")
