"""A call to the database as the rest of the program sees it: its errors are ours, and it is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.errors import translated
from reconciler.errors import ReconcilerError

OK, RETRIED, FAILED = "ok", "retried", "failed"


@contextmanager
def called(config: CatalogConfig) -> Iterator[None]:
    """Around one transaction or reading. Raises what `faults.translated` does."""
    with translated(config.where):
        started = time.monotonic()
        try:
            yield
        except ReconcilerError:
            # The database answered; what was made of the answer is another matter.
            _tell(config, OK, started)
            raise
        except Exception:
            _tell(config, FAILED, started)
            raise
        _tell(config, OK, started)


def retried(config: CatalogConfig) -> None:
    """One attempt of a call is followed by another."""
    if config.on_call is not None:
        config.on_call(RETRIED, None)


def _tell(config: CatalogConfig, outcome: str, started: float) -> None:
    if config.on_call is not None:
        config.on_call(outcome, time.monotonic() - started)
