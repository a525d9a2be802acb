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
